"""Our own connections are told from visitors', however many tests there are at once."""

from custom_components.bypass_router.router.own_connections import OwnConnections


def test_two_tests_of_one_forward_count_each_for_itself() -> None:
    """And its counter is not read before both are over."""
    own = OwnConnections()
    with own.testing("web"):
        with own.testing("web"):
            own.heard("web")
            own.tried("web", 1)
        assert own.is_tested("web")
        own.tried("web", 2)
    assert not own.is_tested("web")
    assert own.take("web") == 3
    assert own.take("web") == 0


def test_what_the_router_tells_is_not_noted_again() -> None:
    """Only what it has told of nothing, as it was dropped."""
    own = OwnConnections()
    with own.testing("web"):
        own.heard("web")
        own.tried("web", 1)
        own.tried("web", 4)
    own.heard("web")
    assert own.take("web") == 1 + 4 + 1

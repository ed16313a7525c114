"""The doctor's judgement: what facts mean, and what they must not be taken for."""

from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Any

from hypothesis import given, strategies as st
import pytest

from custom_components.bypass_router.router.doctor.clients import Clients, clients_of
from custom_components.bypass_router.router.doctor.doctor import unreachable
from custom_components.bypass_router.router.doctor.facts import (
    Facts,
    looks,
    read_looks,
    recheck,
)
from custom_components.bypass_router.router.doctor.port_probe import (
    Answer,
    read_port_probe,
)
from custom_components.bypass_router.router.doctor.report import (
    Cause,
    Check,
    Diagnosis,
    Reason,
    Status,
    Step,
    failed,
)
from custom_components.bypass_router.router.doctor.verdict import evaluate
from custom_components.bypass_router.router.doctor.visitors import internet_client
from custom_components.bypass_router.router.errors import (
    ConnectionLost,
    FirewallFailed,
    FirewallMissing,
    FirewallNotThere,
    NotPrivileged,
    RouterError,
)
from custom_components.bypass_router.router.forward import Forward, Transport
from custom_components.bypass_router.router.probe.firewalls import Tools
from custom_components.bypass_router.router.probe.probe import Probe
from custom_components.bypass_router.router.rules.base import Problem
from custom_components.bypass_router.router.rules.obstacles import Hindrance, Obstacle
from custom_components.bypass_router.router.ssh.script import Result

PROBE = Probe(
    address=IPv4Interface("192.168.50.2/24"),
    interface="lan",
    mac_address=None,
    uid=0,
    tools=Tools(nft=True),
    ip_forward=True,
    boot_id="",
    hostname="bypass",
    system="Linux",
    addresses=frozenset({IPv4Address("192.168.50.2")}),
)
# What iptables-legacy says where the kernel has only the other variant.
NO_MODULE = "can't initialize iptables table `nat': Table does not exist"
# The main router's part is told by others.
OF_ROUTER = [step for step in Step if step is not Step.MAIN_ROUTER]
HOME = IPv4Address("192.168.50.5")
CLIENT = IPv4Address("203.0.113.10")
HERE, THERE = "02:00:c0:a8:32:0a", "02:00:c0:a8:32:0b"


def forward(
    protocol: str = "tcp", ports: str = "8443", *, kept: bool = False
) -> Forward:
    """Return a forward to the target."""
    return Forward.parse(
        "01WEB",
        protocol=protocol,
        external_port=ports,
        target="192.168.50.10",
        keep_client_address=kept,
    )


WEB = forward()
HEALTHY = Facts(
    ip_forward=True,
    count=10,
    limit=1000,
    home=HOME,
    on_link=True,
    mac=HERE,
    service={"tcp": Answer.CONNECTED},
    through={"tcp": Answer.CONNECTED},
    counted=True,
)


def named(facts: Facts, of: Forward = WEB, remembered: str | None = None) -> list[str]:
    """Return the causes that are named."""
    return [*evaluate(facts, of, PROBE, remembered).causes]


def check(facts: Facts, step: Step, of: Forward = WEB) -> Check:
    """Return one step."""
    (found,) = (it for it in evaluate(facts, of, PROBE).checks if it.name is step)
    return found


def test_a_healthy_path_has_no_cause_and_teaches_the_targets_hardware_address() -> None:
    """Each step is ok, in the order of the path, if somebody was answered."""
    found = evaluate(replace(HEALTHY, clients=answered("tcp")), WEB, PROBE)
    assert [it.name for it in found.checks] == OF_ROUTER
    assert {it.status for it in found.checks} == {Status.OK}
    assert (found.causes, found.mac, found.healthy) == ((), HERE, True)


def answered(*transports: Transport) -> Clients:
    """Return what is known while a client from the internet is answered."""
    return Clients(
        known=True, answered=True, visitors=dict.fromkeys(transports, CLIENT)
    )


@pytest.mark.parametrize("protocol", ["tcp", "both"])
def test_without_anyone_from_outside_it_is_not_known_whether_it_works(
    protocol: str,
) -> None:
    """Home Assistant's own test says nothing of the main router."""
    found = evaluate(HEALTHY, forward(protocol), PROBE)
    assert (found.causes, found.healthy) == ((), None)
    assert found.checks[-1].seen["reason"] == Reason.NO_VISITOR


def test_who_was_answered_earlier_counts_with_how_long_that_is_ago() -> None:
    """Until something wrong is found."""
    facts = replace(HEALTHY, visited={"tcp": 7200})
    found = evaluate(facts, WEB, PROBE)
    assert (found.healthy, found.checks[-1].seen) == (True, {"ago": "7200"})
    found = evaluate(replace(facts, filtered=True), WEB, PROBE)
    assert (found.healthy, found.causes) == (False, (Cause.RP_FILTER,))
    assert found.checks[-1].status is Status.SKIPPED


def test_a_stream_takes_no_fault_away() -> None:
    """It may have begun before."""
    stream = replace(HEALTHY, clients=answered("tcp"))
    for changes in ({"filtered": True}, {"through": {"tcp": Answer.SILENT}}):
        assert evaluate(replace(stream, **changes), WEB, PROBE).healthy is False


def test_one_transport_proves_nothing_for_the_other() -> None:
    """Neither of Home Assistant's tests, nor of visitors."""
    both = forward("both")
    served: dict[Transport, Answer] = {"tcp": Answer.DATA, "udp": Answer.SILENT}
    facts = replace(HEALTHY, service=served, clients=answered("tcp"))
    found = evaluate(facts, both, PROBE)
    assert (found.causes, found.healthy) == ((), None)
    for step in (Step.PORT, Step.THROUGH, Step.VISIT):
        at = check(facts, step, both)
        assert at.status is Status.UNKNOWN
        words = {"reason": "partly", "proved": "TCP", "open": "UDP"}
        assert at.seen == words
    whole = replace(facts, clients=answered("tcp", "udp"))
    assert evaluate(whole, both, PROBE).healthy is True


def test_where_nobody_outside_may_come_in_a_test_from_home_is_the_proof() -> None:
    """There is nobody to wait for."""
    home = replace(WEB, sources=(IPv4Network("192.168.50.0/24"),))
    found = evaluate(HEALTHY, home, PROBE)
    assert found.healthy is True
    assert found.checks[-1].seen["reason"] == Reason.NOT_CONCERNED
    assert evaluate(replace(HEALTHY, through={}), home, PROBE).healthy is None


def test_a_closed_port_has_no_test_that_passes_beside_it() -> None:
    """Though it is refused through the forward, as by the target itself."""
    facts = replace(HEALTHY, service=REFUSED, through=REFUSED)
    assert named(facts) == ["port_closed"]
    assert check(facts, Step.THROUGH).status is not Status.OK


def test_what_is_seen_last_stands_and_nothing_stands_against_it() -> None:
    """Each step once; who was answered speaks for what no one else could tell."""
    first = evaluate(replace(HEALTHY, clients=Clients(known=True)), KEPT, PROBE)
    reasons = [it.seen.get("reason") for it in first.checks]
    assert reasons.count(Reason.NO_VISITOR) == 2
    came = Diagnosis((Check(Step.ARRIVAL, Status.OK), Check(Step.VISIT, Status.OK)))
    found = first.followed_by(came)
    assert [it.name for it in found.checks] == OF_ROUTER
    assert {it.status for it in found.checks} == {Status.OK}
    assert found.healthy is True
    seen = {"reason": Reason.NOBODY}
    nobody = Diagnosis((Check(Step.ARRIVAL, Status.UNKNOWN, seen=seen),))
    assert found.followed_by(nobody) == found
    assert first.followed_by(nobody).healthy is None
    died = failed(Step.VISIT, Cause.DIED_ON_THE_WAY)
    assert found.followed_by(Diagnosis((died,))).causes == (Cause.DIED_ON_THE_WAY,)
    broken = evaluate(replace(HEALTHY, filtered=True), KEPT, PROBE)
    merged = found.followed_by(broken)
    assert (merged.healthy, len(merged.checks)) == (False, len(OF_ROUTER))


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"ip_forward": False}, "ip_forward_off"),
        ({"count": 1000}, "conntrack_full"),
        ({"count": 991}, "conntrack_full"),
        ({"problems": frozenset({Problem.MISSING}), "through": {}}, "rule_missing"),
        (
            {"problems": frozenset({Problem.SHADOWED}), "counted": False},
            "rule_shadowed",
        ),
        ({"through": {"tcp": Answer.SILENT}, "counted": False}, "rule_shadowed"),
        ({"counted": False}, "rule_shadowed"),
        ({"counted": False, "other_backend": "iptables-nft"}, "other_backend_first"),
        (
            {"problems": frozenset({Problem.INTERCEPTED}), "counted": False},
            "hijacked_by_tproxy",
        ),
        ({"through": {"tcp": Answer.SILENT}}, "dropped_in_forward"),
        ({"through": {"tcp": Answer.REFUSED}}, "dropped_in_forward"),
        (
            {"problems": frozenset({Problem.DROPPED}), "through": {}},
            "dropped_in_forward",
        ),
        ({"filtered": True}, "rp_filter"),
        ({"way_back": False}, "no_route"),
        ({"problems": frozenset({Problem.MISROUTED})}, "hijacked_by_tunnel"),
    ],
)
def test_one_fact_is_one_cause(changes: dict[str, Any], cause: str) -> None:
    """Whatever else is well."""
    assert named(replace(HEALTHY, **changes)) == [cause]


SILENT = replace(
    HEALTHY, service={"tcp": Answer.SILENT}, through={}, counted=None, mac=None
)
REFUSED: dict[Transport, Answer] = {"tcp": Answer.REFUSED}


def test_a_target_that_nobody_finds_is_down_or_has_moved() -> None:
    """It has moved if the device that was there is somewhere else."""
    assert named(SILENT) == ["target_down"]
    moved = replace(SILENT, elsewhere={HERE: IPv4Address("192.168.50.11")})
    assert named(moved, remembered=HERE) == ["target_moved"]
    # Another device has its address, and nothing for us.
    taken = replace(moved, mac=THERE, service=REFUSED)
    assert named(taken, remembered=HERE) == ["target_moved"]


def test_what_answers_is_no_wrong_device() -> None:
    """A machine may have several interfaces, and a new one."""
    found = replace(HEALTHY, mac=THERE, elsewhere={HERE: IPv4Address("192.168.50.11")})
    assert named(found, remembered=HERE) == []


def test_silence_is_told_from_refusal() -> None:
    """By whom the target answers."""
    there = replace(SILENT, mac=HERE)
    assert named(there) == ["no_answer"]
    assert named(replace(there, direct={"tcp": Answer.DATA})) == ["target_refuses"]
    assert named(replace(there, service=REFUSED)) == ["port_closed"]


def test_what_has_nothing_to_knock_with_blames_nobody() -> None:
    """Nor does a target behind another router that answers no ping."""
    unknown = replace(SILENT, mac=HERE, service={"tcp": Answer.UNKNOWN})
    assert named(unknown) == []
    assert check(unknown, Step.PORT).seen["reason"] == Reason.NO_PROBE


def test_silence_over_udp_blames_nobody() -> None:
    """Most services say nothing to what they don't understand."""
    udp = forward("udp")
    silent: dict[Transport, Answer] = {"udp": Answer.SILENT}
    facts = replace(HEALTHY, service=silent, through=silent)
    assert named(facts, udp) == []
    assert check(facts, Step.PORT, udp).seen["reason"] == Reason.SILENCE
    # The target refuses UDP once a second at most.
    refused = replace(facts, service={"udp": Answer.REFUSED}, through=silent)
    assert named(refused, udp) == ["port_closed"]


def test_of_two_transports_one_that_is_served_is_enough() -> None:
    """People choose both when they don't know which."""
    answers: dict[Transport, Answer] = {"tcp": Answer.CONNECTED, "udp": Answer.REFUSED}
    assert named(replace(HEALTHY, service=answers), forward("both")) == []


@pytest.mark.parametrize("missed", ["tcp", "udp"])
def test_each_transport_has_a_proof_of_its_own(missed: Transport) -> None:
    """What passes over one of them says nothing for the other, which is served too."""
    served: dict[Transport, Answer] = {"tcp": Answer.CONNECTED, "udp": Answer.DATA}
    through = {**served, missed: Answer.SILENT}
    both = forward("both")
    facts = replace(HEALTHY, service=served, through=through)
    assert named(facts, both) == ["dropped_in_forward"]
    assert check(facts, Step.THROUGH, both).status is Status.UNKNOWN
    denied = replace(facts, obstacles=(Obstacle(Hindrance.DENIED),))
    assert named(denied, both) == ["denied"]
    early = replace(facts, obstacles=(Obstacle(Hindrance.UNTRACKED),), counted=False)
    assert named(early, both) == ["untracked"]
    assert named(replace(facts, through=served), both) == []


def test_a_closed_port_of_a_range_blames_nobody() -> None:
    """Some open when they are needed."""
    facts = replace(HEALTHY, service=REFUSED, through=REFUSED)
    assert named(facts, forward(ports="6000-6010")) == []
    assert named(facts) == ["port_closed"]


@pytest.mark.parametrize(
    "problem", [Problem.SHADOWED, Problem.INTERCEPTED, Problem.DROPPED]
)
def test_packets_that_pass_prove_more_than_rules(problem: Problem) -> None:
    """What stands before ours may have no say in it."""
    assert named(replace(HEALTHY, problems=frozenset({problem}))) == []


@pytest.mark.parametrize("counted", [True, False, None])
def test_a_probe_that_fails_for_a_reason_that_is_known_has_no_other(
    counted: bool | None,
) -> None:
    """The first on the path is to blame."""
    lost = replace(HEALTHY, through={"tcp": Answer.SILENT}, counted=counted)
    assert named(replace(lost, ip_forward=False)) == ["ip_forward_off"]
    assert named(replace(lost, count=1000)) == ["conntrack_full"]


def test_a_full_table_takes_the_blame_for_the_targets_silence() -> None:
    """The router's own packets are dropped as well."""
    assert named(replace(SILENT, count=1000)) == ["conntrack_full"]


KEPT = forward(kept=True)
WAITING = frozenset({(CLIENT, 40000)})


@pytest.mark.parametrize(
    ("clients", "cause"),
    [
        (Clients(known=True), None),
        (Clients(), None),
        (Clients(known=True, acknowledged=True, waiting=WAITING), None),
        # He may have been answered before something changed.
        (Clients(known=True, answered=True, waiting=WAITING), "gateway_bypasses"),
        (Clients(known=True, waiting=WAITING), "gateway_bypasses"),
        (Clients(known=True, waiting=WAITING, leaves_here=True), "target_refuses"),
    ],
)
def test_clients_that_get_no_answer_tell_of_the_targets_gateway(
    clients: Clients, cause: str | None
) -> None:
    """If the target answers clients of the LAN, and the forward keeps addresses."""
    facts = replace(HEALTHY, clients=clients)
    assert named(facts, KEPT) == ([cause] if cause else [])
    assert named(facts) == []


def test_without_a_list_of_connections_it_is_said_what_is_not_told() -> None:
    """Whether the target answers by another router, for one."""
    found = check(replace(HEALTHY, clients=Clients()), Step.ANSWERS, KEPT)
    assert found.seen["reason"] == Reason.NO_FLOWS


HOME_AWAY = IPv4Address("198.51.100.9")
FLOW = (
    "tcp      6 {left} {state} src={source} dst=192.168.50.2 sport=40000 dport=8443"
    " {lacking}src=192.168.50.10 dst={source} sport=8443 dport=40000 mark=0 use=1"
)


def seen(*lines: str) -> Clients:
    """Return what a listing tells."""
    return clients_of(Result("\n".join(lines), 0), KEPT, PROBE, HOME_AWAY)


def flow(left: int = 118, state: str = "SYN_SENT", source: str = "203.0.113.10") -> str:
    """Return a line of `conntrack -L`."""
    lacking = "[UNREPLIED] " if state == "SYN_SENT" else ""
    return FLOW.format(left=left, state=state, source=source, lacking=lacking)


def test_only_a_fresh_request_from_outside_of_the_lan_counts() -> None:
    """An older one may be of a time when the target was off."""
    assert seen(flow()).unanswered == CLIENT
    assert seen(f"ipv4     2 {flow()}").unanswered == CLIENT
    assert seen(flow(left=60)).unanswered is None
    assert seen(flow(source="192.168.50.20")).unanswered is None
    assert seen(flow(state="ESTABLISHED")).answered
    assert seen(flow(source=str(HOME_AWAY))).unanswered is None


@pytest.mark.parametrize(
    ("line", "visits"),
    [
        ({"left": 431_990}, True),
        ({"left": 300}, True),
        # Idle for long; or nothing of what was sent is acknowledged any more.
        ({"left": 400_000}, False),
        ({"left": 295}, False),
        ({"left": 431_990, "source": "192.168.50.20"}, False),
        ({"left": 431_990, "source": "192.168.50.2"}, False),
        ({"left": 431_990, "source": str(HOME_AWAY)}, False),
        # By a VPN, past the main router.
        ({"left": 431_990, "source": "10.8.0.3"}, False),
        ({"left": 118, "state": "TIME_WAIT"}, False),
        ({"left": 118, "state": "SYN_RECV"}, False),
        ({"left": 118, "state": "SYN_SENT"}, False),
    ],
)
def test_a_connection_from_the_internet_that_goes_on_is_a_visit(
    line: dict[str, Any], visits: bool
) -> None:
    """As told by what is left of its time."""
    found = seen("established 432000", flow(**{"state": "ESTABLISHED", **line}))
    assert found.visitors == ({"tcp": CLIENT} if visits else {})
    short = seen("established 7440", flow(7430, "ESTABLISHED"))
    assert short.visitors == {"tcp": CLIENT}


@pytest.mark.parametrize(
    ("output", "known"),
    [
        ("established 432000", True),
        ("established \nconntrack v1.4.7: 0 flow entries have been shown.", True),
        ("established 432000\nsh: conntrack: not found", False),
        ("established \nls: /proc/net/nf_conntrack: No such file", False),
    ],
)
def test_a_list_that_is_empty_is_told_from_none(output: str, known: bool) -> None:
    """Where none can be had, nothing is known."""
    assert seen(output).known is known


def test_a_target_that_goes_out_by_this_router_has_it_as_its_gateway() -> None:
    """As far as it is not talking to the LAN."""
    line = (
        "udp      17 28 src=192.168.50.10 dst={to} sport=5000 dport=53"
        " src={to} dst=192.168.50.10 sport=53 dport=5000 mark=0 use=1"
    )
    assert seen(line.format(to="198.51.100.1")).leaves_here
    assert not seen(line.format(to="192.168.50.2")).leaves_here


@pytest.mark.parametrize(
    ("output", "answer"),
    [
        ("data\nstatus 0", Answer.DATA),
        ("connected\nstatus 0", Answer.CONNECTED),
        ("silent", Answer.SILENT),
        ("bash: connect: Connection refused\nbash: line 1: …", Answer.REFUSED),
        ("nc: can't connect to remote host (192.168.50.10): No route to host",
         Answer.UNREACHABLE),
        ("status 0", Answer.CONNECTED),
        ("status 1", Answer.UNKNOWN),
        ("unknown", Answer.UNKNOWN),
        ("", Answer.UNKNOWN),
        ("421 Too many connections refused", Answer.DATA),
    ],
)  # fmt: skip
def test_a_knock_is_read(output: str, answer: Answer) -> None:
    """Whatever the service says of itself is data."""
    assert read_port_probe(Result(output, 0)) is answer


@pytest.mark.parametrize(
    ("sources", "client"),
    [
        ([], "192.0.2.1"),
        (["192.168.50.0/24", "10.0.0.0/8"], None),
        (["192.168.50.0/24", "203.0.113.0/24"], "203.0.113.0"),
    ],
)
def test_the_internet_matters_only_where_it_may_come_in(
    sources: list[str], client: str | None
) -> None:
    """A VPN's clients may come by another interface."""
    found = internet_client(
        Forward.parse(
            "01WEB",
            protocol="tcp",
            external_port="8443",
            target="192.168.50.10",
            sources=sources,
        )
    )
    assert found == (IPv4Address(client) if client else None)


@pytest.mark.parametrize("kind", Hindrance)
def test_what_is_in_the_way_is_named_where_it_stops_packets(kind: Hindrance) -> None:
    """As a test that fails shows; one that passes speaks for those whom it is like."""
    facts = replace(HEALTHY, obstacles=(Obstacle(kind, {"rule": "drop"}),))
    passed = named(facts)
    assert passed in ([], [kind.value])
    assert bool(passed) == (kind in {Hindrance.ALLOW_LIST, Hindrance.NO_GATEWAY})
    before = kind in {Hindrance.UNTRACKED, Hindrance.DROPPED_EARLY}
    lost = replace(facts, through={"tcp": Answer.SILENT}, counted=not before)
    others = [] if kind is not Hindrance.NO_GATEWAY else ["dropped_in_forward"]
    assert named(lost) == [*others, kind.value]


def test_answers_that_go_astray_are_named_by_what_is_missing() -> None:
    """The doctor says what the switch and the repair say, where that is known."""
    astray = replace(HEALTHY, problems=frozenset({Problem.MISROUTED}))
    assert named(astray) == ["hijacked_by_tunnel"]
    lost = Obstacle(Hindrance.NO_GATEWAY, {"interface": "tun0"})
    assert named(replace(astray, obstacles=(lost,))) == ["no_gateway"]


STATES = st.builds(
    Facts,
    obstacles=st.lists(st.builds(Obstacle, st.sampled_from(Hindrance)), max_size=3).map(
        tuple
    ),
    problems=st.frozensets(st.sampled_from(Problem)),
    ip_forward=st.sampled_from([True, False, None]),
    count=st.sampled_from([0, 10, 1000]),
    limit=st.sampled_from([0, 1000]),
    filtered=st.booleans(),
    way_back=st.booleans(),
    home=st.sampled_from([None, HOME, CLIENT]),
    on_link=st.booleans(),
    mac=st.sampled_from([None, HERE, THERE]),
    elsewhere=st.sampled_from([{}, {HERE: IPv4Address("192.168.50.11")}]),
    pinged=st.booleans(),
    service=st.fixed_dictionaries({"tcp": st.sampled_from(Answer)}),
    direct=st.fixed_dictionaries({}, optional={"tcp": st.sampled_from(Answer)}),
    through=st.fixed_dictionaries({}, optional={"tcp": st.sampled_from(Answer)}),
    counted=st.sampled_from([True, False, None]),
    other_backend=st.sampled_from([None, "iptables-legacy"]),
    clients=st.builds(
        Clients,
        known=st.booleans(),
        answered=st.booleans(),
        waiting=st.sampled_from([frozenset(), WAITING]),
        visitors=st.fixed_dictionaries({}, optional={"tcp": st.just(CLIENT)}),
        leaves_here=st.booleans(),
    ),
)


@given(STATES, st.booleans())
def test_whatever_the_facts_a_step_has_a_cause_exactly_if_it_failed(
    facts: Facts,
    kept: bool,
) -> None:
    """Every step is there once, and one that tells nothing says why."""
    found = evaluate(facts, forward(kept=kept), PROBE, HERE)
    names = [it.name for it in found.checks]
    assert names in (OF_ROUTER, [it for it in OF_ROUTER if it is not Step.ARRIVAL])
    assert list(blameless(found)) == []
    assert found.causes or found.healthy is not False


def blameless(found: Diagnosis) -> Iterator[Check]:
    """Yield checks that say too much or too little."""
    for it in found.checks:
        is_failed = it.status is Status.FAILED
        vague = it.status in (Status.UNKNOWN, Status.SKIPPED)
        if is_failed != (it.cause is not None) or vague != ("reason" in it.seen):
            yield it


@pytest.mark.parametrize(
    ("error", "cause", "message"),
    [
        (ConnectionLost(message="gone"), Cause.UNREACHABLE, "gone"),
        (NotPrivileged(command="nft", message="no"), Cause.NOT_PRIVILEGED, "no"),
        (
            FirewallFailed(command="iptables -t nat -S", message=NO_MODULE),
            Cause.FIREWALL_UNUSABLE,
            NO_MODULE,
        ),
        (
            FirewallNotThere(firewall="nftables"),
            Cause.FIREWALL_UNUSABLE,
            "nftables",
        ),
        (FirewallMissing(), Cause.FIREWALL_UNUSABLE, "firewall_missing"),
    ],
)
def test_a_router_that_says_nothing_has_one_cause(
    error: RouterError, cause: Cause, message: str
) -> None:
    """And its words. Only one that is reached can refuse, or lack something."""
    found = unreachable(error)
    assert found.causes == (cause,)
    (check,) = (it for it in found.checks if it.status is Status.FAILED)
    reached = cause is not Cause.UNREACHABLE
    assert check.name is (Step.PRIVILEGES if reached else Step.CONNECTION)
    assert check.seen["message"] == message
    assert list(blameless(found)) == []


def test_a_way_that_fails_is_a_filters_only_where_there_is_one() -> None:
    """The kernel may refuse to say where a packet goes for other reasons."""

    def filtered(way: Result, settings: str) -> bool:
        names = ("forward", "connections", "home", "back", "target")
        labels = (*names, "probe.tcp", "neighbours", "flows", "connections.later")
        sections = dict.fromkeys(labels, Result("", 1))
        sections |= {"way": way, "filter": Result(settings, 0)}
        return read_looks(sections, WEB, PROBE).filtered

    refused = Result("RTNETLINK answers: Invalid argument", 2)
    assert filtered(refused, "0\n1")
    assert not filtered(refused, "0\n0")
    assert not filtered(Result('Object "from" is unknown', 255), "0\n1")
    assert not filtered(Result("local 192.168.50.2 dev lo", 0), "1\n1")


def test_rules_that_are_gone_take_the_blame_for_what_went_with_them() -> None:
    """All come back together."""
    facts = replace(HEALTHY, problems=frozenset(Problem), through={}, counted=None)
    assert named(facts) == ["rule_missing"]


@given(st.text(max_size=200), st.integers(0, 255))
def test_nonsense_of_a_router_is_read_as_ignorance(output: str, status: int) -> None:
    """Nothing breaks, and nothing is blamed on the target."""
    labels = looks(KEPT, PROBE)
    recheck(KEPT, PROBE, forget=True)
    names = [
        *("forward", "connections", "home", "filter", "way", "back", "target"),
        *("probe.tcp", "neighbours", "flows", "connections.later"),
    ]
    assert all(name in labels for name in names)
    sections = {name: Result(output, status) for name in names}
    facts = read_looks(sections, KEPT, PROBE)
    assert isinstance(evaluate(facts, KEPT, PROBE), Diagnosis)

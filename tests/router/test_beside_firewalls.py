"""Beside rules of others in iptables: who is kept out stays out, nothing is skipped.

By packets with payload. The banned one is the client on the internet; another host of
the LAN shows that the forward is on.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from custom_components.bypass_router.router.backend import Backend
from custom_components.bypass_router.router.iptables.rules import FWD
from custom_components.bypass_router.router.router import Router
from custom_components.bypass_router.router.rules.obstacles import Hindrance
from tests.lab.bypass import RouterOptions
from tests.lab.network import INTERNET_ADDRESS, Lab

from .client import BOTH_VARIANTS, WEB, connect
from .test_router import passes

BANNED = f"-s {INTERNET_ADDRESS}"
FAIL2BAN = (
    f"iptables -N f2b-web; iptables -A f2b-web {BANNED} -j REJECT;"
    " iptables -A f2b-web -j RETURN;"
    " iptables -I FORWARD -p tcp -m multiport --dports 443,9000 -j f2b-web"
)
UNBAN = f"iptables -D f2b-web {BANNED} -j REJECT"
DROP = "iptables -P FORWARD DROP"
ESTABLISHED = "iptables -A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"


@asynccontextmanager
async def connected(lab: Lab) -> AsyncIterator[Router]:
    """The router, where iptables translates."""
    lab.target.serve("tcp", 443)
    router = await connect(lab, firewall=Backend.IPTABLES)
    try:
        yield router
    finally:
        await router.close()


def do(lab: Lab, command: str) -> str:
    """Have another program do something on the router."""
    return lab.bypass.run("sh", "-ec", command).stdout


async def passing(lab: Lab) -> tuple[bool, bool]:
    """Return whether payload passes from the internet, and from the LAN."""
    return (
        await asyncio.to_thread(passes, lab, "tcp", 8443),
        await asyncio.to_thread(passes, lab, "tcp", 8443, host="lan"),
    )


async def put_right(router: Router) -> None:
    """Do as is done when a change was noticed."""
    await router.rules.read()
    live = await router.rules.apply([WEB])
    assert live.forwards == {WEB.id: WEB}


@BOTH_VARIANTS
@pytest.mark.parametrize("drops", [False, True], ids=["accept", "drop"])
async def test_a_ban_is_not_lifted(at_home: Lab, drops: bool) -> None:
    """Whether the rest would pass or not; and all is as before in the end."""
    do(at_home, FAIL2BAN + (f"; {DROP}" if drops else ""))
    before = at_home.bypass.iptables_save()
    async with connected(at_home) as router:
        await put_right(router)
        assert await passing(at_home) == (False, True)
        assert not list(router.rules.obstacles(WEB))
        do(at_home, UNBAN)
        assert await passing(at_home) == (True, True)
        do(at_home, UNBAN.replace("-D f2b-web", "-I f2b-web"))
        saved = at_home.bypass.iptables_save()
        assert (FWD.chain in saved) == drops
        await router.rules.apply([])
    assert at_home.bypass.iptables_save() == before


@BOTH_VARIANTS
async def test_what_bans_later_and_behind_us_is_not_lifted(at_home: Lab) -> None:
    """Whoever adds a rule puts it behind ours at first."""
    do(at_home, DROP)
    async with connected(at_home) as router:
        await put_right(router)
        assert await passing(at_home) == (True, True)
        do(at_home, f"iptables -A FORWARD {BANNED} -j DROP")
        live = await router.rules.read()
        assert live.forwards == {WEB.id: WEB}
        assert router.rules.differs([WEB])
        await put_right(router)
        assert not router.rules.differs([WEB])
        assert await passing(at_home) == (False, True)
        do(at_home, f"iptables -D FORWARD {BANNED} -j DROP")
        await put_right(router)
        assert await passing(at_home) == (True, True)


@BOTH_VARIANTS
async def test_a_clamp_and_a_mark_are_not_skipped(at_home: Lab) -> None:
    """They see the forward's packets, as they would by hand."""
    do(
        at_home,
        f"{DROP}; iptables -A FORWARD -p tcp -m tcp --tcp-flags SYN,RST SYN"
        " -j TCPMSS --set-mss 1360; iptables -A FORWARD -j MARK --set-mark 7",
    )
    async with connected(at_home) as router:
        await put_right(router)
        assert await passing(at_home) == (True, True)
        listing = do(at_home, "iptables -v -S FORWARD").splitlines()
        seen = [line for line in listing if "TCPMSS" in line or "MARK" in line]
        assert len(seen) == 2
        assert not [line for line in seen if " -c 0 0 " in line]


KEEPING_OUT = {
    "a limit": "iptables -A FORWARD -m limit --limit 1/hour --limit-burst 1 -j ACCEPT",
    "a limit for each": "iptables -A FORWARD -m hashlimit --hashlimit-upto 1/hour"
    " --hashlimit-burst 1 --hashlimit-mode srcip --hashlimit-name a -j ACCEPT",
    "friends": f"{ESTABLISHED}; iptables -A FORWARD -s 203.0.113.200 -j ACCEPT",
    "friends, by returning": "iptables -N DOCKER-USER;"
    " iptables -A FORWARD -j DOCKER-USER;"
    " iptables -A DOCKER-USER -s 203.0.113.200 -j RETURN;"
    f" iptables -A DOCKER-USER {BANNED} -j DROP; iptables -A DOCKER-USER -j DROP",
}


@BOTH_VARIANTS
@pytest.mark.parametrize("rules", KEEPING_OUT.values(), ids=KEEPING_OUT)
async def test_a_limit_and_a_list_of_friends_hold(at_home: Lab, rules: str) -> None:
    """Nothing of ours comes to the table; the forward is on, and the rule named."""
    do(at_home, f"{DROP}; {rules}")
    async with connected(at_home) as router:
        await put_right(router)
        assert "bypass_router" not in do(at_home, "iptables -S")
        found = {it.kind for it in router.rules.obstacles(WEB)}
        assert found == {Hindrance.ALLOW_LIST}
        await passing(at_home)
        assert not (await passing(at_home))[0]


@BOTH_VARIANTS
async def test_icmp_errors_of_a_forward_pass_with_it(at_home: Lab) -> None:
    """Where nothing else lets them: large answers arrive over a narrow link.

    With the rule of earlier versions they did not.
    """
    do(at_home, DROP)
    at_home.main.ip(f"route replace {INTERNET_ADDRESS} dev wan mtu 1300")
    async with connected(at_home) as router:
        await put_right(router)
        rule = do(at_home, f"iptables -S {FWD.chain}").splitlines()[1]
        earlier = rule.replace(f"-A {FWD.chain}", "-p tcp").replace("--ctproto 6 ", "")
        do(at_home, f"iptables -F {FWD.chain}; iptables -A {FWD.chain} {earlier}")
        assert await passing(at_home) == (False, True)
        await put_right(router)
        assert await passing(at_home) == (True, True)


@pytest.mark.parametrize(
    "router_options",
    [
        RouterOptions(firewall="ufw"),
        RouterOptions(firewall="ufw", iptables="legacy"),
        RouterOptions(system="openwrt-fw3"),
    ],
    ids=["ufw", "ufw, legacy", "fw3"],
)
async def test_a_firewall_that_reloads_keeps_out_whom_it_did(at_home: Lab) -> None:
    """And lets in all others, again; in the end it is as before."""
    fw3 = at_home.options.system == "openwrt-fw3"
    theirs = "forwarding_rule" if fw3 else "FORWARD"
    # Its reload adds to what its start has made.
    at_home.bypass.firewall.reload()
    before = do(at_home, "iptables -S")
    async with connected(at_home) as router:
        await put_right(router)
        assert await passing(at_home) == (True, True)
        for _ in range(2):
            at_home.bypass.firewall.reload()
            await put_right(router)
            assert await passing(at_home) == (True, True)
            do(at_home, f"iptables -A {theirs} {BANNED} -j DROP")
            await put_right(router)
            assert await passing(at_home) == (False, True)
            at_home.bypass.firewall.reload()
            await put_right(router)
            assert await passing(at_home) == (False, True)
            do(at_home, f"iptables -D {theirs} {BANNED} -j DROP")
        await router.rules.apply([])
    after = do(at_home, "iptables -S")
    assert sorted(after.splitlines()) == sorted(before.splitlines())


UFW_POLICIES = {"deny": '"DROP"', "reject": '"REJECT"', "allow": '"ACCEPT"'}


@pytest.mark.parametrize("router_options", [RouterOptions(firewall="ufw")], ids=["ufw"])
@pytest.mark.parametrize("policy", UFW_POLICIES.values(), ids=UFW_POLICIES)
async def test_each_policy_of_ufw_is_passed_and_its_rules_hold(
    at_home: Lab, policy: str
) -> None:
    """Its own rule for what is routed stays in front of ours."""
    do(
        at_home,
        "sed -i 's/^DEFAULT_FORWARD_POLICY=.*/DEFAULT_FORWARD_POLICY="
        f"{policy}/' /etc/default/ufw; ufw reload",
    )
    async with connected(at_home) as router:
        await put_right(router)
        assert await passing(at_home) == (True, True)
        do(at_home, f"ufw route deny from {INTERNET_ADDRESS}")
        await put_right(router)
        assert await passing(at_home) == (False, True)


@BOTH_VARIANTS
async def test_a_thousand_rules_of_others_are_no_burden(at_home: Lab) -> None:
    """The place behind them is found, and a change among them is no trouble."""
    lines = "".join(
        f"-A FORWARD -s 198.51.100.{n % 250}/32 -j DROP\n" for n in range(1000)
    )
    at_home.bypass.run(
        *("iptables-restore", "--noflush"),
        input=f"*filter\n:FORWARD DROP\n{lines}COMMIT\n",
    )
    async with connected(at_home) as router:
        await put_right(router)
        assert await passing(at_home) == (True, True)
        listing = do(at_home, "iptables -S FORWARD").splitlines()
        assert listing[-1] == f"-A FORWARD -j {FWD.chain}"

"""What rules of iptables ask of a forward's packets: surely so, not so, or maybe."""

from hypothesis import given, strategies as st
import pytest

from custom_components.bypass_router.router.forward import Forward
from custom_components.bypass_router.router.iptables.conditions import chain_rule
from custom_components.bypass_router.router.iptables.table import rule_of
from custom_components.bypass_router.router.passage.chains import Action, ChainRule
from custom_components.bypass_router.router.passage.packet import Match, packets_of

from .rules import SITE, forwards

WEB = Forward.parse(
    "01WEB",
    protocol="tcp",
    external_port="8443",
    target="192.168.50.10",
    target_port="443",
)
REQUEST, ANSWER, *_ = packets_of(WEB, SITE, "br-lan")
YES, NO, MAYBE = Match.YES, Match.NO, Match.MAYBE


def parsed(text: str) -> ChainRule:
    """Return what is read of a rule."""
    return chain_rule(rule_of(text), "FORWARD", {"FORWARD", "theirs"})


def matches(text: str) -> tuple[Match, Match]:
    """Return whether a request from the internet meets it, and the answer."""
    branches = parsed(text).branches
    request, answer = (
        max(branch.match(packet) for branch in branches) for packet in (REQUEST, ANSWER)
    )
    return request, answer


@pytest.mark.parametrize(
    ("text", "request_", "answer"),
    [
        ("", YES, YES),
        ("-p tcp", YES, YES),
        ("-p udp", NO, NO),
        ("! -p udp", YES, YES),
        ("-p icmp -m icmp --icmp-type 3/4", NO, NO),
        ("-i br-lan", YES, YES),
        ("-i br-+ -o br-lan", YES, YES),
        ("! -i br+", NO, NO),
        ("-i lo", NO, NO),
        ("-s 203.0.113.66/32", MAYBE, NO),
        ("! -s 203.0.113.66/32", MAYBE, YES),
        ("-s 192.168.50.0/24", NO, YES),
        ("-s 192.168.50.0/255.255.255.0", NO, YES),
        ("-s 1.0.3.0/255.0.255.0", MAYBE, MAYBE),
        ("-d 192.168.50.10/32", YES, NO),
        ("-p tcp -m tcp --dport 443", YES, MAYBE),
        ("-p tcp -m tcp --dport 8443", NO, MAYBE),
        ("-p tcp -m tcp --dport 400:65535", YES, MAYBE),
        ("-p tcp -m tcp --sport 443", MAYBE, YES),
        ("-p tcp -m multiport --dports 80,443", YES, MAYBE),
        ("-p tcp -m multiport ! --dports 80,443", NO, MAYBE),
        ("-p tcp -m multiport --ports 443", YES, YES),
        ("-p tcp -m multiport ! --ports 443", NO, NO),
        ("-p tcp -m tcp --tcp-flags SYN,RST SYN", YES, MAYBE),
        ("-p tcp -m tcp ! --tcp-flags FIN,SYN,RST,ACK SYN", NO, MAYBE),
        ("-p tcp -m tcp --tcp-flags SYN,ACK SYN,ACK", NO, MAYBE),
        ("-p tcp -m tcp --tcp-flags FIN,SYN,RST,PSH,ACK,URG NONE", NO, MAYBE),
        ("-p tcp -m tcp --tcp-flags FIN,ACK NONE", YES, MAYBE),
        ("-m set ! --match-set friends src", MAYBE, MAYBE),
        ("-m recent ! --rcheck --name SEEN --rsource", MAYBE, MAYBE),
        ("-m conntrack --ctstate NEW", YES, NO),
        ("-m conntrack --ctstate RELATED,ESTABLISHED", NO, YES),
        ("-m state --state INVALID", NO, NO),
        ("-m conntrack ! --ctstate INVALID", YES, YES),
        ("-m conntrack --ctstate DNAT", YES, YES),
        ("-m conntrack --ctstatus ASSURED", MAYBE, MAYBE),
        ("-m conntrack --ctproto 6", YES, YES),
        ("-m conntrack --ctproto 17", NO, NO),
        ("-m conntrack --ctdir ORIGINAL", YES, NO),
        ("-m conntrack --ctorigdst 192.168.50.2 --ctorigdstport 8443", YES, YES),
        ("-m conntrack --ctorigdstport 9000:9100", NO, NO),
        ("-m conntrack --ctorigsrc 192.168.50.0/24", NO, NO),
        ("-m conntrack ! --ctorigsrc 192.168.50.0/24", YES, YES),
        ("-m addrtype --dst-type BROADCAST", NO, NO),
        ("-m addrtype ! --dst-type LOCAL", YES, YES),
        ("-m addrtype --src-type BLACKHOLE", MAYBE, MAYBE),
        ("-m pkttype --pkt-type multicast", NO, NO),
        ("-m iprange --src-range 203.0.113.1-203.0.113.9", MAYBE, NO),
        ('-m comment --comment "-j DROP"', YES, YES),
        ("-m recent --set --name SEEN --mask 255.255.255.255 --rsource", YES, YES),
        ("-m recent --update --seconds 9 --name SEEN --rsource", MAYBE, MAYBE),
        ("-m nfacct --nfacct-name x", MAYBE, MAYBE),
        ("-m something --else 1", MAYBE, MAYBE),
        ('-m string --string "-j ACCEPT" --algo bm', MAYBE, MAYBE),
        ("!", MAYBE, MAYBE),
        ("-p tcp -m tcp --dport x", MAYBE, MAYBE),
    ],
)
def test_what_is_sure_is_told_from_what_is_not(
    text: str, request_: Match, answer: Match
) -> None:
    """Whatever is not known may be so or not."""
    assert matches(text) == (request_, answer)


@pytest.mark.parametrize(
    ("text", "who"),
    [
        *((f"-m {name}", True) for name in ("limit", "hashlimit", "time")),
        ("-m geoip --source-country CN", True),
        ("-m geoip ! --source-country CN", True),
        *((f"-m {name}", True) for name in ("quota", "connlimit", "owner", "newer")),
        ("-m mac --mac-source 00:00:00:00:00:01", True),
        ("-m set --match-set friends src", True),
        ("-s 203.0.113.0/28", True),
        ("-m set --match-set docker-ext-bridges-v4 dst", False),
        *((f"-m {name} --{name} 1", False) for name in ("mark", "length", "ttl")),
        ("-p tcp -m tcp --tcp-flags SYN,RST SYN", False),
        ("-m physdev --physdev-in eth1", False),
    ],
)
def test_what_may_tell_clients_apart_is_told_from_the_rest(
    text: str, who: bool
) -> None:
    """What counts them does, and whatever no one has heard of."""
    (branch,) = parsed(f"{text} -j ACCEPT").branches
    assert branch.asks_who(REQUEST) == who


@pytest.mark.parametrize(
    ("text", "action", "only_logs"),
    [
        ("-j ACCEPT", Action.ACCEPT, False),
        ("-j REJECT --reject-with tcp-reset", Action.DROP, False),
        ("-p tcp -j TARPIT --tarpit", Action.DROP, False),
        ("-j RETURN", Action.RETURN, False),
        ("-j NFQUEUE --queue-num 1", Action.QUEUE, False),
        ("-j theirs", Action.JUMP, False),
        ("-g theirs", Action.GOTO, False),
        ("-j gone", Action.CONTINUE, False),
        ("-j MARK --set-xmark 0x1/0x1", Action.CONTINUE, False),
        ('-j LOG --log-prefix "a -j DROP "', Action.CONTINUE, True),
        ("-m limit --limit 3/min -j NFLOG", Action.CONTINUE, True),
        ("-s 203.0.113.0/24", Action.CONTINUE, True),
        ("-m recent --set --name SEEN --rsource", Action.CONTINUE, False),
        ("-i a -j ACCEPT -j DROP", Action.CONTINUE, False),
    ],
)
def test_what_is_done_is_told(text: str, action: Action, only_logs: bool) -> None:
    """And whether it is more than to log."""
    rule = parsed(text)
    assert {branch.action for branch in rule.branches} == {action}
    assert rule.only_logs == only_logs


WORDS = st.sampled_from(
    (
        *("-j", "-g", "!", "-m", "-s", "-d", "-p", "--ports", "multiport", "ACCEPT"),
        *("--dport", "1:2", ":", "/", "1.2.3.4/33", "conntrack", "--ctstate", '"'),
    )
)


@given(st.lists(WORDS | st.text(max_size=8), max_size=12).map(" ".join), forwards())
def test_no_rule_is_too_strange(text: str, forward: Forward) -> None:
    """Whatever it says, it is a rule that some packet meets or not."""
    for branch in parsed(text).branches:
        for packet in packets_of(forward, SITE, "br-lan"):
            assert branch.match(packet) in Match
            assert branch.asks_who(packet) in (True, False)

"""Chains drawn at random, as text for nft and for iptables, and for the kernel to try.

What may be true or not is known here: of one client it is, of the other it is not.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, Literal

from custom_components.bypass_router.router.passage.chains import (
    Action,
    Branch,
    Chain,
    ChainRule,
    Chains,
)
from custom_components.bypass_router.router.passage.packet import (
    Condition,
    Key,
    Match,
    Packet,
)
from custom_components.bypass_router.router.passage.spot import Spot

from .random_chains import (
    BY,
    FROM,
    NO,
    NOT_FROM,
    NOT_WHO,
    SINGLED_OUT,
    WHAT,
    YES,
    Fate,
    conditions_of,
    fate,
)
from .situations import BANNED

type Tool = Literal["nft", "iptables"]

NOT_BY: Final = replace(BY, negated=True)
_NFT: Final = {
    YES: "meta l4proto tcp",
    NO: "meta l4proto udp",
    SINGLED_OUT: "tcp dport 443",
    FROM: f"ip saddr {BANNED}",
    BY: f"ct original ip saddr {BANNED}",
    WHAT: "meta mark 0x5",
    NOT_FROM: f"ip saddr != {BANNED}",
    NOT_BY: f"ct original ip saddr != {BANNED}",
}
_IPTABLES: Final = {
    YES: "-p tcp",
    NO: "-p udp",
    SINGLED_OUT: "-p tcp --dport 443",
    FROM: f"-s {BANNED}",
    BY: f"-m conntrack --ctorigsrc {BANNED}",
    WHAT: "-m mark --mark 0x5",
    NOT_FROM: f"! -s {BANNED}",
    NOT_BY: f"-m conntrack ! --ctorigsrc {BANNED}",
}
OURS: Final = ChainRule("ours", (Branch((), Action.ACCEPT),))


def for_kernel(chains: Chains, tool: Tool) -> dict[str, Chain]:
    """Return chains as near to these as a tool can have them."""
    return {name: _chain(chain, tool) for name, chain in chains.items()}


def _chain(chain: Chain, tool: Tool) -> Chain:
    """Return one of them."""
    rules = []
    for rule in chain.rules:
        branches = [replace(it, conditions=_known(it)) for it in rule.branches]
        # A map has one element for a client, and one for all others.
        mapped = tool == "nft" and branches[0].conditions == (FROM,)
        others = [it for it in branches[1:2] if mapped and not it.conditions]
        branches = [branches[0], *others]
        # Each is a value of its own, to be found in what is true of a packet.
        branches = [
            replace(it, conditions=tuple(map(replace, it.conditions)))
            for it in branches
        ]
        goes_on = all(it.action is Action.CONTINUE for it in branches)
        logs = goes_on and len(branches) == 1 and (rule.only_logs or tool != "nft")
        rules.append(ChainRule(rule.text, tuple(branches), logs))
    return Chain(tuple(rules), chain.drops)


def _known(branch: Branch) -> tuple[Condition, ...]:
    """Return its conditions, as such that can be said."""
    said = {Condition(Key.UNKNOWN, by_client=True): BY, NOT_WHO: NOT_BY}
    return tuple(said.get(it, it) for it in branch.conditions)


def without_queues(chains: Chains) -> dict[str, Chain]:
    """Return the same with a drop wherever a program would be asked."""
    found = {}
    for name, chain in chains.items():
        rules = tuple(
            replace(
                rule,
                branches=tuple(
                    replace(it, action=Action.DROP) if it.action is Action.QUEUE else it
                    for it in rule.branches
                ),
            )
            for rule in chain.rules
        )
        found[name] = replace(chain, rules=rules)
    return found


def with_ours(chains: Chains, spots: list[Spot]) -> dict[str, Chain]:
    """Return the chains with an accept of ours at each spot."""
    found = dict(chains)
    for spot in sorted(spots, key=lambda it: -it.first):
        rules = found[spot.chain].rules
        rules = (*rules[: spot.first], OURS, *rules[spot.first :])
        found[spot.chain] = replace(found[spot.chain], rules=rules)
    return found


def passes(chains: Chains, packets: tuple[Packet, Packet], *, banned: bool) -> bool:
    """Return whether a client's payload is to pass: a request, and its answer."""
    return all(
        fate_of(chains, packet, banned=banned).verdict == "accept" for packet in packets
    )


def fate_of(chains: Chains, packet: Packet, *, banned: bool) -> Fate:
    """Return what becomes of a client's packet."""
    truth = {
        id(it): it.key in (Key.SOURCE, Key.ORIGINAL_SOURCE) and banned != it.negated
        for it in conditions_of(chains)
        if it.match(packet) is Match.MAYBE
    }
    return fate(chains, packet, truth)


@dataclass(frozen=True, slots=True)
class Texts:
    """How a tool has chains loaded, and lists them."""

    load: tuple[str, ...]
    unload: str
    list: tuple[str, ...]
    text: Callable[[Chains], str]


def _nft_text(chains: Chains) -> str:
    """Return the chains as a table."""
    blocks = []
    for name, chain in chains.items():
        rules = [_nft_rule(rule, number) for number, rule in enumerate(chain.rules)]
        if name == "base":
            policy = "drop" if chain.drops else "accept"
            rules.insert(0, f"type filter hook forward priority 0; policy {policy};")
        blocks.append("\n".join([f"chain {name} {{", *rules, "}"]))
    return "\n".join(["table inet theirs {", *blocks, "}\n"])


def _nft_rule(rule: ChainRule, number: int) -> str:
    """Return a rule, or a map of verdicts where it has several branches."""
    if len(rule.branches) > 1:
        first, other = map(_nft_verdict, rule.branches)
        return f"ip saddr vmap {{ {BANNED} : {first}, * : {other} }}"
    (branch,) = rule.branches
    words = [_NFT[it] for it in branch.conditions]
    if branch.action is Action.CONTINUE:
        logs = ("counter", "log group 5")[number % 2]
        words.append(logs if rule.only_logs else "meta priority set 0:1")
    elif branch.action is Action.DROP and number % 2:
        words.append("reject")
    else:
        words.append(_nft_verdict(branch))
    return " ".join(words)


def _nft_verdict(branch: Branch) -> str:
    """Return a verdict as nft says it."""
    return f"{branch.action} {branch.chain}".strip()


def _iptables_text(chains: Chains) -> str:
    """Return the chains as those of the table filter."""
    policy = "DROP" if chains["base"].drops else "ACCEPT"
    lines = ["*filter", f":FORWARD {policy} [0:0]"]
    lines += [f":{name} - [0:0]" for name in chains if name != "base"]
    for name, chain in chains.items():
        at = "FORWARD" if name == "base" else name
        lines += [f"-A {at} {_iptables_rule(rule)}" for rule in chain.rules]
    return "\n".join([*lines, "COMMIT\n"])


def _iptables_rule(rule: ChainRule) -> str:
    """Return a rule's words."""
    (branch,) = rule.branches
    words = [_IPTABLES[it] for it in branch.conditions]
    match branch.action:
        case Action.CONTINUE:
            pass
        case Action.JUMP:
            words.append(f"-j {branch.chain}")
        case Action.GOTO:
            words.append(f"-g {branch.chain}")
        case verdict:
            words.append(f"-j {verdict.value.upper()}")
    return " ".join(words)


TEXTS: Final[dict[Tool, Texts]] = {
    "nft": Texts(
        ("nft", "-f", "-"),
        "table inet theirs\ndelete table inet theirs\n",
        ("nft", "-t", "-s", "-a", "list", "ruleset"),
        _nft_text,
    ),
    "iptables": Texts(
        ("iptables-restore",),
        "*filter\n:FORWARD ACCEPT [0:0]\nCOMMIT\n",
        ("iptables", "-S"),
        _iptables_text,
    ),
}

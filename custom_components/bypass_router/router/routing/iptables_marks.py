"""What marks answers, as rules of a chain of ours in mangle, where `nft` can't be used.

The chain stands last at PREROUTING, behind all that could set another mark there. What
has a mark of a later hook is beyond it.
"""

from collections.abc import Collection, Iterator, Mapping, Set as AbstractSet

from ..forward import Transport
from ..iptables.commands import Commands
from ..iptables.rule import Rule
from ..iptables.rules import NUMBERS, ports_text, read_ports
from ..iptables.state import tag_of
from ..iptables.table import read_table
from ..network.private import PRIVATE
from ..rules.base import Phase, PlanStep, RouterContext, incompatible, unreadable
from ..ssh.script import Result, Script
from .marks import Marked, MarksState, in_order
from .questions import MARK

CHAIN = "HA-BYPASS-ANSWER"
_JUMP = Rule.of(f"-j {CHAIN}")


class IptablesMarks:
    """Our chain in mangle, in one variant of iptables."""

    def __init__(self, context: RouterContext, commands: Commands) -> None:
        """Take the context, and what the commands are."""
        self._context = context
        self._commands = commands
        self._list = commands.look("mangle")
        if commands.variant == "legacy" and commands.sudo:
            # Whether the table is there, the kernel tells root alone; to others, our
            # rule of routing does.
            there = f'ip -4 rule show | grep -q "fwmark {MARK} "'
            self._list = f"sh -c '{there} && exec {commands.on('mangle')} -S'"
        self._label = f"answers.{commands.command.rpartition('-')[2]}"

    def add_read(self, script: Script) -> None:
        """Add the command that prints the table."""
        script.run(self._label, self._list)

    def read(self, sections: Mapping[str, Result]) -> MarksState:
        """Return what it printed. Raises FirewallFailed and NotPrivileged."""
        result = sections[self._label]
        if not result.ok:
            if not result.output or incompatible(result):
                return MarksState()
            raise unreadable("iptables -t mangle -S", result)
        chains = read_table(result.output).chains
        chain, entered = chains.get(CHAIN, ()), chains.get("PREROUTING", ())
        spared = tuple(map(Rule.of, _spared(self._context)))
        marked = [self._read(rule) for rule in chain]
        own = marked[len(spared) :]
        return MarksState(
            present=CHAIN in chains,
            sound=entered.count(_JUMP) == 1
            and entered[-1] == _JUMP
            and chain[: len(spared)] == spared
            and None not in own
            and len(own) == len(set(own)),
            marked=frozenset(filter(None, marked)),
            entrances=entered.count(_JUMP),
        )

    def _read(self, rule: Rule) -> Marked | None:
        """Return what a rule marks, if it is one of ours."""
        if (tag := tag_of(rule)) is None:
            return None
        tcp = rule.value("--ctproto") == NUMBERS["tcp"]
        transport: Transport = "tcp" if tcp else "udp"
        try:
            ports = read_ports(rule.value("--ctorigdstport"))
        except ValueError:
            return None
        answers = rule.value("--ctdir") == "REPLY"
        marked = Marked(tag, transport, ports, answers=answers)
        return marked if Rule.of(self._text(marked)) == rule else None

    def _text(self, marked: Marked) -> str:
        """Return a rule as iptables prints it."""
        # The first request is not translated yet. Of the connection, not of the packet:
        # errors that ICMP tells of it go along.
        state = "--ctstate DNAT " if marked.answers else ""
        return (
            f"-m conntrack {state}--ctproto {NUMBERS[marked.transport]} --ctorigdst"
            f" {self._context.address.ip} --ctorigdstport {ports_text(marked.ports)}"
            f" --ctdir {'REPLY' if marked.answers else 'ORIGINAL'}"
            f' -m comment --comment "{marked.tag}"'
            f" -j MARK --set-xmark {MARK}/0xffffffff"
        )

    def steps(self, wanted: AbstractSet[Marked], state: MarksState) -> list[PlanStep]:
        """Return the change after which the owner has exactly these marked."""
        owner = self._context.owner
        ours = frozenset(it for it in state.marked if it.tag.owner == owner)
        others = state.marked - ours
        leave = [f"-D PREROUTING -j {CHAIN}"] * state.entrances
        if not (wanted or others):
            if not (state.present or leave):
                return []
            lines = [*leave, *([f"-F {CHAIN}", f"-X {CHAIN}"] * state.present)]
            return [self._step(Phase.REVOKE, lines)]
        lines = []
        if not state.sound:
            # Made again as a whole, with what others have in it.
            lines += [*leave, f"-F {CHAIN}" if state.present else f"-N {CHAIN}"]
            lines += [f"-A {CHAIN} {rule}" for rule in _spared(self._context)]
            lines.append(f"-A PREROUTING {_JUMP}")
            ours, wanted = frozenset(), wanted | others
        lines += [f"-D {CHAIN} {self._text(it)}" for it in in_order(ours - wanted)]
        lines += [f"-A {CHAIN} {self._text(it)}" for it in in_order(wanted - ours)]
        return [self._step(Phase.ALLOW, lines)] if lines else []

    def _step(self, phase: Phase, lines: list[str]) -> PlanStep:
        """Return one transaction of mangle."""
        return PlanStep(phase, self._commands.restore, ("*mangle", *lines, "COMMIT"))

    def looks(self, *, heard: bool) -> list[str]:
        """Return commands whose output changes when the marks do."""
        del heard
        return [self._list]

    def rules(self, wanted: Collection[Marked]) -> list[str]:
        """Return the rules, for people to read."""
        return [
            f"iptables -t mangle -A {CHAIN} {self._text(it)}" for it in in_order(wanted)
        ]


def _spared(context: RouterContext) -> Iterator[str]:
    """Yield what leaves clients of private networks but the LAN as they are."""
    lan = context.address.network
    for network in PRIVATE:
        but = f" -m conntrack ! --ctorigsrc {lan}" if lan.subnet_of(network) else ""
        yield f"-m conntrack --ctorigsrc {network} --ctdir REPLY{but} -j RETURN"

"""What marks answers, as rules of a chain of ours in mangle, where `nft` can't be used.

The chain stands last at PREROUTING, behind all that could set another mark there. What
has a mark of a later hook is beyond it.
"""

from collections.abc import Collection, Iterator, Mapping, Set as AbstractSet
import re
from typing import Literal

from ..forward import PortRange, Transport
from ..iptables.legacy import NAMES
from ..network.private import PRIVATE
from ..rules.base import Phase, PlanStep, RouterContext, Tag, unreadable
from ..ssh.script import Result, Script
from ..ssh.sudo import as_root
from .marks import Marked, MarksState
from .questions import MARK

CHAIN = "HA-BYPASS-ANSWER"
_WAIT = "--wait 5"
_JUMP = f"-A PREROUTING -j {CHAIN}"
_TAG = re.compile(r'--comment "?(bypass_router:[0-9a-zA-Z:]{1,110})"?(?= |$)')
_PORT = re.compile(r"--ctorigdstport ([0-9]{1,5})(?::([0-9]{1,5}))?(?= )")


class IptablesMarks:
    """Our chain in mangle, in one variant of iptables."""

    def __init__(
        self,
        context: RouterContext,
        *,
        sudo: bool,
        command: str,
        variant: Literal["nf_tables", "legacy"],
    ) -> None:
        """Take the context, and what the commands are."""
        self._context = context
        self._restore = as_root(f"{command}-restore --noflush {_WAIT}", sudo=sudo)
        listing = as_root(f"{command} {_WAIT} -t mangle -S", sudo=sudo)
        self._list = listing
        if variant == "legacy":
            # To look at the table would make it. Whether it is there, the kernel tells
            # root alone; to others, our rule of routing does.
            there = f"grep -qsx mangle {NAMES}"
            if sudo:
                there = f'ip -4 rule show | grep -q "fwmark {MARK} "'
            self._list = f"sh -c '{there} && exec {listing}'"
        self._label = f"answers.{command.rpartition('-')[2]}"

    def add_read(self, script: Script) -> None:
        """Add the command that prints the table."""
        script.run(self._label, self._list)

    def read(self, sections: Mapping[str, Result]) -> MarksState:
        """Return what it printed. Raises FirewallFailed and NotPrivileged."""
        result = sections[self._label]
        if not result.ok:
            if not result.output or "incompatible" in result.output:
                return MarksState()
            raise unreadable("iptables -t mangle -S", result)
        lines = [line.rstrip() for line in result.output.split("\n")]
        chain = [
            line.removeprefix(f"-A {CHAIN} ")
            for line in lines
            if line.startswith(f"-A {CHAIN} ")
        ]
        marked = [self._read(line) for line in chain]
        entered = [line for line in lines if line.startswith("-A PREROUTING ")]
        spared = list(_spared(self._context))
        return MarksState(
            present=f"-N {CHAIN}" in lines,
            sound=entered.count(_JUMP) == 1
            and entered[-1:] == [_JUMP]
            and chain[: len(spared)] == spared
            and None not in marked[len(spared) :]
            and len(chain) == len(spared) + len(set(marked[len(spared) :])),
            marked=frozenset(filter(None, marked)),
            entrances=entered.count(_JUMP),
        )

    def _read(self, line: str) -> Marked | None:
        """Return what a rule marks, if it is one of ours."""
        found = _TAG.search(line)
        tag = Tag.parse(found[1]) if found else None
        ports = _PORT.search(line)
        if not tag or not ports:
            return None
        transport: Transport = "tcp" if "-p tcp " in line else "udp"
        try:
            marked = Marked(
                tag,
                transport,
                PortRange(int(ports[1]), int(ports[2] or ports[1])),
                answers="--ctdir REPLY" in line,
            )
        except ValueError:
            return None
        return marked if _words(self._text(marked)) == _words(line) else None

    def _text(self, marked: Marked) -> str:
        """Return a rule as iptables prints it."""
        port = str(marked.ports).replace("-", ":")
        # The first request is not translated yet.
        state = "--ctstate DNAT " if marked.answers else ""
        return (
            f"-p {marked.transport} -m conntrack {state}--ctorigdst"
            f" {self._context.address.ip} --ctorigdstport {port}"
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
            lines.append(_JUMP)
            ours, wanted = frozenset(), wanted | others
        lines += [f"-D {CHAIN} {self._text(it)}" for it in _sorted(ours - wanted)]
        lines += [f"-A {CHAIN} {self._text(it)}" for it in _sorted(wanted - ours)]
        return [self._step(Phase.ALLOW, lines)] if lines else []

    def _step(self, phase: Phase, lines: list[str]) -> PlanStep:
        """Return one transaction of mangle."""
        return PlanStep(phase, self._restore, ("*mangle", *lines, "COMMIT"))

    def looks(self, *, heard: bool) -> list[str]:
        """Return commands whose output changes when the marks do."""
        del heard
        return [self._list]

    def rules(self, wanted: Collection[Marked]) -> list[str]:
        """Return the rules, for people to read."""
        return [
            f"iptables -t mangle -A {CHAIN} {self._text(it)}" for it in _sorted(wanted)
        ]


def _spared(context: RouterContext) -> Iterator[str]:
    """Yield what leaves clients of private networks but the LAN as they are."""
    lan = context.address.network
    for network in PRIVATE:
        but = f" -m conntrack ! --ctorigsrc {lan}" if lan.subnet_of(network) else ""
        yield f"-m conntrack --ctorigsrc {network} --ctdir REPLY{but} -j RETURN"


def _words(line: str) -> list[str]:
    """Return what a rule says, in an order that is always the same."""
    return sorted(
        line.replace('"', "").replace("-m tcp ", "").replace("-m udp ", "").split()
    )


def _sorted(marked: Collection[Marked]) -> list[Marked]:
    """Return them in an order that is always the same."""
    return sorted(marked, key=lambda it: (it.place, it.ports.first))

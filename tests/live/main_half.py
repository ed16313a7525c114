"""What the demo shows of a main router that takes requests, as miniupnpd is there."""

from typing import Final, Self

from tests.lab.miniupnpd import Miniupnpd
from tests.lab.network import Lab
from tests.lab.requirements import find_command
from tests.lab.waiting import tries

from .flows import AddedForward, AddedRouter, Flows
from .instance import HomeAssistant
from .report import Report

_CHAIN: Final = "prerouting_miniupnpd"


class MainHalf:
    """The main router's half of a forward, set by the same switch."""

    def __init__(
        self, lab: Lab, home_assistant: HomeAssistant, report: Report, port: int
    ) -> None:
        """Start miniupnpd on the main router, in place of all forwards there."""
        self._lab = lab
        self._ha = home_assistant
        self._flows = Flows(home_assistant)
        self._report = report
        self._port = port
        self._daemon = Miniupnpd(lab.main)
        self._daemon.start()

    @classmethod
    def where_possible(
        cls, lab: Lab, home_assistant: HomeAssistant, report: Report, port: int
    ) -> Self | None:
        """Return it; say why not, and return None, where there is no miniupnpd."""
        if find_command("miniupnpd") is None:
            report.say(
                "miniupnpd is missing on this machine, so the demo can't show how one"
                " switch sets both halves.\nThe main router keeps its forward."
                " `scripts/setup lab` installs miniupnpd."
            )
            return None
        return cls(lab, home_assistant, report, port)

    def ask_for_it(self, router: AddedRouter) -> None:
        """Choose in the options that the main router is asked, and show the form."""
        found = self._flows.choose(router.entry_id, main_router="upnp")
        self._report.say(f"the form of the options showed  {found}")

    @property
    def is_set(self) -> bool:
        """Whether its kernel leads both protocols to the bypass router, and no more."""
        to = self._lab.bypass.address, self._port
        return self._daemon.mappings() == {
            ("tcp", self._port): to,
            ("udp", self._port): to,
        }

    @property
    def is_empty(self) -> bool:
        """Whether it leads nothing anywhere, at once or in a moment."""
        return any(not self._daemon.mappings() for _ in tries())

    def state(self, forward: AddedForward) -> str | None:
        """Return what Home Assistant shows of it."""
        return self._ha.state(self._flows.main_half(forward.subentry_id))

    def show(self) -> None:
        """Print what stands in the main router's kernel."""
        listed = self._lab.main.run("nft", "list", "chain", "inet", "filter", _CHAIN)
        for line in listed.stdout.splitlines():
            if "dnat" in line:
                self._report.code(line.strip())

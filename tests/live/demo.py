"""The demo: a forward that does not work, the cure by switch, and what passes when.

`scripts/demo` runs it. Whatever is not as promised ends it with one sentence.
"""

import argparse
import re
import signal
import socket
import subprocess
import sys
import time
from types import FrameType
from typing import Final

from tests.lab.exchange import Exchange, Outcome, Transport
from tests.lab.network import Lab
from tests.lab.node import Node
from tests.lab.requirements import LabUnavailable

from .client import LOOPBACK, RequestRefused
from .flows import AddedForward, AddedRouter, FlowRefused, Flows
from .instance import PASSWORD, PORT, USERNAME, HomeAssistant, InstanceFailed
from .main_half import MainHalf
from .report import Report

EXTERNAL: Final = 8443
SERVICE: Final = 443
PROTOCOLS: Final[tuple[Transport, ...]] = ("tcp", "udp")
_NAME: Final = "Camera"
_PORTS_TRIED: Final = 50
_INTERRUPTED: Final = 130

_ELEMENT: Final = re.compile(
    r'(tcp \. \d+) counter packets (\d+) bytes \d+ comment "bypass_router:\S+"'
    r" : ([0-9.]+ \. \d+)"
)
_TRANSLATES: Final = re.compile(
    r"(ip daddr \S+ meta l4proto \{.*? @translated|ct status .* @rewritten_tcp.*?)"
    " comment"
)
_OUR_TABLE: Final = re.compile(
    r"^table ip ha_bypass \{.*?^\}\n", re.DOTALL | re.MULTILINE
)
_FAULTS: Final = (
    LabUnavailable,
    InstanceFailed,
    FlowRefused,
    RequestRefused,
    OSError,
    subprocess.SubprocessError,
)


class NotAsPromised(Exception):
    """Something is not as the demo promised; the message is one plain sentence."""


class Demo:
    """The walk through a network, with a Home Assistant that is not started yet."""

    def __init__(self, lab: Lab, home_assistant: HomeAssistant, report: Report) -> None:
        """Take the network, and whom to tell."""
        self._lab = lab
        self._ha = home_assistant
        self._flows = Flows(home_assistant)
        self._report = report
        self._rules_before = self._rules()
        self._main_half: MainHalf | None = None

    def show_path(self) -> None:
        """Draw who is there, and the way that the packets are to take."""
        lab = self._lab
        nodes = [
            ("internet", lab.internet.address),
            ("main router", f"{lab.main.wan_address}:{EXTERNAL}"),
            ("bypass router", f"{lab.bypass.address}:{EXTERNAL}"),
            ("target", f"{lab.target.address}:{SERVICE}"),
        ]
        names = [f"{name:<{len(address) + 5}}" for name, address in nodes]
        self._report.say("\nThe way that the packets are to take:\n")
        self._report.say("".join(names).rstrip())
        self._report.say(" ──> ".join(address for _, address in nodes))
        self._report.say(
            "\nThe target's gateway is the bypass router. Another device in the LAN is"
            f" {lab.other.address},\nand Home Assistant is {lab.home.address}."
        )

    def show_problem(self) -> None:
        """Forward on the main router alone: it connects, and nothing passes."""
        lab = self._lab
        lab.target.serve("tcp", SERVICE)
        lab.target.serve("udp", SERVICE)
        lab.main.clear_forwards()
        for protocol in PROTOCOLS:
            lab.main.forward(protocol, str(EXTERNAL), lab.target.address, SERVICE)
        self._report.say(
            "Requests reach the target from the main router; its answers leave through"
            " the bypass router,\nwhich has never seen the request."
        )
        for protocol in PROTOCOLS:
            tried = self._from_internet(protocol)
            if tried.outcome is not Outcome.NO_DATA:
                raise NotAsPromised(
                    f"With a forward on the main router alone, {protocol.upper()} was"
                    f" to connect and to carry no data, but: {tried}."
                )
        lab.main.clear_forwards()
        for protocol in PROTOCOLS:
            lab.main.forward(protocol, str(EXTERNAL), lab.bypass.address)
        self._report.say(
            f"Now the main router forwards {EXTERNAL} to the bypass router: the first"
            " half of the cure, set by hand."
        )

    def boot(self) -> None:
        """Boot Home Assistant."""
        self._ha.start()
        version = self._ha.api("GET", "/api/config")["version"]
        self._report.good(f"Home Assistant {version} runs at {self._lab.home.address}")

    def add_router(self) -> AddedRouter:
        """Add the router by its forms, and compare what they showed."""
        lab, router = self._lab, self._lab.bypass
        added = self._flows.add_router(router.address, password=router.root_password)
        listed = router.run("ssh-keygen", "-lf", "-", input=router.host_key())
        own = listed.stdout.split()[1]
        self._report.say(f"the form showed  {added.fingerprint}")
        self._report.say(f"the router has   {own}")
        self._expect(
            added.fingerprint == own,
            "the same host key, shown before any password was sent",
            "The form showed another host key than the router's own.",
        )
        self._expect(
            lab.bypass.users.authorized_keys().count("bypass_router:") == 1,
            "a key was made and put on the router",
            "No key was put on the router.",
        )
        self._expect(
            router.root_password not in self._ha.stored_entries(added.entry_id),
            "the password is nowhere in what Home Assistant stores of it",
            "Home Assistant has stored the password.",
        )
        return added

    def add_forward(self, router: AddedRouter) -> AddedForward:
        """Add a forward by its form; it is off at first."""
        target = self._lab.target.address
        forward = self._flows.add_forward(
            router.entry_id,
            name=_NAME,
            protocol="both",
            external_port=str(EXTERNAL),
            target=target,
            target_port=str(SERVICE),
        )
        self._report.good(
            f"“{_NAME}”, TCP and UDP, {EXTERNAL} to {target}:{SERVICE},"
            f" is {forward.entity_id}"
        )
        self._expect_state(forward, "off")
        self.expect_nothing_passes()
        return forward

    def turn(self, forward: AddedForward, state: str) -> None:
        """Turn the switch, and see what passes then."""
        began = time.perf_counter()
        self._ha.call("switch", f"turn_{state}", entity_id=forward.entity_id)
        milliseconds = (time.perf_counter() - began) * 1000
        self._expect_state(forward, state)
        self._report.say(f"switched and read back in {milliseconds:.0f} ms")
        if state == "on":
            self._expect_all_passes()
        else:
            self.expect_nothing_passes()

    def begin_with_nothing(self, router: AddedRouter) -> None:
        """Have the main router forget its forward, and be asked for it by the switch.

        Where that can't be shown, it is said, and the main router stays as it is.
        """
        main_half = MainHalf.where_possible(self._lab, self._ha, self._report, EXTERNAL)
        if main_half is None:
            return
        main_half.ask_for_it(router)
        self._expect(
            main_half.is_empty,
            "the main router forwards nothing any more, and takes requests by UPnP",
            "The main router was to forward nothing.",
        )
        self.expect_nothing_passes()
        self._main_half = main_half

    def turn_both(self, forward: AddedForward, state: str) -> None:
        """Turn the switch, and see what becomes of the main router's half."""
        self.turn(forward, state)
        if (main_half := self._main_half) is None:
            return
        shown = main_half.state(forward)
        if state == "on":
            main_half.show()
            self._expect(
                main_half.is_set,
                "so the main router's kernel leads both to the bypass router",
                "The main router was to lead both protocols to the bypass router.",
            )
        else:
            self._expect(
                main_half.is_empty,
                "nothing is left in the main router's kernel",
                "The main router was to have nothing left.",
            )
        self._expect(
            shown == state,
            f"Home Assistant shows the main router's half as {state}",
            f"Home Assistant was to show the main router's half as {state}, but"
            f" shows {shown}.",
        )

    def show_rules(self) -> None:
        """Print what stands in the router's kernel for TCP; UDP has the same."""
        listed = self._lab.bypass.run("nft", "list", "table", "ip", "ha_bypass").stdout
        elements = _ELEMENT.findall(listed)
        if not elements:
            raise NotAsPromised("There is no forward in the router's kernel.")
        for key, packets, target in elements:
            if packets == "0":
                raise NotAsPromised(f"This forward has matched nothing: {key}")
            self._report.code(
                f"map translated {{ {key} : {target} }}  # {packets} connections"
            )
        for rule in _TRANSLATES.findall(listed):
            self._report.code(rule)
        self._report.say(
            "and the same for UDP, each with a comment that says whose it is"
        )
        self._expect(
            self._rules() == self._rules_before,
            "the router's other rules are as they were",
            "Other rules of the router were changed.",
        )

    def _rules(self) -> str:
        """Return all rules on the router but those of our table, without counters."""
        tables = self._lab.bypass.run("nft", "-s", "list", "ruleset").stdout
        others = _OUR_TABLE.sub("", tables)
        return f"{self._lab.bypass.iptables_save()}\n{others}"

    def remove(self, router: AddedRouter, forward: AddedForward) -> None:
        """Remove the forward while it is on, then the router."""
        self._flows.remove_forward(router.entry_id, forward.subentry_id)
        self._ha.wait_state(forward.entity_id, None)
        self._flows.remove_router(router.entry_id)
        if self._main_half is not None:
            self._expect(
                self._main_half.is_empty,
                "nothing is left in the main router's kernel",
                "The main router was to have nothing left.",
            )
        self.expect_nothing_passes()
        self._expect(
            self._rules() == self._rules_before
            and "ha_bypass" not in self._lab.bypass.run("nft", "list", "tables").stdout,
            "iptables-save and nft on the router say the same as before the demo",
            "The router's rules are not what they were before the demo.",
        )
        self._expect(
            "bypass_router:" not in self._lab.bypass.users.authorized_keys(),
            "the key is gone from the router",
            "The key was left on the router.",
        )

    def stop(self) -> None:
        """Stop Home Assistant, and see what it had to complain about."""
        self._ha.stop()
        errors = self._ha.errors_in_log()
        self._expect(
            not errors,
            "no warning and no error of ours in its log",
            f"Home Assistant's log complains: {errors[0] if errors else ''}",
        )

    def expect_nothing_passes(self) -> None:
        """Make sure that no payload passes, from wherever."""
        for protocol in PROTOCOLS:
            for tried in (self._from_internet(protocol), self._from_lan(protocol)):
                if tried.passed:
                    raise NotAsPromised(
                        f"Nothing was to pass, but {protocol.upper()} did: {tried}."
                    )

    def _expect_all_passes(self) -> None:
        """Make sure that payload passes both ways, and by the bypass router."""
        for protocol in PROTOCOLS:
            for tried in (self._from_internet(protocol), self._from_lan(protocol)):
                if not tried.passed:
                    raise NotAsPromised(
                        f"{protocol.upper()} was to pass, but: {tried}."
                    )
                if tried.peer_seen != self._lab.bypass.address:
                    raise NotAsPromised(
                        f"The target was to see {self._lab.bypass.address} as its"
                        f" client, but saw {tried.peer_seen}."
                    )

    def _from_internet(self, protocol: Transport) -> Exchange:
        """Exchange payload from the internet, and print what became of it."""
        return self._try(
            "the internet", self._lab.internet, protocol, self._lab.main.wan_address
        )

    def _from_lan(self, protocol: Transport) -> Exchange:
        """Exchange payload from the LAN, and print what became of it."""
        return self._try("the LAN", self._lab.other, protocol, self._lab.bypass.address)

    def _try(
        self, place: str, node: Node, protocol: Transport, address: str
    ) -> Exchange:
        tried = node.exchange(protocol, address, EXTERNAL, timeout=1)
        way = f"{protocol.upper()} from {place} to {address}:{EXTERNAL}"
        if tried.passed:
            size, took = tried.received, tried.seconds * 1000
            found = f"{size} bytes each way in {took:.1f} ms, seen as {tried.peer_seen}"
        elif protocol == "tcp" and tried.outcome is Outcome.NO_DATA:
            found = f"connected, and then {tried}"
        else:
            found = str(tried)
        self._report.say(f"{'──>' if tried.passed else '──x'} {way:<43} {found}")
        return tried

    def _expect_state(self, forward: AddedForward, state: str) -> None:
        found = self._ha.state(forward.entity_id)
        self._expect(
            found == state,
            f"the switch is {state}",
            f"The switch was to be {state}, but is {found}.",
        )

    def _expect(self, fulfilled: bool, promise: str, fault: str) -> None:
        """Print the promise that is fulfilled; raise NotAsPromised if it is not."""
        if not fulfilled:
            raise NotAsPromised(fault)
        self._report.good(promise)


def walk(lab: Lab, report: Report, listening: socket.socket | None = None) -> None:
    """Walk through it all; raises one of `_FAULTS`, or NotAsPromised.

    With a socket, stay there when the switch is on, let browsers in by it until a
    signal comes, and leave the rest out.
    """
    home_assistant = HomeAssistant(lab.home)
    try:
        demo = Demo(lab, home_assistant, report)
        demo.show_path()
        with report.step("The problem: a forward on the main router alone"):
            demo.show_problem()
        with report.step("Home Assistant boots, with the integration installed"):
            demo.boot()
        with report.step("Add the bypass router, by the forms that a browser shows"):
            router = demo.add_router()
        with report.step("Add a port forward"):
            forward = demo.add_forward(router)
        with report.step("Switch it on"):
            demo.turn(forward, "on")
        with report.step("What stands in the router's kernel now"):
            demo.show_rules()
        with report.step("Switch it off"):
            demo.turn(forward, "off")
        with report.step(
            "One switch for both halves: the main router begins with nothing"
        ):
            demo.begin_with_nothing(router)
        with report.step("Switch it on again"):
            demo.turn_both(forward, "on")
        with report.step("Switch it off again"):
            demo.turn_both(forward, "off")
        with report.step("Switch it on for the last time"):
            demo.turn_both(forward, "on")
        if listening is not None:
            _serve(home_assistant, report, listening)
            return
        with report.step("Remove the forward, while it is on, and the router"):
            demo.remove(router, forward)
        with report.step("Home Assistant ends"):
            demo.stop()
    finally:
        home_assistant.close()


def _serve(
    home_assistant: HomeAssistant, report: Report, listening: socket.socket
) -> None:
    """Let browsers in, until a signal ends it."""
    home_assistant.relay(listening)
    host, port = listening.getsockname()
    try:
        report.say(
            f"\nOpen http://{host}:{port}/ in a browser on this machine.\n"
            f"User: {USERNAME}\nPassword: {PASSWORD}\n"
            "Ctrl-C ends it, and takes all of it down."
        )
        while True:
            signal.pause()
    except KeyboardInterrupt:
        pass


def main() -> int:
    """Build the network, walk through it, tear it down; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--serve", action="store_true")
    serve = parser.parse_args().serve
    report = Report()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        # Before the lab, in which an ordinary user leaves the host's network.
        listening = _listen() if serve else None
        with report.step("Build the network, of namespaces on this machine"):
            lab = Lab()
        with lab:
            walk(lab, report, listening)
    except KeyboardInterrupt:
        report.end("Interrupted, and all taken down.")
        return _INTERRUPTED
    except (NotAsPromised, *_FAULTS) as err:
        report.fail(str(err))
        return 1
    report.end("All as promised, and all taken down.")
    return 0


def _interrupt(number: int, frame: FrameType | None) -> None:
    """End the demo by an exception; the taking down is not to be interrupted."""
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt


def _listen() -> socket.socket:
    """Open Home Assistant's usual port on the host's loopback, or the next free."""
    for port in range(PORT, PORT + _PORTS_TRIED):
        try:
            return socket.create_server((LOOPBACK, port))
        except OSError:
            continue
    raise NotAsPromised(
        f"No port is free at {LOOPBACK} from {PORT} to {PORT + _PORTS_TRIED - 1}."
    )


if __name__ == "__main__":
    sys.exit(main())

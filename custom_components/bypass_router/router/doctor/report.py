"""What the doctor says: the steps of the path, and what is wrong at each.

Two faults that look the same from the router and from Home Assistant have one cause,
whose sentence has to name the possibilities:

- `port_closed`: the target's service is off, or listens at another port, or at the
  target's loopback alone. The target refuses the connection in each case.
- `no_answer`: the target's firewall drops everyone, or a machine in between does.
- `rule_shadowed`: another rule takes the packets first, or drops them before ours. If
  it is none that our backend shows, and another backend translates, it is
  `other_backend_first`.
- `died_on_the_way`: something treats clients of the internet otherwise than Home
  Assistant, whose own probe passes. Only packets on each machine could tell which.

What is not known is no fault. That nobody came while we watched (`nobody_came`) may
mean that the main router does not forward, or that the provider has NAT, and as well
that nobody tried. A client of the home's own networks (`from_home`) proves nothing of
the main router's part; one that puts its own address in place of the clients' looks
like that.

Some steps need what not every router has, and say so by their reason:

- `no_flows`: without `conntrack`, and without the kernel's list of connections as a
  file, no one knows whether internet clients are answered. With `keep_client_address`,
  neither `gateway_bypasses` nor a target that refuses the internet is told then.
- `no_knocker`: without bash, UDP is probed by Home Assistant alone; without `nc` as
  well, TCP too.
- `no_counter`: what has neither `nft` nor iptables counts no visitors. Without `nft`,
  no one knows a visitor's address: `seen` then has no `source`.

Where Home Assistant is not among `sources`, or runs on the router, no probe goes
through the forward, and the rules are judged by their text.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from ipaddress import IPv4Address
from typing import Final

from ..forward import Transport


class Status(StrEnum):
    """How a step of the path came off."""

    OK = "ok"
    FAILED = "failed"
    UNKNOWN = "unknown"
    """Looked at, without a proof either way; `seen` has the word why, as `reason`."""
    SKIPPED = "skipped"
    """Not looked at: an earlier step failed, or it does not concern this forward."""


class Step(StrEnum):
    """The names of the checks, in the order of the path."""

    CONNECTION = "connection"
    """Home Assistant reaches the router over SSH."""
    PRIVILEGES = "privileges"
    """The account may look at the firewall, and change it."""
    FORWARDING = "forwarding"
    """The kernel passes packets on at all."""
    CONNECTIONS = "connections"
    """The kernel's table of connections has room."""
    RULES = "rules"
    """Our rules stand in the kernel, and are asked first."""
    PROXY = "proxy"
    """No transparent proxy takes the packets before they are passed on."""
    PASSAGE = "passage"
    """The router's firewall lets the packets pass (FORWARD)."""
    REVERSE_PATH = "reverse_path"
    """The router takes packets of internet clients from the LAN (rp_filter)."""
    TARGET = "target"
    """The target is there: ARP finds someone at its address."""
    PORT = "port"
    """The target's service answers the router."""
    ANSWERS = "answers"
    """What the target answers to internet clients comes back by this router."""
    THROUGH = "through"
    """A probe of Home Assistant's own passes through the whole forward."""
    MAIN_ROUTER = "main_router"
    """The main router forwards the ports to this router, where anyone can tell."""
    ARRIVAL = "arrival"
    """Packets of a client from outside reach the router."""
    VISIT = "visit"
    """The client is answered."""


class Cause(StrEnum):
    """Why a forward does not work."""

    UNREACHABLE = "unreachable"
    """The router can't be reached over SSH, or does not answer. seen: message."""
    NOT_PRIVILEGED = "not_privileged"
    """The account may not look at the firewall. seen: command, message."""
    FIREWALL_UNUSABLE = "firewall_unusable"
    """The firewall's command is gone, or fails, as where `iptables` is the legacy
    variant and the kernel has only the other. seen: message."""
    IP_FORWARD_OFF = "ip_forward_off"
    """The router's kernel passes no packets on."""
    CONNTRACK_FULL = "conntrack_full"
    """No room for further connections. seen: count, limit."""
    RULE_MISSING = "rule_missing"
    """Our rules are not in the kernel."""
    RULE_SHADOWED = "rule_shadowed"
    """Someone's rule stands before ours and takes the packets."""
    OTHER_BACKEND_FIRST = "other_backend_first"
    """Our rules stand in one backend of the firewall, and the kernel asks another's
    rules first. seen: other."""
    HIJACKED_BY_TPROXY = "hijacked_by_tproxy"
    """A transparent proxy (TPROXY) takes the packets before our rules."""
    DROPPED_IN_FORWARD = "dropped_in_forward"
    """The router's firewall drops what the forward translates."""
    SOURCE_EXCLUDED = "source_excluded"
    """Packets came from a client that `sources` does not name. seen: source."""
    RP_FILTER = "rp_filter"
    """The router drops internet clients' packets, as they come by an interface that it
    would not answer by. seen: interface."""
    NO_ROUTE = "no_route"
    """The router has no default gateway, so answers to internet clients go nowhere."""
    TARGET_DOWN = "target_down"
    """No one has the target's address: it is off, or got another. seen: address."""
    TARGET_MOVED = "target_moved"
    """The device that was the target has another address now. seen: address (the
    forward's), new_address, hardware."""
    PORT_CLOSED = "port_closed"
    """The target refuses: nothing listens there, or on another port, or on its loopback
    alone. seen: address, port."""
    TARGET_REFUSES = "target_refuses"
    """The target answers some and not others: its own firewall drops the router's
    address, or the clients'. seen: address, port, source."""
    NO_ANSWER = "no_answer"
    """The target is there, and is silent at the port to everyone: its own firewall
    drops, or nothing answers. seen: address, port."""
    GATEWAY_BYPASSES = "gateway_bypasses"
    """With `keep_client_address`, the target answers through another router. seen:
    address."""
    HIJACKED_BY_TUNNEL = "hijacked_by_tunnel"
    """A proxy or a VPN leads the answers into its tunnel, and nothing leads them back.
    """
    ALLOW_LIST = "allow_list"
    """A rule lets pass who is on a list, or so many of them. seen: chain, rule."""
    DENIED = "denied"
    """A rule drops what goes to just this target or port. seen: chain, rule."""
    OWNED = "owned"
    """A table drops that only its own program may change. seen: table, program."""
    QUEUED = "queued"
    """A program of the router decides on each packet. seen: chain, rule."""
    UNTRACKED = "untracked"
    """A rule keeps the packets from being tracked, so none is translated. seen: chain,
    rule."""
    DROPPED_EARLY = "dropped_early"
    """A rule drops the packets before they can be translated. seen: chain, rule."""
    NO_GATEWAY = "no_gateway"
    """Answers leave by a tunnel, and no one knows the main router's address. seen:
    interface."""
    BRIDGED = "bridged"
    """The LAN is a bridge that hands its packets to the firewall, and sends none back
    by the port that it came by. seen: interface."""
    EARLIER_FLOW = "earlier_flow"
    """A client has been sending over UDP since before the forward came on, and is not
    translated. seen: source."""
    MAIN_SILENT = "main_silent"
    """The main router takes no requests for port mappings. seen: main_router."""
    MAIN_NOT_ALLOWED = "main_not_allowed"
    """It lets the bypass router open no ports. seen: main_router, port, answer."""
    MAIN_PORT_TAKEN = "main_port_taken"
    """It forwards the port elsewhere. seen: main_router, port, holder."""
    MAIN_DISABLED = "main_disabled"
    """It has a forward of the port, disabled. seen: main_router, port, holder."""
    MAIN_PORT_HELD = "main_port_held"
    """It says that the port is taken, and not by whom. seen: main_router, port, answer.
    """
    MAIN_PORT_REFUSED = "main_port_refused"
    """It does not let this port be opened. seen: main_router, port, answer."""
    MAIN_FULL = "main_full"
    """It has no room for more. seen: main_router, port, answer."""
    MAIN_FAILED = "main_failed"
    """It gives an error that may mean anything. seen: main_router, port, answer."""
    MAIN_NOT_SET = "main_not_set"
    """It agrees, and lists nothing afterwards. seen: main_router, port."""
    NO_PUBLIC_ADDRESS = "no_public_address"
    """Its own address is none that the internet reaches. seen: main_router, address."""
    MAIN_SWITCH_OFF = "main_switch_off"
    """The switch that stands for the main router's half is off. seen: entity, name."""
    MAIN_SWITCH_GONE = "main_switch_gone"
    """There is no such switch, or no such router, in Home Assistant any more. seen:
    entity, name."""
    MAIN_SWITCH_FAILED = "main_switch_failed"
    """The switch did not do what it was asked. seen: entity, name, message."""
    DIED_ON_THE_WAY = "died_on_the_way"
    """A client's packets came, and it got no answer. seen: source."""


class Reason(StrEnum):
    """Why a check was skipped, or tells nothing: the word `reason` in its `seen`."""

    EARLIER = "earlier"
    """An earlier step failed, which hides this one."""
    NOT_CONCERNED = "not_concerned"
    """It does not matter for this forward."""
    NO_TOOL = "no_tool"
    """The router lacks what it would be asked by."""
    NOT_PROVED = "not_proved"
    """Our rules are not as they should be, and packets pass all the same."""
    EXCLUDED = "excluded"
    """Home Assistant is not among the forward's `sources`."""
    ON_ROUTER = "on_router"
    """Home Assistant runs on the router, or reaches it by another address."""
    SILENCE = "silence"
    """Nothing came back, which may be as it should: UDP has no handshake."""
    RANGE = "range"
    """The first port of the range is closed; the others may be open."""
    PARTLY = "partly"
    """Proved over one transport, and not over the other. seen: proved, open."""
    MAIN_BY_HAND = "main_by_hand"
    """So many ports are set on the main router by hand. seen: most."""
    MAIN_UNTOLD = "main_untold"
    """The main router agreed, and does not tell what it has. seen: main_router."""
    MAIN_UNASKED = "main_unasked"
    """It was not asked yet, or this router can't be reached to ask it."""
    MAIN_NOT_SAVED = "main_not_saved"
    """It is not asked, as that could not be written down before."""
    MAIN_PASSES = "main_passes"
    """The main router does not forward, as it says, and a client came all the same."""
    MAIN_SET_AND_SILENT = "main_set_and_silent"
    """The main router lists the port, and no client from outside came while we watched;
    it was asked anew. seen: seconds, ports, router, main_router."""
    NO_VISITOR = "no_visitor"
    """No client from the internet was seen, and nothing else can tell."""
    NOBODY = "nobody_came"
    """No client from outside came while we watched. seen: seconds, router and ports
    (the address that the forward is at, and its external ports), public (the main
    router's ports that lead there)."""
    FROM_HOME = "from_home"
    """Clients of the home's own networks alone came while we watched. seen: source,
    and what `nobody_came` has."""
    UNHEARD = "unheard"
    """An answer left for a client, who said nothing more. seen: source."""
    NO_PROBE = "no_knocker"
    """The router has nothing to probe with: neither bash nor, for TCP, `nc`."""
    NO_FLOWS = "no_flows"
    """Neither `conntrack` nor a file tells of the router's connections."""
    NO_COUNTER = "no_counter"
    """The router has nothing that counts packets."""
    MAIN_SWITCH_UNAVAILABLE = "main_switch_unavailable"
    """The switch of the main router's half does not tell its state. seen: entity,
    name."""


@dataclass(frozen=True, slots=True)
class Check:
    """A step of the path, and what was found out about it."""

    name: Step
    """A translation key."""
    status: Status
    cause: Cause | None = None
    """Set exactly if the check failed."""
    seen: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Short printable words for the sentence."""


def ok(step: Step, **seen: str) -> Check:
    """Return a step that came off."""
    return Check(step, Status.OK, seen=seen)


def failed(step: Step, cause: Cause, **seen: str) -> Check:
    """Return a step that failed, and why."""
    return Check(step, Status.FAILED, cause, seen)


def unknown(step: Step, reason: Reason, **seen: str) -> Check:
    """Return a step that proves nothing, and why."""
    return Check(step, Status.UNKNOWN, seen={"reason": reason, **seen})


def by_transport(
    step: Step,
    proved: Collection[Transport],
    transports: Iterable[Transport],
    **seen: str,
) -> Check:
    """Return a step that is proved over some of a forward's transports, or all."""
    left = [it for it in transports if it not in proved]
    if not left:
        return ok(step, **seen)
    words = {"proved": _names(proved), "open": _names(left)}
    return unknown(step, Reason.PARTLY, **words)


def _names(transports: Iterable[Transport]) -> str:
    """Return transports as people call them."""
    return " + ".join(sorted(transports)).upper()


def skipped(step: Step, reason: Reason) -> Check:
    """Return a step that was not looked at, and why."""
    return Check(step, Status.SKIPPED, seen={"reason": reason})


# What an answered client proves beside its own steps, where nothing else could tell.
_PROVED_BY_VISIT: Final = (Step.TARGET, Step.PORT, Step.ANSWERS)


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """All steps of the path, in its order."""

    checks: tuple[Check, ...]
    mac: str | None = None
    """The target's MAC address, to be `remembered` by the next diagnosis."""

    @property
    def causes(self) -> tuple[Cause, ...]:
        """What is wrong, in the order of the path; nothing on a healthy one."""
        return tuple(check.cause for check in self.checks if check.cause)

    @property
    def reasons(self) -> frozenset[str]:
        """Why checks were skipped, or tell nothing."""
        return frozenset(check.seen.get("reason", "") for check in self.checks) - {""}

    @property
    def healthy(self) -> bool | None:
        """Whether the forward works, for all who may come in; None: it is not known.

        Where no one outside may, a probe of Home Assistant's own is the whole proof.
        """
        if self.causes:
            return False
        found = {check.name: check for check in self.checks}
        visit = found.get(Step.VISIT)
        if visit is None:
            return None
        at_home = visit.seen.get("reason") == Reason.NOT_CONCERNED
        proof = found.get(Step.THROUGH) if at_home else visit
        return True if proof and proof.status is Status.OK else None

    @property
    def visitor(self) -> IPv4Address | None:
        """Someone from outside who was answered just now, if it is known who."""
        for check in self.checks:
            if check.name is Step.VISIT and check.status is Status.OK:
                source = check.seen.get("source")
                return IPv4Address(source) if source else None
        return None

    def beside(self, main: Check | None) -> Diagnosis:
        """Return it with what the main router says of its part, in place of any before.

        That it says no is disproved by a client who came through it just now.
        """
        found = {check.name: check for check in self.checks}
        found.pop(Step.MAIN_ROUTER, None)
        if main:
            came = any(
                _is_ok(found, step) and "ago" not in found[step].seen
                for step in (Step.ARRIVAL, Step.VISIT)
            )
            passes = unknown(Step.MAIN_ROUTER, Reason.MAIN_PASSES)
            found[Step.MAIN_ROUTER] = passes if main.cause and came else main
        return replace(self, checks=_in_order(found))

    def though_it_is_set(self, words: Mapping[str, str]) -> Diagnosis:
        """Return it as it is where the main router says that its part is set.

        That nobody came means something else then. `words` are those of its check.
        """
        silent = Reason.MAIN_SET_AND_SILENT
        return replace(
            self,
            checks=tuple(
                replace(check, seen={**check.seen, **words, "reason": silent})
                if check.seen.get("reason") == Reason.NOBODY
                else check
                for check in self.checks
            ),
        )

    def followed_by(self, later: Diagnosis) -> Diagnosis:
        """Return both as one: each step once, as it was seen last.

        That nobody came later takes nothing away from someone who was answered.
        """
        found = {check.name: check for check in self.checks}
        new = {check.name: check for check in later.checks}
        if _is_ok(found, Step.ARRIVAL) and not (
            _is_ok(new, Step.ARRIVAL) or later.causes
        ):
            new.pop(Step.ARRIVAL, None)
            new.pop(Step.VISIT, None)
        found |= new
        checks = told_by_visit(_in_order(found))
        return replace(later, checks=checks, mac=later.mac or self.mac)


def _in_order(checks: Mapping[Step, Check]) -> tuple[Check, ...]:
    """Return checks in the order of their steps."""
    return tuple(checks[step] for step in Step if step in checks)


def told_by_visit(checks: tuple[Check, ...]) -> tuple[Check, ...]:
    """Return the checks, with those that an answered client speaks for."""
    visits = [check for check in checks if check.name is Step.VISIT]
    if not any(check.status is Status.OK for check in visits):
        return checks
    # One who was answered earlier has come back by this router, which is all he tells.
    proved = _PROVED_BY_VISIT if "ago" not in visits[0].seen else (Step.ANSWERS,)
    return tuple(
        ok(check.name)
        if check.name in proved and check.status is Status.UNKNOWN
        else check
        for check in checks
    )


def _is_ok(checks: Mapping[Step, Check], step: Step) -> bool:
    """Return whether a step is there, and came off."""
    return step in checks and checks[step].status is Status.OK

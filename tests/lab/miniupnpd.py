"""miniupnpd on the main router, the real program: it opens ports for those who ask.

This is the build for nftables. It takes what it finds in its chains for its own, but
looks there seldom, and leaves its rules behind when it ends: it is its service that
makes the chains and takes them away.
"""

from dataclasses import dataclass
import json
from pathlib import Path
import subprocess
from typing import Any, Final

from .exchange import Transport
from .main_router import MainRouter
from .node import LAN_PREFIX
from .requirements import LabUnavailable, require
from .waiting import tries

PUBLIC_ADDRESS: Final = "45.32.7.9"
"""Any that it takes for a public one, which the lab's own networks are not."""
PORT: Final = 5000
SSDP_PORT: Final = 1900
NAT_PMP_PORT: Final = 5351

_FOLDER: Final = "/run"
_SETTINGS: Final = f"{_FOLDER}/miniupnpd.conf"
_LEASES: Final = f"{_FOLDER}/upnp.leases"
_LOG: Final = f"{_FOLDER}/miniupnpd.log"
# Where there is no syslog, each line that it says goes to the machine's console too,
# which takes longer than all that it is asked for.
_NO_CONSOLE: Final = "[ ! -e /dev/console ] || mount --bind /dev/null /dev/console"
# As the package makes it, but for the accepts: those of a router as OpenWrt's is.
_CHAINS: Final = """
table inet filter {
    chain forward {
        type filter hook forward priority 0; policy drop;
        jump miniupnpd
        iifname != "wan" accept
        ct state established,related accept
        ct status dnat accept
    }
    chain miniupnpd { }
    chain prerouting {
        type nat hook prerouting priority -100;
        jump prerouting_miniupnpd
    }
    chain postrouting {
        type nat hook postrouting priority 100;
        jump postrouting_miniupnpd
    }
    chain prerouting_miniupnpd { }
    chain postrouting_miniupnpd { }
}
"""
_FLUSH: Final = """
flush chain inet filter miniupnpd
flush chain inet filter prerouting_miniupnpd
flush chain inet filter postrouting_miniupnpd
"""
_TRANSPORTS: Final[dict[object, Transport]] = {
    6: "tcp",
    "tcp": "tcp",
    17: "udp",
    "udp": "udp",
}


@dataclass(frozen=True)
class MiniupnpdOptions:
    """How the main router is set up.

    `secure` lets each host open ports for itself alone, and `lowest` is the first
    port that anybody may open. `public_address` is what it believes to be its own;
    None for the one that it has, which is a reserved one. With `lease_file` it knows
    after a restart what it had before. `nat_pmp` is PCP as well, and `shortest_lease`
    what PCP gives at least.
    """

    secure: bool = True
    lowest: int = 1024
    public_address: str | None = PUBLIC_ADDRESS
    lease_file: bool = True
    upnp: bool = True
    nat_pmp: bool = True
    shortest_lease: int = 120
    only_version_1: bool = False


class Miniupnpd:
    """miniupnpd, which has the main router's static forwards' place."""

    def __init__(
        self, router: MainRouter, options: MiniupnpdOptions | None = None
    ) -> None:
        """Install it; `start` starts it."""
        require("miniupnpd")
        self.router: Final = router
        self.options: Final = options or MiniupnpdOptions()
        self._process: subprocess.Popen[str] | None = None
        # What it has on disk is the lab's, not the host's.
        router.run("mount", "-t", "tmpfs", "tmpfs", _FOLDER)
        router.run("sh", "-c", _NO_CONSOLE)
        self._write(_SETTINGS, _settings(self.options))

    @property
    def location(self) -> str:
        """The URL of its description, as it announces it."""
        return f"http://{self.router.address}:{PORT}/rootDesc.xml"

    @property
    def control(self) -> str:
        """The URL at which it is asked for mappings."""
        return f"http://{self.router.address}:{PORT}/ctl/IPConn"

    def start(self) -> None:
        """Start it as its service does, in place of all static forwards."""
        self.router.clear_forwards()
        if not self._has_chains():
            self.router.run("nft", "-f", "-", input=_CHAINS)
        command = f"exec miniupnpd -d -f {_SETTINGS} -P {_FOLDER}/miniupnpd.pid"
        self._process = self.router.spawn("sh", "-c", f"{command} >{_LOG} 2>&1")
        for _ in tries():
            if self._process.poll() is not None:
                raise LabUnavailable(f"miniupnpd did not start: {self.log()}")
            if all(self._listens(*port) for port in self._ports()):
                return
        raise LabUnavailable(f"miniupnpd does not listen: {self.log()}")

    def stop(self) -> None:
        """Stop it as its service does: it says goodbye, and its rules are gone."""
        if self._process is not None:
            self.router.terminate(self._process)
            self._process = None
        if self._has_chains():
            self.router.run("nft", "delete table inet filter")

    def kill(self) -> None:
        """Kill it: nobody is told, and its rules stay."""
        assert self._process is not None
        self.router.stop(self._process)
        self._process = None

    def restart(self, *, forget: bool = False) -> None:
        """Stop and start it; with `forget`, without what the lease file says."""
        self.stop()
        if forget:
            self._path(_LEASES).unlink(missing_ok=True)
        self.start()

    def flush(self) -> None:
        """Take its rules away, as a firewall that is reloaded does; it isn't told."""
        self.router.run("nft", "-f", "-", input=_FLUSH)

    def mappings(self) -> dict[tuple[Transport, int], tuple[str, int]]:
        """Return what is mapped in the kernel: public ports, and where they lead."""
        listed = self.router.run("nft", "-j", "list", "ruleset").stdout
        rules = [item.get("rule", {}) for item in json.loads(listed)["nftables"]]
        return dict(
            _mapping(rule["expr"])
            for rule in rules
            if rule.get("chain") == "prerouting_miniupnpd"
        )

    def log(self) -> str:
        """Return what it has said since it was started last."""
        return self._path(_LOG).read_text(errors="replace")

    def _ports(self) -> list[tuple[Transport, int]]:
        """Return where it is to listen."""
        upnp: list[tuple[Transport, int]] = [("tcp", PORT), ("udp", SSDP_PORT)]
        nat_pmp: list[tuple[Transport, int]] = [("udp", NAT_PMP_PORT)]
        return self.options.upnp * upnp + self.options.nat_pmp * nat_pmp

    def _listens(self, transport: Transport, port: int) -> bool:
        """Whether anybody listens at a port of the main router."""
        sockets = Path(f"/proc/{self.router.process}/net/{transport}").read_text()
        return f":{port:04X} 00000000:0000 " in sockets

    def _has_chains(self) -> bool:
        """Whether its chains are there."""
        listed = self.router.run("nft", "list", "tables").stdout
        return "table inet filter\n" in listed

    def _path(self, name: str) -> Path:
        """Return a file of the main router, as seen from here."""
        return self.router.root / name.removeprefix("/")

    def _write(self, name: str, text: str) -> None:
        """Write a file of the main router."""
        self._path(name).write_text(text)


def _settings(options: MiniupnpdOptions) -> str:
    """Return the text of its settings."""
    address = options.public_address
    settings = {
        "ext_ifname": "wan",
        **({} if address is None else {"ext_ip": address}),
        "listening_ip": "lan",
        "http_port": PORT,
        "ipv6_disable": "yes",
        "enable_upnp": _yes(options.upnp),
        "enable_natpmp": _yes(options.nat_pmp),
        "min_lifetime": options.shortest_lease,
        "secure_mode": _yes(options.secure),
        "force_igd_desc_v1": _yes(options.only_version_1),
        "friendly_name": "The lab's main router",
        "uuid": "00000000-0000-4000-8000-000000000001",
        **({"lease_file": _LEASES} if options.lease_file else {}),
    }
    lines = [f"{name}={value}" for name, value in settings.items()]
    lines += [
        f"allow {options.lowest}-65535 {LAN_PREFIX}0/24 1-65535",
        "deny 0-65535 0.0.0.0/0 0-65535",
    ]
    return "".join(f"{line}\n" for line in lines)


def _yes(what: bool) -> str:
    """Return how it is said in the settings."""
    return "yes" if what else "no"


def _mapping(
    expressions: list[dict[str, Any]],
) -> tuple[tuple[Transport, int], tuple[str, int]]:
    """Read a rule, which some versions of nft print by offsets, others by names."""
    (to,) = [each["dnat"] for each in expressions if "dnat" in each]
    matches = [each["match"] for each in expressions if "match" in each]
    (port,) = [
        match["right"]
        for match in matches
        if match["left"].get("payload", {}).get("field") == "dport"
    ]
    (transport,) = {
        _TRANSPORTS[word]
        for match in matches
        for word in (match["right"], match["left"].get("payload", {}).get("protocol"))
        if word in _TRANSPORTS and word != port
    }
    return (transport, port), (to["addr"], to["port"])

"""A machine of the lab, as one that is connected to others."""

from contextlib import ExitStack
from pathlib import Path
import subprocess
from typing import Final, override

from .exchange import Exchange, Transport, exchange
from .machine import Machine, check_result
from .namespaces import ENVIRONMENT, Namespaces
from .wire import lay

LAN_PREFIX: Final = "192.168.50."
"""All of the lab's LAN addresses begin so; the mask is 255.255.255.0."""


class Node(Machine):
    """A machine with one interface, `lan` unless told otherwise."""

    def __init__(
        self,
        switch: Namespaces,
        name: str,
        address: str,
        gateway: str | None = None,
        interface: str = "lan",
    ) -> None:
        """Switch it on; `connect` puts its cable in.

        The interface is called as the bridge at the switch that it goes to.
        """
        self.address: Final = address
        self.interface: Final = interface
        self._gateway = gateway
        self._cable = ExitStack()
        super().__init__(switch, name)

    @override
    def __repr__(self) -> str:
        """Name and address."""
        return f"<{self.name} {self.address}>"

    def connect(self) -> None:
        """Put in the cable to the switch and give the interface its address."""
        self._namespaces.call(_set_defaults)
        self._plug_in(self.name, self.interface, self.address, self._gateway)

    def _plug_in(
        self, port: str, interface: str, address: str, gateway: str | None = None
    ) -> None:
        """Put a cable between a port of the switch and an interface.

        The MAC address follows from the other, so a reboot leaves it.
        """
        hardware = _hardware(address)
        self._switch_ip(
            f"link add {port} type veth"
            f" peer name {interface} address {hardware} netns {self._namespaces.pid}\n"
            f"link set {port} master {interface} up"
        )
        commands = [
            "link set lo up",
            f"link set {interface} up",
            f"address add {address}/24 dev {interface}",
        ]
        if gateway is not None:
            commands.append(f"route add default via {gateway}")
        self.ip(*commands)

    def use_gateway(self, address: str) -> None:
        """Make another machine the default gateway, at once."""
        self.ip(f"route replace default via {address}", "route flush cache")

    def ip(self, *commands: str) -> None:
        """Run commands of `ip`, as one batch."""
        run_batch(self._namespaces, "\n".join(commands))

    def sysctl(self, name: str, value: str) -> None:
        """Set a variable of this machine's network, such as `net.ipv4.ip_forward`."""
        self._namespaces.call(lambda: _write_sysctl(name, value))

    def exchange(
        self,
        protocol: Transport,
        address: str,
        port: int,
        *,
        lines: tuple[bytes, ...] | None = None,
        timeout: float = 1.5,
        source: str = "",
    ) -> Exchange:
        """Exchange payload with an echo service; see `exchange.exchange`."""
        return self._namespaces.call(
            lambda: exchange(protocol, address, port, lines, timeout, source)
        )

    def cut_link(self) -> None:
        """Put the cable's other end in no bridge: silence, and no one is told."""
        self._switch_ip(f"link set {self.name} nomaster")

    def restore_link(self) -> None:
        """Put it back."""
        self._switch_ip(f"link set {self.name} master {self.interface}")

    @override
    def turn_off(self) -> None:
        """Kill all that runs on this machine, and throw a worse cable away."""
        self._cable.close()
        super().turn_off()

    def worsen_link(self, *, delay: float = 0.0, loss: float = 0.0) -> None:
        """Take a worse cable: `delay` seconds each way, a share `loss` of it lost.

        For good; a machine that is off and on again has its first cable.
        """
        self.ip(
            f"link set {self.interface} down",
            f"address flush dev {self.interface}",
            f"link set {self.interface} name spare",
        )
        self._cable = lay(
            self._namespaces,
            self._switch,
            self.interface,
            f"{self.name}-far",
            delay=delay,
            loss=loss,
        )
        self._switch_ip(f"link set {self.name}-far master {self.interface} up")
        commands = [
            f"link set {self.interface} address {_hardware(self.address)} up",
            f"address add {self.address}/24 dev {self.interface}",
        ]
        if self._gateway is not None:
            commands.append(f"route add default via {self._gateway}")
        self.ip(*commands)

    def _switch_ip(self, commands: str) -> None:
        """Run commands of `ip` at the switch."""
        run_batch(self._switch, commands)


def _hardware(address: str) -> str:
    """Return the MAC address that goes with an address."""
    return "02:00:" + ":".join(f"{int(n):02x}" for n in address.split("."))


def run_batch(namespaces: Namespaces, commands: str) -> None:
    """Run commands of `ip` in this network, where process ids are still our own."""
    argv = ("ip", "-batch", "-")
    done = namespaces.call(
        lambda: subprocess.run(
            argv,
            input=commands,
            check=False,
            capture_output=True,
            env=ENVIRONMENT,
            text=True,
        )
    )
    check_result(done, "ip")


def _write_sysctl(name: str, value: str) -> None:
    """Set a variable of the network that the current thread is in."""
    Path("/proc/sys", name.replace(".", "/")).write_text(value)


def _set_defaults() -> None:
    """Set what the host might have set otherwise, and leave IPv6 out."""
    # First, as it sets others.
    _write_sysctl("net.ipv4.ip_forward", "0")
    for which in ("all", "default"):
        _write_sysctl(f"net.ipv4.conf.{which}.rp_filter", "0")
        _write_sysctl(f"net.ipv4.conf.{which}.accept_redirects", "1")
        if Path("/proc/sys/net/ipv6").exists():
            _write_sysctl(f"net.ipv6.conf.{which}.disable_ipv6", "1")

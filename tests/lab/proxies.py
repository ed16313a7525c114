"""Transparent proxies on the bypass router: what they take, and what they run.

A `Proxy` joins a way to take packets (`hijacks`) with a program that gets them:
one of the lab's own, which answers in place of whoever was meant, or a real one.
It starts after the router has, and survives no reboot: start it again then.
"""

from abc import ABC, abstractmethod
from pathlib import Path
import subprocess
import sys
from typing import Final, override

from .bypass import Bypass
from .disk import REAL_COMMANDS
from .exchange import Exchange
from .hijacker import HIJACKED
from .hijacks import REDIRECT_PORT, TPROXY_PORT, Hijack
from .namespaces import ENVIRONMENT
from .node import Node
from .requirements import LabUnavailable, find_command
from .waiting import tries

_HIJACKER: Final = Path(__file__).with_name("hijacker.py")
_SOCKS_PORT: Final = 1080


def was_hijacked(tried: Exchange) -> bool:
    """Return whether the lab's own proxy answered, and not the echo service."""
    return tried.peer_seen == HIJACKED


class Program(ABC):
    """What takes the packets, or lets others have them."""

    @abstractmethod
    def start(self, bypass: Bypass, hijack: Hijack) -> subprocess.Popen[str]:
        """Start it on the router, and wait until it is ready."""


class Hijacker(Program):
    """The lab's own, `hijacker.py`."""

    @override
    def start(self, bypass: Bypass, hijack: Hijack) -> subprocess.Popen[str]:
        """Run it in the router's network, and with the test's own Python.

        That may be in a folder which the router has another one for, so it doesn't
        get the router's mounts.
        """
        process = subprocess.Popen(
            [
                *("nsenter", f"--target={bypass.process}", "--pid", "--net", "--"),
                *(sys.executable, "-IS", "-c", _HIJACKER.read_text()),
                *hijack.listener,
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=ENVIRONMENT,
            text=True,
            process_group=0,
        )
        assert process.stdout is not None
        assert process.stderr is not None
        if process.stdout.readline().strip() != "ok":
            said = process.stderr.read().strip()
            _end(bypass, process)
            raise LabUnavailable(f"The lab can't take packets: {said}")
        return process


class Redsocks(Program):
    """redsocks, which sends what it takes to a SOCKS server: see `serve_socks`."""

    def __init__(self, upstream: str) -> None:
        """Name the SOCKS server's address."""
        self._upstream = upstream

    @override
    def start(self, bypass: Bypass, hijack: Hijack) -> subprocess.Popen[str]:
        """Run it as its Debian package would, but in the foreground and as root."""
        _require("redsocks")
        settings = f"""
base {{ log = stderr; log_info = off; daemon = off; redirector = iptables; }}
redsocks {{
    local_ip = 0.0.0.0; local_port = {REDIRECT_PORT};
    ip = {self._upstream}; port = {_SOCKS_PORT}; type = socks5;
}}
"""
        # It takes one setting a line.
        bypass.disk.write("/etc/redsocks.conf", settings.replace(";", ";\n"))
        process = bypass.spawn(
            f"{REAL_COMMANDS}/sbin/redsocks", "-c", "/etc/redsocks.conf"
        )
        wait_for_listener(bypass, REDIRECT_PORT)
        return process


class Haproxy(Program):
    """HAProxy as a transparent proxy: it connects to where the client wanted to."""

    def __init__(self) -> None:
        """Begin without a log."""
        self._bypass: Bypass | None = None

    @override
    def start(self, bypass: Bypass, hijack: Hijack) -> subprocess.Popen[str]:
        """Listen for what TPROXY gives."""
        _require("haproxy")
        self._bypass = bypass
        settings = f"""
global
    log stdout format raw local0
defaults
    mode tcp
    log global
    log-format "%ci %[dst]:%[dst_port] %U %B"
    timeout connect 1s
    timeout client 1m
    timeout server 1m
listen all
    bind 0.0.0.0:{TPROXY_PORT} transparent
    server wanted 0.0.0.0:0
"""
        bypass.disk.write("/etc/haproxy.cfg", settings)
        command = "exec haproxy -db -f /etc/haproxy.cfg >/var/log/haproxy.log 2>&1"
        process = bypass.spawn("sh", "-c", command)
        wait_for_listener(bypass, TPROXY_PORT)
        return process

    def log(self) -> str:
        """One line a connection that ended: who, where to, bytes there and back."""
        assert self._bypass is not None
        return self._bypass.disk.path("/var/log/haproxy.log").read_text()


def serve_socks(node: Node) -> None:
    """Run a SOCKS server on a machine, for as long as the machine is on."""
    _require("microsocks")
    node.spawn("microsocks", "-p", str(_SOCKS_PORT))
    wait_for_listener(node, _SOCKS_PORT)


class Proxy:
    """A transparent proxy: a way to take packets, and a program that gets them."""

    def __init__(self, hijack: Hijack, program: Program | None = None) -> None:
        """Describe it; the program is the lab's own unless told otherwise."""
        self.hijack: Final = hijack
        self._program = program or Hijacker()
        self._process: subprocess.Popen[str] | None = None
        self._bypass: Bypass | None = None
        self._boot_id = ""

    @override
    def __repr__(self) -> str:
        """What pytest calls a test with it."""
        return f"{self.hijack}"

    def start(self, bypass: Bypass) -> None:
        """Start the program, and then give it the packets."""
        self.stop()
        self._bypass, self._boot_id = bypass, bypass.boot_id
        self._process = self._program.start(bypass, self.hijack)
        bypass.run("sh", "-ec", self.hijack.set_up(bypass.options.ssh_port))

    def reinsert(self) -> None:
        """Do what its watchdog does now and then: stand first again."""
        assert self._bypass is not None
        self._bypass.run("sh", "-ec", self.hijack.reinsert)

    def stop(self) -> None:
        """Leave nothing of it; calling it again does nothing."""
        if self._bypass is None or self._process is None:
            return
        if self._bypass.boot_id == self._boot_id:
            # Whoever flushed a chain has done a part of it before.
            self._bypass.run("sh", "-c", self.hijack.tear_down)
        _end(self._bypass, self._process)
        self._process = None


def _end(bypass: Bypass, process: subprocess.Popen[str]) -> None:
    """Kill a program, or see that it was."""
    bypass.stop(process)
    for stream in (process.stdout, process.stderr):
        if stream is not None:
            stream.close()


def _require(command: str) -> None:
    """Raise LabUnavailable if a command is missing; its package is called so too."""
    if find_command(command) is None:
        raise LabUnavailable(f"The lab needs the package {command}.")


def wait_for_listener(node: Node, port: int) -> None:
    """Wait until a TCP port is open, found out without a connection."""
    sockets = Path(f"/proc/{node.process}/net/tcp")
    for _ in tries():
        if f":{port:04X} 00000000:0000 0A" in sockets.read_text():
            return
    raise LabUnavailable(f"Nothing listens on {node.name} at port {port}.")

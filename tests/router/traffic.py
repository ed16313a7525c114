"""Who else uses a forward while it is diagnosed: programs on the lab's machines."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from enum import StrEnum
import subprocess
import sys

from tests.lab.network import Lab
from tests.lab.node import Node

_STREAM = """
import socket, sys, time
kind, address, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
s = socket.socket(type=socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
s.connect((address, port))
s.settimeout(5)
s.send(b"first\\n")
assert s.recv(100)
print("ok", flush=True)
s.setblocking(False)
while True:
    for do in (lambda: s.send(b"more\\n"), lambda: s.recv(65536)):
        try:
            do()
        except OSError:
            pass
    time.sleep(0.1)
"""
_NEIGHBOUR = """
import socket, sys, time
kind, address, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
print("ok", flush=True)
while True:
    s = socket.socket(type=socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
    s.settimeout(0.3)
    try:
        s.connect((address, port))
        s.send(b"hello\\n")
        s.recv(100)
    except OSError:
        pass
    s.close()
    time.sleep(0.2)
"""


class Company(StrEnum):
    """Who is there."""

    NOBODY = "nobody"
    VISITOR = "a visitor"
    """Someone tries from the internet while it is watched."""
    STREAM = "a stream"
    """Someone on the internet has had a connection since before it broke."""
    NEIGHBOUR = "a neighbour"
    """A host of the LAN connects again and again."""


@contextmanager
def in_company(lab: Lab, company: Company, port: int = 8443) -> Iterator[None]:
    """Have someone use a forward over TCP meanwhile."""
    with ExitStack() as leaving:
        if company is Company.STREAM:
            leaving.enter_context(stream(lab, "tcp", port))
        if company is Company.NEIGHBOUR:
            words = ("tcp", lab.bypass.address, str(port))
            leaving.enter_context(_running(lab.other, _NEIGHBOUR, *words))
        yield


@contextmanager
def stream(lab: Lab, transport: str, port: int = 8443) -> Iterator[None]:
    """Have someone on the internet send, and be answered, ten times a second."""
    with _running(lab.internet, _STREAM, transport, lab.main.wan_address, str(port)):
        yield


@contextmanager
def coming_and_going(lab: Lab, port: int) -> Iterator[None]:
    """Have someone on the internet connect again and again."""
    with _running(lab.internet, _NEIGHBOUR, "tcp", lab.main.wan_address, str(port)):
        yield


@contextmanager
def _running(node: Node, program: str, *words: str) -> Iterator[None]:
    """Run a program that says `ok`, for as long as it is wanted."""
    process = node.spawn(
        *(sys.executable, "-IS", "-c", program, *words), stdout=subprocess.PIPE
    )
    assert process.stdout
    assert process.stdout.readline() == "ok\n"
    try:
        yield
    finally:
        process.kill()
        process.wait()

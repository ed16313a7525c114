"""Someone in the internet who uses a forward all the time."""

import socket
import threading
import time
import weakref

from tests.lab.exchange import Transport
from tests.lab.network import Lab
from tests.lab.waiting import soon, wait_until

_TIMEOUT = 0.4


class Connection:
    """One connection to the target through a forward, which is not given up."""

    def __init__(self, lab: Lab, protocol: Transport = "tcp", port: int = 8443) -> None:
        """Connect from the internet, and see that payload passes."""
        kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
        with lab.internet.enter():
            self._socket = socket.socket(socket.AF_INET, kind)
        # Whoever is forgotten goes away.
        weakref.finalize(self, self._socket.close)
        self._socket.settimeout(soon(_TIMEOUT))
        self._socket.connect((lab.main.wan_address, port))
        self._sent = 0
        assert self.lives()

    def lives(self) -> bool:
        """Return whether payload goes there and comes back."""
        self._sent += 1
        line = b"%d\n" % self._sent
        received = b""
        try:
            self._socket.sendall(line)
            while not received.endswith(b" " + line):
                if not (more := self._socket.recv(65535)):
                    return False
                received += more
        except OSError:
            return False
        return True

    def close(self) -> None:
        """Be done."""
        self._socket.close()


class User:
    """Connects again and again, and exchanges payload on a connection that lasts."""

    def __init__(self, lab: Lab, port: int = 8443) -> None:
        """Start."""
        self._lab = lab
        self._port = port
        self._lasting = Connection(lab, "tcp", port)
        self.times = 0
        """How often all was well."""
        self.failures: list[str] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def went_on(self, times: int) -> bool:
        """Return whether all was tried so often by now."""
        return self.times >= times

    def leave(self) -> None:
        """Stop, after another round."""
        rounds = self.times
        wait_until(lambda: self.times >= rounds + 2 or not self._thread.is_alive())
        self._over.set()
        self._thread.join()
        self._lasting.close()

    def _run(self) -> None:
        """Go on until told otherwise."""
        address = self._lab.main.wan_address
        while not self._over.is_set():
            exchange = self._lab.internet.exchange(
                "tcp", address, self._port, lines=(b"hello",), timeout=_TIMEOUT
            )
            if not exchange.passed:
                self.failures.append(f"a new connection: {exchange}")
            if not self._lasting.lives():
                self.failures.append("the lasting connection")
            self.times += 1
            time.sleep(0.005)

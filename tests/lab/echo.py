"""The target's service, a program of its own: sends back each line, and who sent it.

It reads `tcp 443` or `udp 5000-5010` from stdin, listens there and prints `ok`, or
what went wrong. A reply is `<peer's address> <own port> <line>`.
"""

from functools import partial
import resource
import selectors
import socket
import sys

_LONGEST = 65535


class Echo:
    """All sockets, in one loop."""

    def __init__(self) -> None:
        """Wait for commands."""
        self.selector = selectors.DefaultSelector()
        self.selector.register(sys.stdin, selectors.EVENT_READ, self.obey)

    def run(self) -> None:
        """Serve until stdin ends."""
        while True:
            for key, _ in self.selector.select():
                key.data()

    def obey(self) -> None:
        """Read one command, and answer it."""
        line = sys.stdin.readline()
        if not line:
            sys.exit()
        protocol, ports = line.split()
        first, _, last = ports.partition("-")
        try:
            for port in range(int(first), int(last or first) + 1):
                self.listen(protocol, port)
        except OSError as error:
            print(error, flush=True)
        else:
            print("ok", flush=True)

    def listen(self, protocol: str, port: int) -> None:
        """Open one port."""
        kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
        server = socket.socket(socket.AF_INET, kind)
        if protocol == "tcp":
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("0.0.0.0", port))
        server.setblocking(False)
        if protocol == "tcp":
            server.listen(1024)
            action = partial(self.accept, server)
        else:
            action = partial(self.reflect, server)
        self.selector.register(server, selectors.EVENT_READ, action)

    def accept(self, server: socket.socket) -> None:
        """Take one TCP connection."""
        connection, (peer, _) = server.accept()
        connection.setblocking(False)
        prefix = f"{peer} {connection.getsockname()[1]} ".encode()
        incoming, outgoing = bytearray(), bytearray()

        def serve() -> None:
            try:
                received = connection.recv(_LONGEST) if not outgoing else None
                if received == b"":
                    raise EOFError
                incoming.extend(received or b"")
                while (end := incoming.find(b"\n")) >= 0:
                    outgoing.extend(prefix + incoming[: end + 1])
                    del incoming[: end + 1]
                del outgoing[: connection.send(outgoing)]
            except BlockingIOError:
                pass
            except EOFError, OSError:
                self.selector.unregister(connection)
                connection.close()
                return
            events = selectors.EVENT_WRITE if outgoing else selectors.EVENT_READ
            self.selector.modify(connection, events, serve)

        self.selector.register(connection, selectors.EVENT_READ, serve)

    def reflect(self, server: socket.socket) -> None:
        """Answer one datagram."""
        try:
            payload, peer = server.recvfrom(_LONGEST)
            prefix = f"{peer[0]} {server.getsockname()[1]} ".encode()
            server.sendto(prefix + payload, peer)
        except OSError:
            # An ICMP error for an earlier reply: no one waits for it.
            pass


if __name__ == "__main__":
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    Echo().run()

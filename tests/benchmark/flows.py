"""A program of its own: a new UDP flow every millisecond, and which came back.

Its arguments are an address, a port, and the first source port: each flow has the
next one, as a port that comes again soon is still known to the routers' conntrack.
When stdin ends it prints a line for each flow: when it was sent, by the clock that
all processes share, and 1 if the answer came, else 0.
"""

from contextlib import suppress
import select
import socket
import sys
import time

PERIOD = 0.001
PATIENCE = 0.25
LOWEST, HIGHEST = 2000, 65535


class Flows:
    """All flows to one address."""

    def __init__(self, address: tuple[str, int], source: int) -> None:
        """Wait for stdin's end; nothing is sent yet."""
        self.address = address
        self.source = source
        self.sent: list[float] = []
        self.answered: set[int] = set()
        self.ended = False
        self.open: dict[int, tuple[socket.socket, int]] = {}
        self.poll = select.epoll()
        self.poll.register(sys.stdin, select.EPOLLIN | select.EPOLLHUP)

    def run(self) -> None:
        """Send until told to stop, and wait for what is still on its way."""
        due = time.perf_counter()
        while not self.ended or self.open:
            now = time.perf_counter()
            if now >= due and not self.ended:
                self.send()
                # After a pause, the missed ones are not made up for.
                due = max(due + PERIOD, now)
            for number, _ in self.poll.poll(max(0.0, due - now) or PERIOD):
                if number == sys.stdin.fileno():
                    self.ended = True
                    self.poll.unregister(number)
                else:
                    self.receive(number)
            self.give_up()

    def send(self) -> None:
        """Begin a flow."""
        flow = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        flow.setblocking(False)
        number = self.source + len(self.sent)
        flow.bind(("", LOWEST + number % (HIGHEST - LOWEST)))
        flow.connect(self.address)
        # A network that is not there loses it, as any other does.
        with suppress(OSError):
            flow.send(b"anyone?\n")
        self.open[flow.fileno()] = (flow, len(self.sent))
        self.sent.append(time.perf_counter())
        self.poll.register(flow, select.EPOLLIN)

    def receive(self, number: int) -> None:
        """Take an answer, or the news that no one listens there."""
        flow, index = self.open[number]
        with suppress(OSError):
            flow.recv(100)
            self.answered.add(index)
        self.end(number)

    def give_up(self) -> None:
        """End the flows that have waited long enough."""
        while self.open:
            number, (_, index) = next(iter(self.open.items()))
            if time.perf_counter() - self.sent[index] < PATIENCE:
                return
            self.end(number)

    def end(self, number: int) -> None:
        """Close a flow."""
        flow, _ = self.open.pop(number)
        self.poll.unregister(flow)
        flow.close()


def main() -> None:
    """Do all of it."""
    flows = Flows((sys.argv[1], int(sys.argv[2])), int(sys.argv[3]))
    print("ready", flush=True)
    flows.run()
    for index, at in enumerate(flows.sent):
        print(at, int(index in flows.answered))


if __name__ == "__main__":
    main()

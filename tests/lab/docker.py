"""Docker's rules, as dockerd writes them, beside the owner's own.

They are those of a host with one container that publishes port 8080, as 26.1 and
28.5 leave them. There is no Docker, only its rules and its bridge.
"""

from typing import Final, override

from .disk import REAL_COMMANDS
from .firewall import GATEWAY, SavedRules

PUBLISHED: Final = 8080
"""The router's TCP port that leads to the container."""

_CONTAINER: Final = "172.17.0.2"

_USER: Final = ":DOCKER-USER - [0:0]\n"
_RETURN: Final = "-A DOCKER-USER -j RETURN\n"
"""What it ends with up to 27."""

_NAT: Final = """\
*nat
:DOCKER - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER
-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
-A DOCKER -i docker0 -j RETURN
"""
_PUBLISH: Final = (
    f"-A DOCKER ! -i docker0 -p tcp -m tcp --dport {PUBLISHED}"
    f" -j DNAT --to-destination {_CONTAINER}:80\nCOMMIT\n"
)
_ACCEPT: Final = (
    f"-A DOCKER -d {_CONTAINER}/32 ! -i docker0 -o docker0 -p tcp -m tcp --dport 80"
    " -j ACCEPT\n"
)

# Of the rules in FORWARD, the last inserted is the first.
_UP_TO_27: Final = f"""\
{_NAT}-A POSTROUTING -s {_CONTAINER}/32 -d {_CONTAINER}/32 -p tcp -m tcp --dport 80 \
-j MASQUERADE
{_PUBLISH}*filter
:FORWARD DROP [0:0]
:DOCKER - [0:0]
:DOCKER-ISOLATION-STAGE-1 - [0:0]
:DOCKER-ISOLATION-STAGE-2 - [0:0]
-I FORWARD -i docker0 -o docker0 -j ACCEPT
-I FORWARD -i docker0 ! -o docker0 -j ACCEPT
-I FORWARD -o docker0 -j DOCKER
-I FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-I FORWARD -j DOCKER-ISOLATION-STAGE-1
-I FORWARD -j DOCKER-USER
{_ACCEPT}-A DOCKER-ISOLATION-STAGE-1 -i docker0 ! -o docker0 -j DOCKER-ISOLATION-STAGE-2
-A DOCKER-ISOLATION-STAGE-1 -j RETURN
-A DOCKER-ISOLATION-STAGE-2 -o docker0 -j DROP
-A DOCKER-ISOLATION-STAGE-2 -j RETURN
COMMIT
"""
_FROM_28: Final = f"""\
{_NAT}{_PUBLISH}*raw
-A PREROUTING -d {_CONTAINER}/32 ! -i docker0 -j DROP
COMMIT
*filter
:FORWARD DROP [0:0]
:DOCKER - [0:0]
:DOCKER-BRIDGE - [0:0]
:DOCKER-CT - [0:0]
:DOCKER-FORWARD - [0:0]
:DOCKER-ISOLATION-STAGE-1 - [0:0]
:DOCKER-ISOLATION-STAGE-2 - [0:0]
-I FORWARD -j DOCKER-FORWARD
-I FORWARD -j DOCKER-USER
{_ACCEPT}-A DOCKER ! -i docker0 -o docker0 -j DROP
-A DOCKER-BRIDGE -o docker0 -j DOCKER
-A DOCKER-CT -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A DOCKER-FORWARD -j DOCKER-CT
-A DOCKER-FORWARD -j DOCKER-ISOLATION-STAGE-1
-A DOCKER-FORWARD -j DOCKER-BRIDGE
-A DOCKER-FORWARD -i docker0 -j ACCEPT
-A DOCKER-ISOLATION-STAGE-1 -i docker0 ! -o docker0 -j DOCKER-ISOLATION-STAGE-2
-A DOCKER-ISOLATION-STAGE-2 -o docker0 -j DROP
COMMIT
"""


class Docker(SavedRules):
    """Docker on a host whose own rules let the LAN out."""

    @override
    def start(self) -> None:
        """Load the owner's rules, then start dockerd."""
        super().start()
        self.router.ip(
            "link add docker0 type bridge",
            "link set docker0 up",
            "address add 172.17.0.1/16 dev docker0",
        )
        # This chain it makes once, and leaves it to the owner.
        user = _USER + _RETURN * (self._rules() is _UP_TO_27)
        self._run_iptables(f"*filter\n{user}COMMIT\n{self._rules()}")

    @override
    def reload(self) -> None:
        """Restart dockerd: it removes its rules but for DOCKER-USER, and sets them."""
        # Its own chains are emptied by their declaration.
        self._run_iptables(self._rules(), remove=_in_built_in_chains(self._rules()))

    def _rules(self) -> str:
        """What this version of Docker sets."""
        return _FROM_28 if self.options.firewall == "docker-28" else _UP_TO_27

    def _run_iptables(self, rules: str, remove: tuple[str, ...] = ()) -> None:
        """Remove rules that may be there, and set others."""
        iptables = f"{REAL_COMMANDS}/sbin/iptables-{self.router.iptables}"
        commands = [f"{iptables} -w {rule}" for rule in remove]
        script = "\n".join([*commands, f"{iptables}-restore -w --noflush"])
        self.router.run("sh", "-c", script, input=rules)

    @override
    def _text(self) -> str:
        """The owner's rules; the policy is Docker's."""
        rules = "".join(f"-A FORWARD {rule}\n" for rule in GATEWAY)
        nat = "-A POSTROUTING -o lan -j MASQUERADE\n" * self.options.masquerade
        return f"*filter\n{rules}COMMIT\n*nat\n{nat}COMMIT\n"


def _in_built_in_chains(rules: str) -> tuple[str, ...]:
    """What removes the rules that are in none of Docker's own chains."""
    found, table = [], ""
    for line in rules.splitlines():
        command, _, rule = line.partition(" ")
        if command.startswith("*"):
            table = command[1:]
        elif command in {"-A", "-I"} and not rule.startswith("DOCKER"):
            found.append(f"-t {table} -D {rule}")
    return tuple(found)

"""`python -m tests.lab`: the lab by hand."""

import argparse
import subprocess
import sys
from typing import get_args

from .bypass import Bypass
from .network import Lab
from .options import FirewallKind, RouterOptions, SystemKind
from .requirements import LabUnavailable
from .user_namespace import rules_the_host

_PICTURE = """\
internet 203.0.113.10 ── 203.0.113.1 main 192.168.50.1 ─┬─ bypass .2
                                                        ├─ home   .5
                                                        ├─ target .10
                                                        └─ other  .20
"""


def main() -> int:
    """Build a lab, and run a command in it or keep it until told to end."""
    parser = argparse.ArgumentParser("python -m tests.lab", description=__doc__)
    parser.add_argument("--iptables", choices=["nft", "legacy"], default="nft")
    parser.add_argument("--system", choices=get_args(SystemKind.__value__))
    parser.add_argument("--firewall", choices=get_args(FirewallKind.__value__))
    parser.add_argument("--ssh", choices=["openssh", "dropbear"], default="openssh")
    parser.add_argument(
        "--run", nargs=argparse.REMAINDER, metavar="NODE COMMAND", default=[]
    )
    chosen = parser.parse_args()
    if len(chosen.run) == 1:
        parser.error("--run needs a machine and a command")
    try:
        lab = Lab(
            RouterOptions(
                chosen.iptables,
                ssh=chosen.ssh,
                system=chosen.system or "debian",
                firewall=chosen.firewall or "open",
            )
        )
    except (LabUnavailable, ValueError) as error:
        sys.exit(str(error))
    with lab:
        lab.target.serve("tcp", 443)
        lab.target.serve("udp", 443)
        if not chosen.run:
            return _keep(lab)
        name, *command = chosen.run
        nodes = {node.name: node for node in lab.nodes}
        if name not in nodes:
            parser.error(f"there is no {name}, only {', '.join(nodes)}")
        return subprocess.call(nodes[name].command(*command))


def _keep(lab: Lab) -> int:
    """Show the network, and wait."""
    print(_PICTURE)
    print(f"root's password on bypass: {Bypass.root_password}")
    print("target echoes on TCP and UDP 443")
    print("Enter ends it; until then, in another terminal:")
    enter = "nsenter --pid --mount --net --uts"
    if not rules_the_host():
        enter += " --user --preserve-credentials"
    for node in lab.nodes:
        print(f"  {node.name:9}{enter} --target {node.process}")
    try:
        sys.stdin.readline()
    except KeyboardInterrupt:
        print()
    return 0


if __name__ == "__main__":
    sys.exit(main())

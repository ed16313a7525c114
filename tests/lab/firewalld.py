"""firewalld, the real program, with a D-Bus of the router's own.

Whatever its zones say, firewalld accepts all that was translated by whomever, until
its owner sets StrictForwardPorts (from 2.3 on): then it rejects what it did not
translate itself. Debian 12's firewalld is older: for the strict kinds, it is given
those two rules. Debian 13's has the real ones. By default it owns its table, so that
no one else changes it; here it lets others in, as Debian 12's does.
"""

import re
from typing import TYPE_CHECKING, Final, override

from .firewall import LAN, Firewall
from .requirements import LabUnavailable, require
from .waiting import tries

if TYPE_CHECKING:
    from .bypass import Bypass

_MODULES: Final = "/usr/lib/python3/dist-packages/firewall/core"
_KNOWS_STRICT: Final = "strict_forward_ports"
_KNOWS_OWNER: Final = "nftables_table_owner"
_BUS: Final = "/run/dbus/system_bus_socket"
_LOG: Final = "/var/log/firewalld.out"
_STATE: Final = (
    "dbus-send --system --print-reply --dest=org.fedoraproject.FirewallD1"
    " /org/fedoraproject/FirewallD1 org.freedesktop.DBus.Properties.Get"
    " string:org.fedoraproject.FirewallD1 string:state"
)
_BUS_SETTINGS: Final = f"""\
<busconfig>
  <type>system</type>
  <listen>unix:path={_BUS}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/>
    <allow own="*"/>
    <allow send_destination="*"/>
    <allow receive_sender="*"/>
  </policy>
</busconfig>
"""
# The cable leads to both the LAN and, behind the main router, the internet: the
# LAN's addresses are a zone of their own. None of the zones has <forward/>.
_FILES: Final = {
    "zones/public.xml": (
        '<zone><interface name="lan"/><service name="ssh"/>{masquerade}</zone>'
    ),
    "zones/home.xml": (
        f'<zone><source address="{LAN}"/><port port="{{port}}" protocol="tcp"/></zone>'
    ),
    "policies/gateway.xml": (
        '<policy target="CONTINUE"><ingress-zone name="home"/>'
        '<egress-zone name="public"/><rule family="ipv4">'
        f'<destination address="{LAN}" invert="true"/><accept/></rule></policy>'
    ),
}


class Firewalld(Firewall):
    """firewalld in one of its two backends, strict or not."""

    def __init__(self, router: Bypass) -> None:
        """Put its settings on the disk."""
        super().__init__(router)
        require("firewalld", "dbus-daemon")
        kind = self.options.firewall
        backend = "iptables" if kind.endswith("iptables") else "nftables"
        disk = router.disk
        strict = "strict" in kind
        program = disk.path(f"{_MODULES}/fw.py").read_text()
        knows_strict = _KNOWS_STRICT in program
        self._patched = strict and not knows_strict
        disk.write("/etc/dbus-1/lab.conf", _BUS_SETTINGS)
        disk.write(
            "/etc/firewalld/firewalld.conf",
            f"DefaultZone=public\nFirewallBackend={backend}\nIPv6_rpfilter=no\n"
            + ("StrictForwardPorts=yes\n" if strict and knows_strict else "")
            + ("NftablesTableOwner=no\n" if _KNOWS_OWNER in program else ""),
        )
        masquerade = "<masquerade/>" if self.options.masquerade else ""
        for name, text in _FILES.items():
            disk.write(
                f"/etc/firewalld/{name}",
                text.format(masquerade=masquerade, port=self.options.ssh_port),
            )
        if self._patched:
            for name, strictly in (
                ("nftables", _strict_nftables),
                ("ipXtables", _strict_iptables),
            ):
                path = disk.path(f"{_MODULES}/{name}.py")
                disk.write(f"/etc/firewalld/{name}.py", strictly(path.read_text()))

    @override
    def start(self) -> None:
        """Start D-Bus and firewalld, and wait until its rules are there."""
        router = self.router
        if self._patched:
            for name in ("nftables.py", "ipXtables.py"):
                mount = f"mount --bind /etc/firewalld/{name} {_MODULES}/{name}"
                router.run(*mount.split())
        (router.root / "run/dbus").mkdir()
        bus = "dbus-daemon --config-file=/etc/dbus-1/lab.conf --nofork --nopidfile"
        router.spawn(*bus.split())
        daemon = f"exec firewalld --nofork --nopid >{_LOG} 2>&1"
        process = router.spawn("sh", "-c", f"until [ -e {_BUS} ]; do :; done; {daemon}")
        for _ in tries():
            if "RUNNING" in router.run(*_STATE.split(), check=False).stdout:
                return
            if process.poll() is not None:
                break
        log = router.disk.path(_LOG).read_text()
        raise LabUnavailable(f"firewalld did not start: {log}")

    @override
    def reload(self) -> None:
        """Run `firewall-cmd --reload`."""
        self.router.run("firewall-cmd", "--reload")


def _strict_nftables(module: str) -> str:
    """Let the module for nftables reject what is translated by others."""
    strict, count = re.subn(
        r'("right": "dnat"\}\},\s*)\{"accept": None\}',
        r'\1{"reject": {"type": "icmpx", "expr": "admin-prohibited"}}',
        module,
    )
    return _checked(strict, count)


def _strict_iptables(module: str) -> str:
    """Let the module for iptables do the same."""
    strict, count = re.subn(
        r'("-A (\w+) -m conntrack --ctstate RELATED,ESTABLISHED),DNAT -j ACCEPT"\)',
        r'\1 -j ACCEPT")'
        r'; default_rules["filter"].append('
        r'"-A \2 -m conntrack --ctstate DNAT -j %%REJECT%%")',
        module,
    )
    return _checked(strict, count)


def _checked(module: str, count: int) -> str:
    """Raise LabUnavailable where this firewalld is not the one that is known."""
    if count != 2:
        raise LabUnavailable("The lab can't make this version of firewalld strict.")
    return module

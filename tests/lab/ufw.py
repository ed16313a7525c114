"""ufw, the real program: denies what comes in or is routed, allows SSH."""

from pathlib import Path
from typing import TYPE_CHECKING, Final, override

from .firewall import GATEWAY, Firewall
from .requirements import require

if TYPE_CHECKING:
    from .bypass import Bypass

_TEMPLATES: Final = Path("/usr/share/ufw")
_INIT: Final = "/lib/ufw/ufw-init"


class Ufw(Firewall):
    """ufw, enabled, with settings of the router's own."""

    def __init__(self, router: Bypass) -> None:
        """Put its settings on the disk as the package and `ufw allow ssh` do."""
        super().__init__(router)
        require("ufw")
        disk = router.disk
        disk.write(
            "/etc/default/ufw",
            "IPV6=no\n"
            'DEFAULT_INPUT_POLICY="DROP"\n'
            'DEFAULT_OUTPUT_POLICY="ACCEPT"\n'
            'DEFAULT_FORWARD_POLICY="DROP"\n'
            'DEFAULT_APPLICATION_POLICY="SKIP"\n'
            "MANAGE_BUILTINS=no\n"
            "IPT_SYSCTL=/etc/ufw/sysctl.conf\n"
            'IPT_MODULES=""\n',
        )
        disk.write("/etc/ufw/ufw.conf", "ENABLED=yes\nLOGLEVEL=off\n")
        disk.write("/etc/ufw/sysctl.conf", "")
        disk.path("/etc/ufw/applications.d").mkdir()
        port = self.options.ssh_port
        allow = (
            f"### tuple ### allow tcp {port} 0.0.0.0/0 any 0.0.0.0/0 in\n"
            f"-A ufw-user-input -p tcp --dport {port} -j ACCEPT\n\n### END RULES ###\n"
        )
        gateway = "".join(f"-A ufw-before-forward {rule}\n" for rule in GATEWAY)
        nat = "*nat\n-A POSTROUTING -o lan -j MASQUERADE\nCOMMIT\n"
        for name, mark, added in (
            ("before.rules", "COMMIT\n", gateway),
            ("after.rules", "", ""),
            ("user.rules", "-A ufw-user-limit -m limit", allow),
            ("before6.rules", "", ""),
            ("after6.rules", "", ""),
            ("user6.rules", "", ""),
        ):
            text = (_TEMPLATES / "iptables" / name).read_text()
            if mark:
                text = text.replace(mark, added + mark)
            if name == "before.rules" and self.options.masquerade:
                text = nat + text
            disk.write(f"/etc/ufw/{name}", text, 0o640)

    @override
    def start(self) -> None:
        """Start it as ufw.service does."""
        self.router.run(_INIT, "start")

    @override
    def reload(self) -> None:
        """Run `ufw reload`."""
        self.router.run("ufw", "reload")

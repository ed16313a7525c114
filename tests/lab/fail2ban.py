"""fail2ban, the real program, with a jail whose bans are given by hand."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from .requirements import require

if TYPE_CHECKING:
    from .bypass import Bypass

_ACTIONS: Final = Path("/etc/fail2ban/action.d")
_LOG: Final = "/var/log/web.log"
_FILES: Final = {
    "fail2ban.conf": (
        "[Definition]\nloglevel = INFO\nlogtarget = /var/log/fail2ban.log\n"
        "syslogsocket = auto\nsocket = /run/fail2ban.sock\n"
        "pidfile = /run/fail2ban.pid\ndbfile = None\nallowipv6 = no\n"
    ),
    "filter.d/web.conf": "[Definition]\nfailregex = ^denied <HOST>$\n",
    "jail.conf": "[web]\nenabled = true\nbackend = polling\nfilter = web\n"
    f"logpath = {_LOG}\nbantime = 1d\nusedns = no\naction = {{action}}\n",
}


@dataclass(frozen=True)
class Fail2ban:
    """fail2ban on a router. `action` is one of its own, with its settings."""

    router: Bypass
    action: str

    def start(self) -> None:
        """Install its settings, and start it as its service does."""
        require("fail2ban-client")
        disk = self.router.disk
        for path in _ACTIONS.glob("*.conf"):
            disk.write(f"/etc/fail2ban/action.d/{path.name}", path.read_bytes())
        for name, text in _FILES.items():
            settings = text.replace("{action}", self.action)
            disk.write(f"/etc/fail2ban/{name}", settings)
        disk.write(_LOG, "")
        self._tell("start")

    def restart(self) -> None:
        """Take its rules away, and set them anew."""
        self._tell("restart")

    def stop(self) -> None:
        """Take its rules away."""
        self._tell("stop")

    def ban(self, address: str) -> None:
        """Ban a client; its rules may be set with the first one only."""
        self._tell("set", "web", "banip", address)

    def unban(self, address: str) -> None:
        """Let a client in again."""
        self._tell("set", "web", "unbanip", address)

    def _tell(self, *words: str) -> None:
        """Have its client say something."""
        self.router.run("fail2ban-client", *words)

"""A main router that is a Linux box of the owner's, and lets one sign in by SSH."""

from typing import Final, override

from .bypass import Bypass, RouterOptions
from .disk import Disk
from .main_router import MainRouter
from .namespaces import Namespaces

# The box's own firewall, as it starts, takes away what a main router has at first.
_MASQUERADE: Final = """
table ip uplink {
    chain out {
        type nat hook postrouting priority srcnat;
        oifname "wan" masquerade
    }
}
"""


class LinuxMainRouter(Bypass, MainRouter):
    """What a bypass router is, in the place of the main router; forwards nothing."""

    def __init__(self, switch: Namespaces, disk: Disk, address: str) -> None:
        """Boot; there is no router before it."""
        options = RouterOptions(masquerade=False)
        super().__init__(switch, disk, address, None, options, "main")

    @override
    def connect(self) -> None:
        """Let the home out to the internet."""
        super().connect()
        self.run("nft", "-f", "-", input=_MASQUERADE)

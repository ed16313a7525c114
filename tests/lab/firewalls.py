"""The choice of the bypass router's firewall, by its options.

| firewall | a reload removes, of other people's rules |
|---|---|
| `open`, `drop`, `reject` with iptables | all in the tables nat and filter |
| the same without iptables | all, in all tables |
| `docker`, `docker-28` | none; but its own come first again |
| `shorewall` | all in the tables nat and filter |
| `ufw` | those in its own chains |
| `firewalld…` | those in its own table |
| `firewalld…-iptables` | all in all chains of all tables |
| fw4 of `openwrt` | those in its own table |
| fw3 of `openwrt-fw3` | those in its own chains, but for the user's |
"""

from typing import TYPE_CHECKING

from .docker import Docker
from .firewall import Firewall, NativeRules, SavedRules
from .firewalld import Firewalld
from .fw3 import Fw3
from .fw4 import Fw4
from .options import OWN_RULES
from .shorewall import Shorewall
from .ufw import Ufw

if TYPE_CHECKING:
    from .bypass import Bypass


def install_firewall(router: Bypass) -> Firewall:
    """Install the firewall that the router's options name; may raise LabUnavailable."""
    options = router.options
    kind: type[Firewall]
    if options.system == "openwrt":
        kind = Fw4
    elif options.system == "openwrt-fw3":
        kind = Fw3
    elif options.firewall in OWN_RULES:
        kind = SavedRules if options.iptables else NativeRules
    elif options.firewall.startswith("docker"):
        kind = Docker
    elif options.firewall == "shorewall":
        kind = Shorewall
    else:
        kind = Ufw if options.firewall == "ufw" else Firewalld
    return kind(router)

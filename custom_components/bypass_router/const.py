"""Names that more than one module uses."""

DOMAIN = "bypass_router"

SUBENTRY_FORWARD = "forward"

CONF_HOST_KEY = "host_key"
CONF_PRIVATE_KEY = "private_key"
CONF_PASSPHRASE = "passphrase"  # noqa: S105 - a field's name
CONF_INSTALL_KEY = "install_key"

CONF_EXTERNAL_PORT = "external_port"
CONF_TARGET_PORT = "target_port"
CONF_PUBLIC_PORT = "public_port"
CONF_SOURCES = "sources"
CONF_KEEP_CLIENT_ADDRESS = "keep_client_address"
CONF_ENABLED = "enabled"
CONF_FOLLOW = "follow"
CONF_TAKEN = "taken"
CONF_OPEN_FOR = "open_for"
CONF_MAIN_ROUTER_SWITCH = "main_router_switch"

CONF_RESTORE = "restore"
CONF_FIREWALL = "firewall"
CONF_MAIN_ROUTER_ADDRESS = "main_router_address"
CONF_MAIN_ROUTER = "main_router"
MAIN_ROUTER_MANUAL = "manual"
MAIN_ROUTER_UPNP = "upnp"
CONF_CLOSE_CONNECTIONS = "close_connections"
CONF_AT_BOOT = "at_boot"

DEFAULT_PORT = 22
DEFAULT_USERNAME = "root"

"""Looks at iptables-legacy that leave the kernel as it is.

To look at a table of the legacy variant makes it, with a chain at each of its hooks.
"""

NAMES = "/proc/net/ip_tables_names"
"""Where the kernel lists the tables that are there, for root."""
NO_TABLE = "no such table"
"""What is printed in place of the rules of a table that is not there."""


def is_absent(table: str) -> str:
    """Return a condition of sh: it is certain that the kernel has no such table.

    An ordinary account may not read the list; in a container, there may be none.
    """
    unlisted = f"[ -r {NAMES} ] && ! grep -qsx {table} {NAMES}"
    return f"[ -e /proc/net/dev ] && {{ [ ! -e {NAMES} ] || {{ {unlisted}; }}; }}"


def guarded(table: str, command: str) -> str:
    """Return a command that looks at a table, if it is there."""
    return (
        f"sh -c 'if {is_absent(table)}; then echo {NO_TABLE}; exit; fi; exec {command}'"
    )

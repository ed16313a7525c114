"""How a table of iptables' is taken away, if there is nothing in it.

iptables has no word for that, and nft takes a table away with whatever is in it by
then. But what is put into a table gets a number, each the next one. Something is put
in; if nothing else is seen in the table then, something more is put in, and taken away
by the number that it must have, and with it the table, all at once. Whatever another
program has put in meanwhile has that number instead, and all of it is refused.
"""

_SCRIPT = """\
change() {{ {nft} -f -; }}
echo 'add counter ip {table} ha_bypass_first' | change || exit
seen=$({nft} -t -s -a list ruleset | sed -n '/^table ip {table} {{/,/^}}/p')
number=$(echo "$seen" | sed -n 's/.*ha_bypass_first {{ # handle //p')
seen=$(echo "$seen" | sed 's/ # handle .*//' | tr -d ' \\t\\n')
if [ "$seen" = 'tableip{table}{{counterha_bypass_first{{}}}}' ]; then
  change <<END && exit
create counter ip {table} ha_bypass_last
delete counter ip {table} handle $((number + 1))
delete table ip {table}
END
fi
echo 'delete counter ip {table} ha_bypass_first' | change
"""


def removal_of(table: str, nft: str) -> tuple[str, ...]:
    """Return lines for sh; `nft` is how nft is run."""
    return tuple(_SCRIPT.format(table=table, nft=nft).splitlines())

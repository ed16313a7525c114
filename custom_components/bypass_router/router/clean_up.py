"""What a person pastes into a shell of the router to be rid of every rule of ours.

What the router lacks is in no other's way. To look at a table of iptables-legacy would
make it, so it is left alone where it is none.
"""

from .at_boot.files import FOLDER, INIT, KEPT, NTP, STARTED, UNIT, WANTED
from .iptables.rules import CUT, FWD, MANGLE, POST, PRE
from .nftables.elements import TABLE
from .routing.iptables_marks import CHAIN as MARKING
from .routing.nft_marks import ANSWERS_TABLE
from .routing.questions import TABLE as ROUTES
from .routing.ways import TAG as ROUTING

_CHAINS = " ".join(
    (
        *(
            f"{at.table}/{at.builtin}/{at.chain}"
            for at in (PRE, POST, FWD, CUT, MANGLE)
        ),
        f"mangle/PREROUTING/{MARKING}",
    )
)
# Its own rules may stand in anybody's chains, with conditions of these kinds. No other
# is handed back: iptables could be made to run a program by one.
_JUMP = (
    r"^-A \([A-Za-z0-9_][A-Za-z0-9_.,:@+=~-]*"
    r"\( -m conntrack\(\( !\)* --ct[a-z]* [0-9A-Z.:/]*\)*\)* -j '$o'\)$"
)
CLEAN_UP = f"""\
rm -rf {FOLDER} {WANTED} {UNIT} {STARTED} {INIT} {NTP}
if grep -qs bypass_router {KEPT}; then sed -i /bypass_router/d {KEPT}; fi
for i in iptables iptables-nft iptables-legacy; do
  for c in {_CHAINS}; do
    t=${{c%%/*}}; b=${{c#*/}}; b=${{b%/*}}; o=${{c##*/}}
    case $($i -V) in
      *nf_tables*) ;;
      *) grep -qsx $t /proc/net/ip_tables_names || continue ;;
    esac
    while $i -w -t $t -D $b -j $o; do :; done
    $i -w -t $t -S | sed -n 's|{_JUMP}|\\1|p' |
      while read -r r; do $i -w -t $t -D $r; done || :
    $i -w -t $t -F $o && $i -w -t $t -X $o || :
    $i -w -t $t -X HA-BYPASS-MADE-TABLE || :
    $i -w -t $t -X HA-BYPASS-MADE-$b && $i -w -t $t -X $b || :
  done
done 2>/dev/null
if command -v nft >/dev/null; then
  nft delete table {TABLE} 2>/dev/null || :
  nft delete table {ANSWERS_TABLE} 2>/dev/null || :
  nft -a list ruleset 2>/dev/null | awk '
    $1 == "table" {{ table = $2 " " $3 }}
    $1 == "chain" {{ chain = $2 }}
    / comment "bypass_router:[0-9a-zA-Z:]*" # handle [0-9]*$/ {{
      print "delete rule " table " " chain " handle " $NF
    }}' | nft -f -
fi
ip -4 rule flush protocol {ROUTING} 2>/dev/null || :
ip -4 route flush table {ROUTES} protocol {ROUTING} 2>/dev/null || :"""

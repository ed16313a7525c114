"""What the kernel is asked to see whether answers are led away, as a script.

A router whose rules of routing are the kernel's own and ours, and whose main table has
one default and no route to public networks but the LAN's interface's, can lead nothing
away: there, two commands are run, and nothing is asked.

On any other, the script makes a list of questions for `ip route get`, which are asked
at once: of several public addresses, among them some of each table's routes; with each
mark that a rule of routing is for, and without; from a host of the LAN, of each other
network of the router's, and from each source that a rule is for; by each transport,
port and type of service that one is for.
No packet is sent. busybox's `ip` takes no list, and knows no
marks: there, they are asked one by one, without.

The answer has parts, each behind a line of `#` and its name.
"""

from ipaddress import IPv4Address, IPv4Interface
from shlex import quote
from typing import Final

MARK: Final = "0x10d9"
"""What our answers are marked by.

None of the bits that Kubernetes (0x4000, 0x8000), CNI (0x2000), Tailscale and pbr
(0xff0000) or mwan3 (0x3f00) compare would be taken for theirs: ours comes first.
"""
TABLE: Final = 7077
"""The table of ours, by which they are routed."""

# Private networks, those of no one, and what proxies make up, as `ip` prints them.
_LOCAL: Final = (
    "10.*|127.*|169.254.*|192.168.*|172.1[6-9].*|172.2?.*|172.3[01].*"
    "|100.6[4-9].*|100.[7-9]?.*|100.1[01]?.*|100.12[0-7].*"
    "|198.1[89].*|22[4-9].*|23?.*|24?.*|25?.*"
)
# Somewhere in each quarter of the internet: a VPN takes it by halves, say.
ADDRESSES: Final = ("1.1.1.1", "8.8.8.8", "64.6.64.6", "129.0.0.1", "193.0.0.1")
_MOST: Final = 1200

_AWK: Final = r"""
function host(prefix, p, b, n) {
  split(prefix, p, "/"); split(p[1], b, ".")
  n = p[2] == "" ? 32 : p[2] + 0
  if (n < 30) b[4] = b[4] + 3
  if (n < 30 && b[1] "." b[2] "." b[3] "." b[4] == own) b[4] = b[4] + 1
  return b[1] "." b[2] "." b[3] "." b[4]
}
function public(a, b) {
  split(a, b, ".")
  return !(b[1] < 1 || b[1] == 10 || b[1] == 127 || b[1] > 223 ||
    b[1] == 169 && b[2] == 254 || b[1] == 192 && b[2] == 168 ||
    b[1] == 172 && b[2] > 15 && b[2] < 32 || b[1] == 198 && int(b[2] / 2) == 9 ||
    b[1] == 100 && b[2] > 63 && b[2] < 128)
}
function is_net(text) {
  return text ~ /^[0-9]+\.[0-9]+\.[0-9]+\.[0-9]+(\/[0-9]+)?$/
}
function put(list, item) {
  if (item != "" && !((list, item) in known)) {
    known[list, item] = 1; items[list, ++count[list]] = item
  }
}
function after(word, i) {
  for (i = 1; i < NF; i++) if ($i == word) return $(i + 1)
  return ""
}
function ask(text, how, few, i) {
  for (i = 1; i <= (few ? plain : count[how]); i++)
    if (asked++ < most) print "route get " text items[how, i]
}
function number(a, b) {
  split(a, b, ".")
  return ((b[1] * 256 + b[2]) * 256 + b[3]) * 256 + b[4]
}
function is_in(a, net, p, i) {
  split(net, p, "/")
  # Not every busybox knows powers.
  p[3] = 1
  for (i = p[2]; i < 32; i++) p[3] *= 2
  return int(number(a) / p[3]) == int(number(p[1]) / p[3])
}
function whence(a, i, p) {
  if (is_in(a, net)) return lan
  for (i = 1; i <= count["beside"]; i++) {
    split(items["beside", i], p, " ")
    if (is_in(a, p[1])) return p[2]
  }
  return lan
}
function last_of(ports) { sub(/.*-/, "", ports); return ports }
function what(line, p, s, d, t, i, n, kinds) {
  p = after("ipproto"); s = after("sport"); d = after("dport"); t = after("tos")
  if (p s d t == "" || t ~ /[^A-Za-z0-9_-]/ || s d ~ /[^0-9-]/) return
  if (items["answers", 1] == "") {
    count["answers"] = count["requests"] = 0; plain = 2
    for (i = 1; i <= 2; i++) {
      line = " ipproto " (i == 1 ? "tcp" : "udp")
      put("answers", line); put("requests", line)
    }
  }
  n = split(p == "" ? "udp tcp" : p, kinds, " ")
  for (i = 1; i <= n; i++) if (kinds[i] ~ /^(tcp|udp)$/ && count["answers"] < 20) {
    line = (t == "" ? "" : " tos " t) " ipproto " kinds[i]
    if (s != "") line = line " sport " last_of(s)
    if (d != "") line = line " dport " last_of(d)
    # A client takes any port: one that is named alone is hardly ever its own.
    if (d == "" || d ~ /-/) put("answers", line)
    if (s == "" || s ~ /-/) put("requests", line)
  }
}
function hops(i, j, line) {
  for (i = 1; i < NF; i++) if ($i == "nexthop") {
    j = $(i + 1) != "via" ? i + 1 : $(i + 2) ~ /^inet6?$/ ? i + 4 : i + 3
    line = line " " (j > i + 1 ? $(j - 1) : "") "," $(j + 1)
  }
  return line
}
BEGIN {
  own = ENVIRON["own"]; net = ENVIRON["net"]; lan = ENVIRON["lan"]
  most = ENVIRON["most"] + 0
  ours = ENVIRON["ours"]; mark = ENVIRON["mark"]
  n = split(ENVIRON["addresses"], list, " ")
  for (i = 1; i <= n; i++) put("to", list[i])
  put("from", ENVIRON["host"])
  put("mark", "0")
  items["answers", 1] = items["requests", 1] = ""
  count["answers"] = count["requests"] = plain = 1
}
/^#/ { part = $1; next }
part == "#rules" {
  m = after("fwmark"); k = m; sub(/\/.*/, "", m); sub(/.*\//, "", k)
  if (m !~ /^(0x)?[0-9a-f]+$/) m = ""
  if (m == mark) { placed = 1; next }
  put("mark", m)
  # "not fwmark 0/0xff" is for all that has any of these bits.
  if ($2 == "not" && m ~ /^(0x)?0+$/ && k ~ /^0x[0-9a-f]+$/) put("mark", k)
  s = after("from"); if (is_net(s)) { put("from", host(s)); put("from", host(net)) }
  d = after("to"); if (is_net(d) && public(host(d))) put("to", host(d))
  what()
  next
}
{
  t = after("table"); d = after("dev")
  if (t == ours) { print "own " $0; next }
  if (t == "local" || t == "broadcast") next
  for (i = 2; i < NF - 2; i++)
    if ($i == "via" && $(i + 2) == "dev" && $(i + 3) == lan && count["way"] < 20)
      put("way", ($1 != "default" ? "host" : t == "" ? "main" : "table") " " \
        $(i + 1) " " after("metric") + 0)
  if ($1 ~ /^(unreachable|blackhole|prohibit)$/) {
    all = $2 == "default" || $2 ~ /\/[1-8]$/
    if (t == "") put("stop", all ? "shut" : "ban")
    else if (all) leads[t] = 1
    else put("stops", t)
    next
  }
  leads[t] = 1
  put("split", hops())
  if (after("proto") == "kernel") {
    # Where other devices are, which have answers as well.
    if (t == "" && d != lan && d ~ /^[A-Za-z0-9_.-]+$/ && $1 ~ /\/[12]/ &&
        is_net($1) && !public(host($1)) && count["beside"] < 8)
      put("beside", $1 " " d)
    next
  }
  if (!is_net($1)) next
  a = host($1); hop = t " " after("via") " " d
  if (public(a)) { if (!(hop in last)) put("hop", hop " " a); last[hop] = a }
}
END {
  for (i = 1; i <= count["way"]; i++) print "way " items["way", i]
  for (i = 1; i <= count["stop"]; i++) print items["stop", i]
  for (i = 1; i <= count["split"]; i++) print "split" items["split", i]
  for (i = 1; i <= count["stops"]; i++)
    if (!(items["stops", i] in leads)) print "refusing " items["stops", i]
  for (i = 1; i <= count["hop"]; i++) {
    hop = items["hop", i]; a = hop
    sub(/.* /, "", a); put("to", a); sub(/ [^ ]*$/, "", hop); put("to", last[hop])
  }
  for (i = 1; i <= count["beside"]; i++) {
    split(items["beside", i], p, " ")
    print "beside " p[1]; put("from", host(p[1]))
  }
  for (s = 1; s <= count["from"]; s++) {
    by = whence(items["from", s])
    for (m = 1; m <= count["mark"]; m++) {
      with = items["mark", m] == "0" ? "" : " mark " items["mark", m]
      for (t = 1; t <= count["to"]; t++)
        ask(items["to", t] " from " items["from", s] " iif " by with, "answers", t > 2)
      if (s == 1) for (t = 1; t <= 2; t++)
        ask(items["from", 1] " from " items["to", t] " iif " lan with, "requests")
    }
  }
  if (placed) for (s = 1; s <= count["from"]; s++)
    if (whence(items["from", s]) == lan)
      for (t = 1; t <= count["to"] && t < 8; t++)
        ask(items["to", t] " from " items["from", s] " iif " lan " mark " mark, \
          "answers", t > 2)
}
"""

_SCRIPT: Final = r"""if rules=$(ip -4 rule show); then
odd= default= defaults=0
main=$(ip -4 -o route show table main)
echo '#rules'
set -f; IFS='
'
# A name in a rule may be any text: no line of it is taken for one of ours.
for line in $rules; do printf ' %s\n' "$line"; case $line in
  0:*'from all lookup local'*|32766:*'from all lookup main'*) ;;
  32767:*'from all lookup default'*) ;;
  *'lookup main proto 217'*|*'lookup main protocol 217'*) ;;
  *) odd=1 ;;
esac; done
for line in $main; do case $line in
  'default via '{main}' dev '{lan}|'default via '{main}' dev '{lan}' '*)
    default=$line defaults=$((defaults + 1)) ;;
  default*) odd=1; break ;;
  {local}) ;;
  [0-9]*' via '*) odd=1; break ;;
  [0-9]*' dev '{lan}' '*) ;;
  *) odd=1; break ;;
esac; done
[ "$defaults" = 1 ] || odd=1
set +f; unset IFS
if [ "$odd" ]; then
  found=$(
    export own={own} net={net} host={host} lan={lan} most={most} ours={table}
    export mark={mark} addresses={addresses}
    {{ printf '#rules\n%s\n#routes\n' "$rules"; ip -4 -o route show table all; }} |
      awk {awk})
  asks=$(printf '%s\n' "$found" | sed -n '/^route get /p')
  printf '#found\n%s\n#kinds\n' "$found"
  grep . /sys/class/net/*/type
  if ip -force -batch - </dev/null >/dev/null 2>&1; then
    printf '#answers\n'
    {{ failed=$(printf '%s\n' "$asks" | ip -4 -o -force -batch - 2>&1 >&3)
      printf '\n#failed\n%s\n' "$failed"
    }} 3>&1 | sed 's/[\\].*//'
  else
    set -f
    printf '#plain\n'
    printf '%s\n' "$asks" | grep -v ' mark ' | sed 's/ tos .*//; s/ ipproto .*//' |
      sort -u |
      while read -r ask; do ip -4 $ask </dev/null 2>&1; done
    set +f
  fi
else printf '#default\n%s\n' "$default"
fi
else false; fi"""


def usable(chosen: IPv4Address | None, lan: IPv4Interface) -> IPv4Address | None:
    """Return the main router that someone has told, if it can be one."""
    return chosen if chosen and chosen in lan.network and chosen != lan.ip else None


def question(
    address: IPv4Interface, interface: str, chosen: IPv4Address | None = None
) -> str:
    """Return the command that prints the rules, and what the kernel says.

    The router's LAN address stands on the interface. A default by another gateway than
    the main router, where one was `chosen`, leads answers away.
    """
    hosts = address.network
    # Any host of the LAN but the router; what it is routed by goes for all.
    last = hosts.broadcast_address - 1
    host = last if last != address.ip else last - 1
    text = _SCRIPT.format(
        mark=MARK,
        table=TABLE,
        lan=quote(interface),
        main=usable(chosen, address) or "*",
        local=_LOCAL,
        own=address.ip,
        net=hosts,
        host=host,
        most=_MOST,
        addresses=quote(" ".join(ADDRESSES)),
        awk=quote(_AWK),
    )
    # The shell itself runs it: nothing more is started.
    return f"eval {quote(text)}"

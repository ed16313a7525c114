"""Datagrams from the bypass router to the main router's port 5351, and the answers.

bash sends them, or socat where no bash can: busybox has nothing that speaks UDP (the
`nc` of Debian's and OpenWrt's knows no `-u`). Each datagram goes from a port of its
own, so that an answer that comes late is never taken for the next one's, and is sent
again after 250 ms and 500 ms (RFC 6886, section 3.1). One is under way at a time, as
that RFC asks, and after the first silence none is sent any more: where the main router
is silent, a script ends within 3 s.

A port that is closed is told by ICMP, and is silence too, which ends at once: who asks
again later finds out whether somebody listens by then.
"""

from collections.abc import Sequence
from ipaddress import IPv4Address
import re
from shlex import quote
from typing import Final

from ..ssh.script import Result, Script
from .base import Answer, RunFor

PORT: Final = 5351
LONGEST: Final = 1100
"""Bytes: no message of PCP is longer (RFC 6887, section 7), nor is any of NAT-PMP."""
_LINE: Final = re.compile(r"silent|is .*")
_HEX: Final = re.compile(r"is((?: ?[0-9a-f]{2})+)")
# Seconds after which no more is asked, however late each answer comes.
_LIMIT: Final = 10

# For one datagram: the socket is file 3, the answer goes to file 4. bash writes what it
# prints line by line, so it is `dd` that sends, all at once. What is killed leaves a
# `sleep` behind for a moment, which holds none of these files. socat takes quotes that
# are not escaped for its own.
_TALK: Final = f"""\
for pause in 0.25 0.5 1; do
  printf "$datagram" | dd obs={LONGEST} >&3
  dd bs={LONGEST} count=1 <&3 >&4 &
  reader=$!
  {{ sleep $pause || sleep 1; kill $reader; }} 3>&- 4>&- &
  wait $reader && break
  kill $!
done
kill $!"""
_SCRIPT: Final = f"""\
gateway=$1 talk={quote(_TALK)}
shift
has() {{ command -v "$1" >/dev/null; }}
if has od; then hex() {{ od -An -v -tx1; }}
elif has hexdump; then hex() {{ hexdump -v -e '1/1 "%02x "'; }}
elif has xxd; then hex() {{ xxd -p; }}
else exit 127
fi
if has bash && bash --norc -c ': 3<>/dev/udp/'"$gateway/{PORT}" 2>/dev/null
then by_bash=1
else has socat || exit 127; by_bash=
fi
ask() {{
  if [ "$by_bash" ]
  then bash --norc -c 'exec 3<>/dev/udp/'"$gateway/{PORT}"'; eval "$talk"'
  else socat -t0 "UDP4:$gateway:{PORT}" 'SYSTEM:exec 3<&0; eval \\"$talk\\"'
  fi 4>&1 >/dev/null 2>&1 | hex
}}
now() {{ read -r seconds _ </proc/uptime; echo "${{seconds%.*}}"; }}
export talk datagram
until=$(($(now) + {_LIMIT}))
for datagram; do
  answer=$(ask)
  [ "$answer" ] || {{ echo silent; break; }}
  echo is $answer
  [ "$(now)" -lt "$until" ] || break
done"""


def udp_script(gateway: IPv4Address, datagrams: Sequence[bytes]) -> Script:
    """Return the script whose output `read_answers` understands."""
    words = ["udp", str(gateway), *map(_octal, datagrams)]
    return Script().run(
        "udp", f"sh -c {quote(_SCRIPT)} {' '.join(quote(word) for word in words)}"
    )


def read_answers(result: Result, count: int) -> list[bytes | Answer]:
    """Return what each of so many datagrams was answered: at most 1100 bytes.

    SILENT are the first that got no answer and those behind it, which were not sent.
    """
    if result.not_found:
        return [Answer.UNSUPPORTED] * count
    lines = [line for line in result.lines if _LINE.fullmatch(line)]
    answers = [_answer(line) for line in lines[:count]]
    return answers + [Answer.SILENT] * (count - len(answers))


async def ask(
    run: RunFor, gateway: IPv4Address, datagrams: Sequence[bytes]
) -> list[bytes | Answer]:
    """Send each datagram, and return the answers; see `read_answers`.

    UNSUPPORTED where the bypass router can't send UDP. Raises RouterError.
    """
    if not datagrams:
        return []
    sections = await run(udp_script(gateway, datagrams))
    return read_answers(sections["udp"], len(datagrams))


def _octal(datagram: bytes) -> str:
    """Return bytes for `printf`: escapes alone, so that nothing else has a meaning."""
    return "".join(f"\\{byte:03o}" for byte in datagram)


def _answer(line: str) -> bytes | Answer:
    """Read a line that the script printed."""
    if line == "silent":
        return Answer.SILENT
    found = _HEX.fullmatch(line[: 3 * LONGEST + 3])
    answer = bytes.fromhex(found[1]) if found else b""
    return answer if 0 < len(answer) <= LONGEST else Answer.NONSENSE

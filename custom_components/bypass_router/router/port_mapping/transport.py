"""The script that asks a gateway from the bypass router, whatever is there to ask with.

Each request goes out after the answer to the one before. An answer has seconds, not
more: once the gateway was silent, it is asked no more. What it says is coded before the
shell has it, unless it is ASCII alone: any byte may be in it.

Nothing from outside is in the script but as a word in quotes, or as a number.
"""

from base64 import b64decode
from binascii import Error as CodeError
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address
import re
import secrets
from shlex import quote
from typing import Final

from ..ssh.script import Result, Script
from .base import Answer, Refusal
from .by_bash import PROGRAM
from .http import LONGEST, Request, Response, read_response

PATIENCE: Final = 3
"""Seconds for one answer."""
BUDGET: Final = 20
"""Seconds after which a script asks nothing new; it ends before `SCRIPT_TIMEOUT`."""
_SSDP_PORT: Final = 1900
_SSDP_PATIENCE: Final = 1
_UNABLE: Final = 5
_ASKING: Final = "asking"
_ANSWERS: Final = "answers"
_MOST_HEADERS: Final = 4
_STATUS: Final = re.compile(r"[0-9]{1,3}")

# Whoever talks prints its own number first, and is ended by that: by what reads it, as
# soon as all has come that was promised, or by the guard. `dd` sends in one piece.
#
# busybox's nc and ncat tell the gateway when their stdin ends, and some gateways take
# that for the end of it all. So they get a pipe that never ends, as they hold it open
# themselves; the others would wait for its end.
#
# Some gateways read on behind a SOAPAction that is the last header, as it is by wget,
# which puts those that it is given behind its own.
#
# By `talk`: tcp or udp, host, port, what to send; and for curl and wget, which put that
# together themselves, the URL's path, the body, and a header each, or nothing.
_TALK: Final = r"""
piece() { printf '%s' "$1" | dd obs=16384 2>/dev/null; }
go() { exec sh -c 'echo $$; exec "$@"' sh "$@"; }
held() { : | { exec 3<>/proc/self/fd/0; piece "$1" >&3; shift; go "$@" <&3 3<&-; }; }
plain() { piece "$1" | { shift; go "$@"; }; }
some_nc() {
  if command -v nc >/dev/null; then nc=nc
  elif command -v ncat >/dev/null; then nc=ncat
  else nc='busybox nc'; $nc --help 2>&1 | grep -q Usage; fi
}
able='tcp udp' bash=
if command -v bash >/dev/null; then
  bash=1
  talk() {
    exec bash --norc -c '
      echo $$
      exec 3<>"/dev/$1/$2/$3" || exit
      printf "%s" "$4" | dd obs=16384 2>/dev/null >&3
      exec cat <&3
    ' bash "$@"
  }
elif some_nc; then
  by_nc() { held "$@"; }
  case $($nc --help 2>&1 </dev/null) in
  *BusyBox*UDP*|*Ncat*) ;;
  *BusyBox*) able=tcp ;;
  *) by_nc() { plain "$@"; } ;;
  esac
  talk() {
    if [ "$1" = udp ]; then by_nc "$4" $nc -u "$2" "$3"
    else by_nc "$4" $nc "$2" "$3"; fi
  }
elif command -v socat >/dev/null; then
  talk() { plain "$4" socat -t 9 - "$1-connect:$2:$3,shut-none"; }
elif command -v curl >/dev/null; then
  able=tcp
  talk() {
    url=http://$2:$3$5 body=$6; shift 6
    for line in "$@"; do
      if [ "$line" ]; then set -- "$@" -H "$line"; fi
      shift
    done
    if [ "$body" ]; then set -- "$@" -H Expect: --data-binary "$body"; fi
    go curl -q -g -s -i --raw --path-as-is --noproxy '*' "$@" "$url"
  }
elif wget --version 2>&1 | grep -q GNU; then
  able=tcp
  talk() {
    url=http://$2:$3$5 body=$6; shift 6
    for line in "$@"; do
      if [ "$line" ]; then set -- "$@" "--header=$line"; fi
      shift
    done
    if [ "$body" ]; then
      set -- "$@" '--header=Cache-Control: no-cache' "--post-data=$body"
    fi
    go wget --no-config -q -O - --save-headers --content-on-error --no-proxy \
      --max-redirect=0 --tries=1 --no-http-keep-alive "$@" "$url"
  }
else
  able=
fi
"""
_CODE: Final = r"""
code() {
  if command -v base64 >/dev/null; then coded() { echo base64; exec base64; }
  elif printf a | od -An -v -tx1 >/dev/null
  then coded() { echo hex; od -An -v -tx1; }
  elif printf a | hexdump -v -e '1/1 "%02x"' >/dev/null
  then coded() { echo hex; hexdump -v -e '1/1 "%02x"'; }
  else coded() { echo plain; tr '\000' ' '; }
  fi
}
"""
# Of UDP, an answer is the headers, and those of the next one behind it, as long as none
# says that it is at the host that was asked: some have an IPv6 address too. Of TCP, it
# ends with the connection; or soon after what was promised, where the gateway does not
# say that it closes it, or did not do so. 6 is for silence, 7 for what ends with
# nothing, 8 for what did not end.
#
# Each command less is a millisecond for each port, and ten on a slow router.
_ANSWERED: Final = r"""
answered() {
  IFS= read -r pid || return 7
  (
    trap 'kill "$nap"; exit 1' TERM
    sleep "$1" & nap=$!
    wait "$nap"; trap '' TERM
    kill "$pid"; exit 0
  ) </dev/null >/dev/null 3>&- 4>&- &
  guard=$! closer= some=0 length= closes= here=
  while IFS= read -r line || [ "$line" ]; do
    some=1
    printf '%s\n' "$line"
    line=${line%"$cr"}
    case $line in
    HTTP/1.0*|[Cc]onnection:*[Cc]lose) closes=1$stays ;;
    [Cc]ontent-[Ll]ength:*) length=${line##*[: ]} ;;
    [Ll][Oo][Cc][Aa][Tt][Ii][Oo][Nn]:*"//$3"[:/]*) here=1 ;;
    '') if [ "$2" != udp ] || [ "$here" ]; then break; fi ;;
    esac
  done
  case $length in *[!0-9]*|???????*) length= ;; esac
  if [ "$2" = udp ]; then kill "$pid"
  elif [ "$length" ] && [ "$closes" != 1 ]; then
    head -c "$length"
    { sleep 0.2 || sleep 1; kill "$pid"; } </dev/null >/dev/null 3>&- 4>&- &
    closer=$!
  fi
  cat
  kill "$guard" $closer
  if wait "$guard"; then return "$((some ? 8 : 6))"; fi
  return "$((some ? 0 : 7))"
}
now() { read -r now _ </proc/uptime; now=${now%.*}; }
now; until=$((now + budget)) silent= stays= knows=
ask() {
  case " $able " in *" $2 "*) ;; *) return 5 ;; esac
  now
  if [ "$silent" ] || [ "$now" -ge "$until" ]; then return 4; fi
  seconds=$1; shift
  if [ -z "$knows" ]; then code; knows=1; fi
  {
    said=$({ {
      { talk "$@"; } 3>&- 4>&- | answered "$seconds" "$1" "$2"
      echo "$?" >&4
    } | head -c "$longest" | coded >&3; } 4>&1)
  } 3>&1 2>/dev/null
  case "$1 $said" in 'tcp 6') silent=1 ;; 'tcp 8') stays=1 ;; esac
  return "${said:-7}"
}
ask_all() {
  patience=$1 word=$2; shift 2
  printf '%s\n' "$word"
  if [ "$bash" ]; then
    bash --norc -c "$by_bash" bash "$patience" "$budget" "$longest" "$word" "$@"
    case $? in [1-9]|1[0-2]?) ;; *) return 0 ;; esac
  fi
  while [ "$#" != 0 ]; do
    label=$1 needs=$2; shift 2
    if [ -z "$needs" ]; then
      printf '\n%s %s\n' "$word" "$label"
      ask "$patience" tcp "$1" "$2" "$3" "$4" "$5" "$6" "$7" "$8" "$9"
      printf '\n%s %s\n' "$word" "$?"
    fi
    shift 9
  done
} 2>/dev/null
"""


def _asking(script: Script) -> None:
    """Define what asks, once a script."""
    if _ASKING not in script:
        limits = f"longest={LONGEST} budget={BUDGET} cr='\r'"
        by_bash = f"by_bash={quote(_CODE + PROGRAM)}"
        text = f"{{ {limits}\n{by_bash}\n{_TALK}{_CODE}{_ANSWERED}\n}} 2>/dev/null"
        script.run(_ASKING, f"eval {quote(text)}")


def add_requests(
    script: Script,
    requests: Iterable[tuple[str, Request]],
    needs: Mapping[str, str] | None = None,
) -> None:
    """Add all requests of a script, by label; `read_answers` understands its section.

    One that `needs` a text is made only if the last one that needs none was answered by
    a fault with that text; and not where there is no bash to see to that.
    """
    _asking(script)
    words = [secrets.token_hex(8)]
    for label, request in requests:
        url, headers = request.url, request.headers
        none = [""] * (_MOST_HEADERS - len(headers))
        words += (label, (needs or {}).get(label, ""), str(url.host), str(url.port))
        words += (request.text, url.path, request.body, *headers, *none)
    script.run(_ANSWERS, f"ask_all {PATIENCE} {' '.join(map(quote, words))}")


def add_searches(
    script: Script, gateway: IPv4Address, searches: Iterable[tuple[str, str]]
) -> None:
    """Add searches by SSDP, by label, each of which is made if those before found none.

    They go to the gateway itself, which a connected socket hears by the port that was
    asked: some answer from another.
    """
    _asking(script)
    first = True
    for label, wanted in searches:
        lines = (
            "M-SEARCH * HTTP/1.1",
            f"HOST: {gateway}:{_SSDP_PORT}",
            'MAN: "ssdp:discover"',
            "MX: 1",
            f"ST: {wanted}",
        )
        text = "".join(f"{line}\r\n" for line in (*lines, ""))
        words = ("udp", str(gateway), str(_SSDP_PORT), text)
        command = f"ask {_SSDP_PATIENCE} {' '.join(map(quote, words))}"
        if first:
            script.run(label, command)
        else:
            script.otherwise(label, command)
        first = False


def read_answers(sections: Mapping[str, Result]) -> Mapping[str, Result]:
    """Return what was answered to the requests of a script, by label.

    What is not there was not asked, or answered by silence.
    """
    text = sections[_ANSWERS].output if _ANSWERS in sections else ""
    word, _, text = text.partition("\n")
    if not word:
        return {}
    # By turns: a label, what was answered, a status, and nothing.
    _, *parts = re.split(
        rf"\n{re.escape(word)} ([a-z0-9.]{{1,40}})(?:\n|\Z)", f"\n{text}"
    )
    return {
        label: Result(answer, int(status))
        for label, answer, status in zip(
            parts[::4], parts[1::4], parts[2::4], strict=False
        )
        if _STATUS.fullmatch(status)
    }


def read_answer(result: Result | None) -> Response | Refusal:
    """Return what was answered; it never raises.

    What was not asked any more is silent too.
    """
    if result is None:
        return Refusal(Answer.SILENT)
    if result.status == _UNABLE:
        return Refusal(
            Answer.UNSUPPORTED, said="bash, nc, socat, curl, wget: not found"
        )
    if raw := _decoded(result.output):
        return read_response(raw)
    return Refusal(Answer.SILENT)


def _decoded(output: str) -> bytes:
    """Return the bytes that a section holds."""
    code, _, text = output.partition("\n")
    try:
        match code:
            case "base64":
                return b64decode(text)[:LONGEST]
            case "hex":
                return bytes.fromhex(text)[:LONGEST]
            case "ascii" | "plain":
                return text.encode(errors="replace")[:LONGEST]
    except CodeError, ValueError:
        pass
    return b""

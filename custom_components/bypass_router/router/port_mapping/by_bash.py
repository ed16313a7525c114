r"""The program by which bash asks a gateway all that a script has to ask.

One bash for all of it, which starts little: `dd` for each request, as bash itself
writes line by line and some gateways read one piece alone; and once a watch, which ends
it where no request is on its way in time. An answer in ASCII, as most are, is printed
as it is, and any other is coded.

Its arguments are numbers, a word that no one can guess, and of each request what
`transport` says. It ends with 0, or by the watch; else bash can't run it, as an old one
or one that is as POSIX has it.
"""

from typing import Final

# Times are hundredths of a second. `all` is an answer, or what follows its last NUL,
# before which are the `parts`.
PROGRAM: Final = r"""
((BASH_VERSINFO[0] > 3)) || exit 2
LC_ALL=C patience=$1 budget=$2 longest=$3 word=$4
shift 4
{ exec 9> >(
  exec >/dev/null
  left=$patience
  while read -r -t "$left" left; status=$?; ((status == 0)); do :; done
  ((status <= 128)) || kill "$$"
); } || exit 2
now() { read -r now _ </proc/uptime; now=$((10#${now/.})); }
hear() {
  local left
  said=
  ((size < longest)) || return 1
  now
  if ((left = until - now, left <= 0)); then late=1; return 1; fi
  printf -v left %d.%02d "$((left / 100))" "$((left % 100))"
  IFS= read -r -u 3 -t "$left" "$@" said
  local status=$?
  ((size += ${#said}, status <= 128)) || late=1
  return "$status"
}
body() {
  local rest=$(($1 < longest - size ? $1 : longest - size))
  said=
  while ((rest > 0)) && hear -d '' -n "$rest"; do
    all+=$said
    ((rest -= ${#said}))
    said=
    ((rest > 0)) || break
    parts+=("$all") all=
    ((rest -= 1, size += 1))
  done
  all+=$said
}
ask() {
  all= parts=() length= closes= headed= late= size=0
  now
  ((until = now + 100 * patience))
  echo "$patience" >&9
  exec 3<>"/dev/tcp/$1/$2" || return 7
  printf %s "$3" | dd obs=16384 >&3
  echo "$((budget + patience))" >&9
  while hear -n "$((longest - size))"; do
    all+=$said$'\n'
    ((size += 1))
    said=${said%$'\r'}
    case $said in
    HTTP/1.0*|[Cc]onnection:*[Cc]lose) closes=1 ;;
    [Cc]ontent-[Ll]ength:*) length=${said##*[: ]} ;;
    '') headed=1; break ;;
    esac
  done
  all+=$said
  case $length in *[!0-9]*|???????*) length= ;; esac
  if [ "$headed" ] && [ "$length" ] && [ "$closes$stays" != 1 ]; then
    body "$((10#$length))"
    now
    ((until = now + 20 < until ? now + 20 : until))
    body "$longest"
    late=
  elif [ "$headed" ] && [ "$length" ]; then
    # Many letters at once: no NUL is missed that is not in a chunk.
    hear -N "$((longest - size))"
    all+=$said
  elif [ "$headed" ]; then
    body "$longest"
  fi
  exec 3>&-
  if [ "$late" ]; then stays=2; fi
  [ "${#parts[@]}$all" != 0 ] || return "$((late ? 6 : 7))"
}
say() {
  case ${#parts[@]}$all in
  0*[$'\200'-$'\377']*|[1-9]*)
    code
    { ((${#parts[@]} == 0)) || printf '%s\0' "${parts[@]}"; printf %s "$all"; } |
      coded ;;
  *) printf 'ascii\n%s' "$all" ;;
  esac
}
stays= before=
now
((end = now + 100 * budget))
while (($#)); do
  now
  ((now < end)) || break
  label=$1 needs=$2
  case $before in HTTP/1.?' 500 '*"$needs"*) ;; *)
    if [ "$needs" ]; then shift 11; continue; fi
  esac
  ask "$3" "$4" "$5"
  status=$?
  [ "$status" != 6 ] || break
  printf '\n%s %s\n' "$word" "$label"
  ((status)) || say
  printf '\n%s %s\n' "$word" "$status"
  # What follows a NUL is no beginning.
  if [ -z "$needs" ]; then before=${parts[*]+?}$all; fi
  shift 11
done
exit 0
"""

"""Whether a router knows what time it is.

Many have no clock that goes on while they are off. What starts them then sets the time
to that of a file which was written before: OpenWrt to that of the newest in `/etc`,
others to that of a stamp. It looks right, and may be years behind, until an NTP server
has answered. A clock of the hardware would tell, but for OpenWrt's, which is set to the
same time; and on many boards it has no battery.
"""

from typing import Final

NTP_ANSWERED: Final = "/var/run/bypass_router.ntp"
"""Is there on an OpenWrt once the clock was set since the router's start."""
NOT_YET: Final = 75
"""How a file ends that is to be run again when the clock is set."""
_STAMPS: Final = (
    "/var/lib/systemd/timesync/clock /var/lib/systemd/clock /etc/fake-hwclock.data"
)
# OpenWrt's, which sets the time to a file's.
_FIXES: Final = "/etc/init.d/sysfixtime"
# Seconds since the start at which OpenWrt has certainly looked for the newest file.
_STARTED: Final = 300

FUNCTION: Final = f"""\
# Whether the clock, which says that it is $now, goes by more than the time of a file.
clock_is_known() {{
  if [ -d /run/systemd/system ]; then
    [ ! -e /run/systemd/timesync/synchronized ] || return 0
    rtc=$(cat /sys/class/rtc/rtc0/since_epoch 2>/dev/null)
    # It may be in local time.
    [ -z "$rtc" ] || [ $((now - rtc)) -gt 86400 ] || [ $((rtc - now)) -gt 86400 ] ||
      return 0
    for stamp in {_STAMPS}; do
      [ ! -e "$stamp" ] || {{
        timedatectl show -p NTPSynchronized --value 2>/dev/null | grep -qx yes
        return
      }}
    done
    return 0
  fi
  [ -e {_FIXES} ] && [ ! -e {NTP_ANSWERED} ] || return 0
  read -r up rest </proc/uptime
  find /etc -type f -exec date -r {{}} +%s \\; |
    awk -v started=$((now - ${{up%%.*}})) '
      {{ far = $1 - started; near += far * far <= {_STARTED} * {_STARTED} }}
      END {{ exit near || !NR }}'
}}
"""

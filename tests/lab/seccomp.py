"""An SSH server in a user namespace that has a single user."""

from collections.abc import Callable
import ctypes
import platform
import struct

from .requirements import LabUnavailable
from .threads import in_thread


def call_without_setgroups[T](action: Callable[[], T]) -> T:
    """Call it where setgroups() does nothing and says it did, for its children too.

    A user namespace of a single user denies setgroups(), and every SSH server
    gives up at that. A seccomp filter belongs to a thread and what it starts, so
    the rest of this process is not concerned.
    """

    def work() -> T:
        _ignore_setgroups()
        return action()

    return in_thread(work)


def _ignore_setgroups() -> None:
    """Let setgroups() of this thread and its children succeed without effect."""
    numbers = {"x86_64": (0xC000003E, 116), "aarch64": (0xC00000B7, 159)}
    if platform.machine() not in numbers:
        raise LabUnavailable(
            f"An ordinary user's lab can't start an SSH server on {platform.machine()}."
        )
    architecture, setgroups = numbers[platform.machine()]
    load, equal, give = 0x20, 0x15, 0x06  # BPF_LD|W|ABS, BPF_JMP|JEQ|K, BPF_RET|K
    allow, succeed = 0x7FFF0000, 0x00050000  # SECCOMP_RET_ALLOW, _ERRNO with 0
    program = b"".join(
        struct.pack("HBBI", *instruction)
        for instruction in (
            (load, 0, 0, 4),
            (equal, 0, 3, architecture),
            (load, 0, 0, 0),
            (equal, 0, 1, setgroups),
            (give, 0, 0, succeed),
            (give, 0, 0, allow),
        )
    )
    buffer = ctypes.create_string_buffer(program)
    filter_ = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(buffer))
    set_seccomp, mode_filter = 22, 2
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(set_seccomp, mode_filter, filter_, 0, 0):
        raise LabUnavailable(
            "An ordinary user's lab can't start an SSH server without seccomp."
        )

"""Where a file may be mapped: on Linux, in a file system of this machine's own.

What is cut off from a file that is mapped ends the process by SIGBUS where a read would have been
an error, and so do a server that went away and a device that was pulled out. File systems that
others change behind the kernel's back (NFS, SMB, FUSE, 9p, virtiofs) are read as ever, and so is
what /proc does not tell of.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

# Set to 0, it keeps SQLite's files from being mapped.
SWITCH = "REQUANT_MMAP"
_LOCAL = frozenset({"bcachefs", "btrfs", "ext2", "ext3", "ext4", "f2fs", "jfs", "tmpfs", "xfs"})
# What is opened to be written to is in the upper layer for good; what is only read may be copied
# there by another process, and the mapping would stay with the old one.
_LOCAL_IF_WRITTEN = frozenset({"overlay"})


def may_be_mapped(path: str, *, read_only: bool) -> bool:
    """Whether the SQLite file at `path` may be mapped by this process."""
    if sys.platform != "linux" or sys.maxsize < 1 << 32 or os.environ.get(SWITCH) == "0":
        return False
    kind = file_system_of(path)
    return _has_room() and (kind in _LOCAL or (kind in _LOCAL_IF_WRITTEN and not read_only))


def file_system_of(path: str, mounts: str = "/proc/self/mountinfo") -> str:
    """Return the type of the file system that a file is in; nothing where it cannot be told."""
    try:
        lines = Path(mounts).read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return ""
    real = Path(os.path.realpath(path))
    depth, kind = 0, ""
    for line in lines:
        mount, _, rest = line.partition(" - ")
        place = Path(_unescaped(mount.split(" ")[4]))
        # Of two at one place the later one lies above.
        if real.is_relative_to(place) and len(place.parts) >= depth:
            depth, kind = len(place.parts), rest.split(" ")[0]
    return kind


def _unescaped(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)


def _has_room() -> bool:
    """Whether addresses are not rationed (`ulimit -v`): a mapping would take them from others."""
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    return soft == resource.RLIM_INFINITY

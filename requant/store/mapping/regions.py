"""The kernel's own reading ahead, which a file that is mapped and read here and there is spared."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from requant.adapters.advice import advise

_RANDOM = 1  # MADV_RANDOM; POSIX_FADV_RANDOM has no effect on what is mapped


def read_here_and_there(path: str, inode: int) -> bool:
    """Let nothing be read ahead in this process's mappings of a file; whether it has any."""
    found = False
    for start, end in _regions(os.fsencode(Path(path).name), inode):
        # A hint, which changes nothing that is read: no harm where it is another's by now.
        found = advise(start, end, _RANDOM) or found
    return found


def _regions(name: bytes, inode: int) -> Iterator[tuple[int, int]]:
    """Yield where the file is mapped. Some file systems give mappings another device's number."""
    try:
        text = Path("/proc/self/maps").read_bytes()
    except OSError:
        return
    number = b" %d " % inode
    at = text.find(number)
    while at >= 0:
        line = text[text.rfind(b"\n", 0, at) + 1 : text.find(b"\n", at)]
        if line.endswith(b"/" + name):
            start, _, end = line.partition(b" ")[0].partition(b"-")
            yield int(start, 16), int(end, 16)
        at = text.find(number, at + len(number))

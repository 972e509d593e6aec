"""A folder in which nothing can be written: also by root, whom permissions do not hold back."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_VERSION = 0x20080522  # of Linux's capability calls: two words of 32 bits each
_DAC_OVERRIDE = 1


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Words(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


@contextmanager
def unwritable(folder: Path) -> Iterator[None]:
    """Take away the right to write to a folder and all that is in it until the end of the block."""
    everything = [folder, *folder.rglob("*")]
    for path in everything:
        path.chmod(0o555 if path.is_dir() else 0o444)
    with _like_everybody():
        try:
            (folder / "x").touch()
        except PermissionError:
            pass
        else:
            raise AssertionError(f"{folder} can be written to all the same")
        yield
    for path in everything:
        path.chmod(0o755 if path.is_dir() else 0o644)


@contextmanager
def _like_everybody() -> Iterator[None]:
    """Let permissions hold for root, too, in this thread and those that it starts."""
    if os.geteuid() != 0:
        yield
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header, words = _Header(_VERSION, 0), (_Words * 2)()
    assert libc.capget(ctypes.byref(header), words) == 0
    before = words[0].effective
    words[0].effective = before & ~(1 << _DAC_OVERRIDE)
    assert libc.capset(ctypes.byref(header), words) == 0
    try:
        yield
    finally:
        words[0].effective = before
        assert libc.capset(ctypes.byref(header), words) == 0

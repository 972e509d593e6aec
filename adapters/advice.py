"""What Linux is told of this process's memory: a hint, which changes nothing that is read there."""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any


def advise(start: int, end: int, advice: int) -> bool:
    """Tell the kernel how the pages from `start` to `end` are used; whether it took it."""
    return bool(_madvise()(start, end - start, advice) == 0)


@cache
def _madvise() -> Any:
    madvise = ctypes.CDLL(None).madvise
    madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    return madvise

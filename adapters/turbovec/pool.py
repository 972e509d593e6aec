"""turbovec, with one thread a query: it spreads even a single one over all cores by itself."""

from __future__ import annotations

import os
import threading

import turbovec

_THREADS = "RAYON_NUM_THREADS"
_lock = threading.Lock()
_started = 0  # the process in which its threads run


def start() -> None:
    """Start turbovec's threads: as many as `RAYON_NUM_THREADS` says, else one.

    turbovec reads the variable when it first works in a process, and once more in a forked child.
    It is taken back at once, since other libraries read it, too.
    """
    global _started
    if _started == os.getpid():
        return
    with _lock:
        told = _THREADS in os.environ
        if not told:
            os.environ[_THREADS] = "1"
        try:
            turbovec.TurboQuantIndex(dim=8, bit_width=4).prepare()
        finally:
            if not told:
                del os.environ[_THREADS]
        _started = os.getpid()


def _renew() -> None:
    global _lock
    _lock = threading.Lock()  # a thread that a forked child does not have may hold the old one


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)

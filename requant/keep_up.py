"""A thread that brings indexes up to date, so that no search has to."""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from functools import cache

from requant.errors import InputError, RequantError, UnknownCollectionError
from requant.metrics import warn


class KeepUp:
    """Looks again and again at what was written, and follows it a share at a time.

    In a forked child nothing runs; a fork waits a moment until the share at hand is done, so that
    no connection and no lock is in use then.
    """

    def __init__(self, following: Callable[[], list[Iterator[None]]], seconds: float) -> None:
        """Follow by what `following()` returns anew each time, a share a step, every `seconds`."""
        number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
        if not number or not 0 < seconds <= threading.TIMEOUT_MAX:
            raise InputError(f"seconds must be a number above 0, not {seconds!r}")
        self._following = following
        self._seconds = seconds
        self._stopped = threading.Event()
        self.share: threading.Lock = threading.Lock()
        self._told: set[str] = set()
        self._pid = os.getpid()
        self._thread = threading.Thread(target=self._run, name="requant keep_up", daemon=True)
        _listen()
        _every.add(self)
        self._thread.start()

    def stop(self) -> None:
        """End the thread, after the share at hand."""
        self._stopped.set()
        if os.getpid() == self._pid and threading.current_thread() is not self._thread:
            self._thread.join()

    def _run(self) -> None:
        while not self._stopped.wait(self._seconds):
            for steps in self._following():
                self._follow(steps)

    def _follow(self, steps: Iterator[None]) -> None:
        try:
            while not self._stopped.is_set():
                with self.share:
                    next(steps)
        except StopIteration:
            self._told.clear()
        except UnknownCollectionError:
            pass  # dropped meanwhile
        except RequantError as error:
            if str(error) not in self._told:  # once, however often it is tried
                self._told.add(str(error))
                text = f"keep_up: {error}; it is tried again, and searches read the store meanwhile"
                warn("indexes", text)


_every: weakref.WeakSet[KeepUp] = weakref.WeakSet()
_held: list[KeepUp] = []
_forking = threading.Lock()  # two threads may fork at once, and each is to give back its own
# So long a fork waits for a share: an index that is built anew takes minutes. What is in use then
# is refused to the child where it stands.
_PATIENCE = 1.0


def _before_fork() -> None:
    _forking.acquire()
    deadline = time.monotonic() + _PATIENCE
    for one in list(_every):
        if one.share.acquire(timeout=max(deadline - time.monotonic(), 0)):
            _held.append(one)


def _in_parent() -> None:
    while _held:
        _held.pop().share.release()
    _forking.release()


def _in_child() -> None:
    global _forking
    _forking = threading.Lock()
    _held.clear()
    for one in list(_every):
        one.share = threading.Lock()


@cache
def _listen() -> None:
    """Have the hooks called: before those of the store, which is open by now."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(
            before=_before_fork, after_in_parent=_in_parent, after_in_child=_in_child
        )

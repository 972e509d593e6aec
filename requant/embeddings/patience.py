"""Calls that are tried again: a model that is asked over a network fails now and then.

Tried again is what may be gone in a moment: connections and timeouts, and the HTTP answers 408,
425, 429, 500, 502, 503 and 504, whichever client raised them. Everything else is raised at once.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from requant.errors import ModelError

# Seconds before each further try, and the most that a server may ask for.
WAITS = (0.5, 1.0, 2.0, 4.0, 8.0)
_MOST = 60.0
_PASSING = (408, 425, 429, 500, 502, 503, 504)
_DEEPEST = 10

T = TypeVar("T")


def patiently(call: Callable[[], T], what: str) -> T:
    """Return what `call` does; raises ModelError, which names `what`, if it fails all the time."""
    for wait in (*WAITS, None):
        try:
            return call()
        except Exception as error:
            if not is_passing(error):
                raise
            if wait is None:
                raise ModelError(
                    f"{what}: the model failed {len(WAITS) + 1} times, at last with "
                    f"{type(error).__name__}: {error}"
                ) from error
            pause = _asked_for(error)
            jitter = random.uniform(0.8, 1.2)
            time.sleep(min(wait * jitter if pause is None else max(pause, wait), _MOST))
    raise AssertionError  # the last try returns or raises


def is_passing(error: BaseException) -> bool:
    """Whether an error may be gone in a moment."""
    for one in _causes(error):
        status = _status(one)
        if status is not None:
            return status in _PASSING
        if isinstance(one, ConnectionError | TimeoutError):
            return True
    return False


def _causes(error: BaseException) -> Iterator[BaseException]:
    one: BaseException | None = error
    for _ in range(_DEEPEST):
        if one is None:
            return
        yield one
        one = one.__cause__ or one.__context__


def _status(error: BaseException) -> int | None:
    for holder in (error, getattr(error, "response", None)):
        for name in ("status_code", "status", "code"):
            found = getattr(holder, name, None)
            if isinstance(found, int) and not isinstance(found, bool) and 100 <= found < 600:
                return found
    return None


def _asked_for(error: BaseException) -> float | None:
    """Return the seconds that a server asked to wait, None if it did not."""
    for one in _causes(error):
        headers: Any = getattr(getattr(one, "response", one), "headers", None)
        try:
            return max(0.0, float(headers["retry-after"]))
        except (TypeError, KeyError, ValueError):
            continue
    return None

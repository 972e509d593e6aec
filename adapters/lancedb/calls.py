"""Calls into LanceDB: from any thread, with conflicts tried again and errors told in our words."""

from __future__ import annotations

import asyncio
import random
import re
import threading
import time
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, TypeVar

from requant.adapters.errors import CorruptIndexError, EngineError
from requant.adapters.forks import OneProcess
from requant.quantizers.errors import RequantError

T = TypeVar("T")
_TRIES = 12
_CONFLICT = re.compile("commit conflict|concurrent writers|preempted by concurrent", re.I)
_ABSENT = re.compile(
    r"^Table '.*' was not found|LanceError\(DatasetNotFound|^Dataset at path", re.I
)
_TAKEN = re.compile("already exists", re.I)
# Where a Rust panic or error came from says nothing to a user.
_SOURCE = re.compile(r",?\s*(location: Location \{ file: )?\"?/\S*\.rs\"?[:,].*", re.S)
_ADVICE = (
    ("NoSuchBucket|bucket does not exist", "the bucket does not exist: create it, or mend the URL"),
    (
        "InvalidAccessKey|SignatureDoesNotMatch|AccessDenied|Forbidden|Unauthorized|status: 40[13]"
        "|CredentialsNotLoaded|credential",
        "it does not accept the credentials: mend storage_options, api_key or the environment",
    ),
    ("No space left|StorageFull|QuotaExceeded|File too large", "the disk is full: make room"),
    ("Permission ?denied|Read-only file", "this process may not write there: mend the permissions"),
    (
        "ConnectionRefused|dns error|tcp connect|error sending request|timed out|kind: Connect",
        "it cannot be reached: check the address and the network, and try again",
    ),
    ("conflict|concurrent", "other processes keep writing to it: try again"),
    ("Too many open files|os error 2[34]", "too many files are open: raise the limit (ulimit -n)"),
    ("Cannot allocate memory|out of memory", "there is no memory left for it"),
)
_DAMAGE = re.compile(
    "not found|NotFound|corrupt|Invalid(Data|File)|magic|truncated|out of range|"
    "No such file|too small|too short|failed to fill|end of file|EOF|decod|Invalid range",
    re.I,
)


class _AbsentError(EngineError):
    """There is no such table."""


class _TakenError(EngineError):
    """There is such a table already."""


class _UnexplainedError(EngineError):
    """Nothing outside of what stands there is known to lead to it."""


class Caller:
    """Runs coroutines of LanceDB for one place, whose secrets no error text repeats."""

    def __init__(self, place: str, secrets: Iterable[str]) -> None:
        """Name the place; `secrets` are cut out of error texts."""
        self.place = place
        self._secrets = [secret for secret in secrets if len(secret) > 3]

    def __call__(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine and return what it returns.

        Raises EngineError for whatever LanceDB raises (see `is_absent` and `is_taken`), and
        CorruptIndexError where a file is missing or damaged.
        """
        try:
            return _loop().run(coroutine)
        except RequantError:
            coroutine.close()  # where a child is refused, it has not begun
            raise
        except Exception as error:  # lancedb raises ValueError, RuntimeError, OSError, KeyError...
            raise self._told(error) from self._cause(error)

    def retried(self, make: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run a coroutine that commits, again and again while other processes come in between."""
        for attempt in range(_TRIES):
            try:
                return self(make())
            except EngineError as error:
                last = attempt == _TRIES - 1
                if last or not is_conflict(error):
                    raise
            time.sleep(random.uniform(0.01, 0.02 * 2 ** min(attempt, 5)))
        raise AssertionError("unreachable")

    def _told(self, error: Exception) -> Exception:
        text = self._brief(str(error))
        if _ABSENT.search(text):
            return _AbsentError(f"lancedb failed at {self.place}: {text}")
        if _TAKEN.search(text):
            return _TakenError(f"lancedb failed at {self.place}: {text}")
        advice = next((told for sign, told in _ADVICE if re.search(sign, str(error), re.I)), "")
        if not advice and _DAMAGE.search(str(error)):
            return CorruptIndexError(
                f"a file of the table at {self.place} is missing or damaged ({text})"
            )
        kind = EngineError if advice else _UnexplainedError
        return kind(f"lancedb failed at {self.place}: {advice or text}" + _aside(advice, text))

    def _cause(self, error: Exception) -> Exception | None:
        """Return LanceDB's own error, unless its text holds a secret."""
        return None if any(secret in str(error) for secret in self._secrets) else error

    def _brief(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return _SOURCE.sub("", text).strip()[:600]


def is_absent(error: EngineError) -> bool:
    """Tell whether there is no such table."""
    return isinstance(error, _AbsentError)


def is_taken(error: EngineError) -> bool:
    """Tell whether there is such a table already."""
    return isinstance(error, _TakenError)


def is_unexplained(error: EngineError) -> bool:
    """Tell whether no cause is known, of this machine, a network or another process."""
    return isinstance(error, _UnexplainedError)


def is_conflict(error: EngineError) -> bool:
    """Tell whether another process committed first."""
    return bool(_CONFLICT.search(str(error)))


def _aside(advice: str, text: str) -> str:
    return f" ({text})" if advice else ""


class _Loop:
    """An event loop in a thread of its own: a caller may have a running loop itself."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        thread = threading.Thread(
            target=self._loop.run_forever, name="requant-lancedb", daemon=True
        )
        thread.start()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise


_loops: list[_Loop] = []
_starting = threading.Lock()
# Its threads are started again in a child, but one in twenty children hung all the same.
_process = OneProcess("lancedb")


def _loop() -> _Loop:
    """Return the loop of this process; raises ForkedError where the parent has used LanceDB."""
    _process.check()
    if not _loops:
        with _starting:
            if not _loops:
                _loops.append(_Loop())
    return _loops[-1]

"""Calls to a server: repeated while a fault may pass, and told with the place and what to do."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any, TypeVar

import httpx
from qdrant_client.common.client_exceptions import ResourceExhaustedResponse
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

from requant.adapters.errors import EngineError

T = TypeVar("T")
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 10.0
_PASSING = (429, 502, 503, 504, "UNAVAILABLE", "RESOURCE_EXHAUSTED")
# The server was asked, and took too long: it may be about it still.
_SLOW = (408, "DEADLINE_EXCEEDED")
REFUSED = (401, 403, "UNAUTHENTICATED", "PERMISSION_DENIED")
_SECONDS = 60.0
_TEXT = 300
_KEY_HINT = (
    "the API key is missing or wrong, or may not do this: check "
    "requant.open(secrets={'qdrant': {'api_key': ...}}), "
    "REQUANT_QDRANT_API_KEY and QDRANT_API_KEY"
)


class Retry:
    """Carries out calls to one server; every call of ours may be repeated without harm."""

    def __init__(
        self, where: str, retries: int, seconds: float = _SECONDS, secret: str | None = None
    ) -> None:
        """Repeat a call at most `retries` times, and begin no try that may end after `seconds`.

        `where` is what errors name; `secret` is cut out of what the server says.
        """
        self.where = where
        self._retries = retries
        self._seconds = seconds
        self._secret = secret

    def __call__(self, call: Callable[[], T], *, repeat_slow: bool = True) -> T:
        """Return what `call` returns; raises EngineError.

        What took too long is asked once more if there is time for it and `repeat_slow`: of a
        search that nobody waits for any more, a second one makes a busy server busier.
        """
        tries, began = 0, time.monotonic()
        while True:
            started = time.monotonic()
            try:
                return call()
            except EngineError:
                raise
            except Exception as error:
                tries += 1
                pause = _pause(error, tries)
                needed = time.monotonic() - began + pause
                if is_slow(error):
                    needed += time.monotonic() - started
                    again = repeat_slow
                else:
                    again = _is_passing(error)
                if tries > self._retries or not again or needed > self._seconds:
                    raise EngineError(f"{self.where}: {self._told(error, tries)}") from error
                time.sleep(pause)

    def _told(self, error: Exception, tries: int) -> str:
        text = _told(error, tries)
        return text.replace(self._secret, "***") if self._secret else text


def code_of(error: BaseException) -> int | str | None:
    """Return the HTTP status or the name of the gRPC code of an error, None if it has neither."""
    if isinstance(error, UnexpectedResponse):
        status: int | None = error.status_code
        return status
    if isinstance(error, ResourceExhaustedResponse):
        return 429
    code: Any = getattr(error, "code", None)
    name: str | None = getattr(code(), "name", None) if callable(code) else None
    return name


def is_slow(error: BaseException | None) -> bool:
    """Whether the server was reached, and did not answer in time."""
    if isinstance(error, ResponseHandlingException):
        return isinstance(error.source, (httpx.ReadTimeout, httpx.WriteTimeout))
    return error is not None and code_of(error) in _SLOW


def _is_passing(error: Exception) -> bool:
    if isinstance(error, ResponseHandlingException):
        return isinstance(error.source, httpx.TransportError)
    return code_of(error) in _PASSING


def _pause(error: Exception, tries: int) -> float:
    """Return seconds that double with each try, half of them by chance: clients spread out."""
    longest = min(_FIRST_PAUSE * 2.0**tries, _LONGEST_PAUSE)
    asked = error.retry_after_s if isinstance(error, ResourceExhaustedResponse) else 0
    return float(max(longest * random.uniform(0.5, 1.0), min(asked, 60)))


def _told(error: Exception, tries: int) -> str:
    code = code_of(error)
    if code in REFUSED:
        return f"the server refused ({code}: {_own_text(error)}): {_KEY_HINT}"
    source = error.source if isinstance(error, ResponseHandlingException) else error
    often = f" ({tries} tries)" if tries > 1 else ""
    if isinstance(source, httpx.TimeoutException) or code in _SLOW:
        return (
            f"no answer in time{often}: check the server's load, or raise params={{'timeout': ...}}"
        )
    text = _own_text(source)
    if isinstance(source, httpx.TransportError) or code == "UNAVAILABLE":
        return f"the server cannot be reached{often}: {text}; check that it runs and the address"
    if code in (404, "NOT_FOUND"):
        return "the server has no such collection: somebody dropped it, or the address is wrong"
    return f"qdrant failed{often}: {text}"


def _own_text(error: Exception) -> str:
    """Return what the server itself says: gRPC's own text fills a screen, and so may a proxy's."""
    details: Any = getattr(error, "details", None)
    if callable(details):
        return str(details())[:_TEXT]
    if isinstance(error, UnexpectedResponse):
        try:
            said = str(error.structured()["status"]["error"])
        except (ValueError, KeyError, TypeError):
            said = error.content.decode(errors="replace").strip()
        return f"{error.status_code} {error.reason_phrase}: {said[:_TEXT]}"
    return f"{type(error).__name__}: {error}"[: 2 * _TEXT]

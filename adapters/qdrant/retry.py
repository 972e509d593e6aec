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
_PASSING_STATUS = (429, 502, 503, 504)
_PASSING_CODES = ("UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED")
_KEY_CODES = (401, 403, "UNAUTHENTICATED", "PERMISSION_DENIED")
_KEY_HINT = (
    "the API key is missing or wrong, or may not do this: check "
    "requant.open(secrets={'qdrant': {'api_key': ...}}), "
    "REQUANT_QDRANT_API_KEY and QDRANT_API_KEY"
)


class Retry:
    """Carries out calls to one server; every call of ours may be repeated without harm."""

    def __init__(self, where: str, retries: int) -> None:
        """Repeat a call at most `retries` times; `where` is what errors name."""
        self._where = where
        self._retries = retries

    def __call__(self, call: Callable[[], T]) -> T:
        """Return what `call` returns; raises EngineError."""
        tries = 0
        while True:
            try:
                return call()
            except EngineError:
                raise
            except Exception as error:
                tries += 1
                if tries > self._retries or not _passing(error):
                    raise EngineError(f"{self._where}: {_told(error, tries)}") from error
                time.sleep(_pause(error, tries))


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


def _passing(error: Exception) -> bool:
    if isinstance(error, ResponseHandlingException):
        return isinstance(error.source, httpx.TransportError)
    return code_of(error) in (*_PASSING_STATUS, *_PASSING_CODES)


def _pause(error: Exception, tries: int) -> float:
    """Return seconds that double with each try, half of them by chance: clients spread out."""
    longest = min(_FIRST_PAUSE * 2.0**tries, _LONGEST_PAUSE)
    asked = error.retry_after_s if isinstance(error, ResourceExhaustedResponse) else 0
    return float(max(longest * random.uniform(0.5, 1.0), min(asked, 60)))


def _told(error: Exception, tries: int) -> str:
    code = code_of(error)
    if code in _KEY_CODES:
        return f"the server refused ({code}): {_KEY_HINT}"
    source = error.source if isinstance(error, ResponseHandlingException) else error
    often = f" ({tries} tries)" if tries > 1 else ""
    if isinstance(source, httpx.TimeoutException) or code == "DEADLINE_EXCEEDED":
        return (
            f"no answer in time{often}: check the server's load, or raise params={{'timeout': ...}}"
        )
    # gRPC's own text fills a screen.
    details: Any = getattr(source, "details", None)
    text = details() if callable(details) else f"{type(source).__name__}: {source}"
    if isinstance(source, httpx.TransportError) or code == "UNAVAILABLE":
        return f"the server cannot be reached{often}: {text}; check that it runs and the address"
    if code in (404, "NOT_FOUND"):
        return "the server has no such collection: somebody dropped it, or the address is wrong"
    return f"qdrant failed{often}: {text}"

"""Ctrl-C that meets a driver in the midst of its work: some answer it by an error of their own."""

from __future__ import annotations

import sys


def handled_now() -> BaseException | None:
    """Return the exception that the caller is handling: what comes later is told by its context."""
    return sys.exc_info()[1]


def interruption(
    error: BaseException | None, handled: BaseException | None = None
) -> BaseException | None:
    """Return what stopped a driver that raised `error`: Ctrl-C, or an exit; None if nothing did.

    `handled`, which the caller was handling before, did not.

    >>> try:
    ...     try:
    ...         raise KeyboardInterrupt
    ...     except KeyboardInterrupt:
    ...         raise ValueError
    ... except ValueError as error:
    ...     interruption(error)
    KeyboardInterrupt()
    """
    waiting, seen = [error], {id(handled)}
    while waiting:
        one = waiting.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        if not isinstance(one, Exception | GeneratorExit):
            return one
        waiting += [one.__cause__, one.__context__]
    return None

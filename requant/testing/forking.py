"""What a forked child makes of something that its parent opened."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from typing import Literal

import pytest

from requant.adapters.errors import ForkedError

Verdict = Literal["worked", "refused", "failed"]
_CODES: dict[int, Verdict] = {0: "worked", 3: "refused", 4: "failed"}


def in_a_child(use: Callable[[], object]) -> Verdict:
    """Fork, use it in the child, and return how that went; skips where there is no fork."""
    if not hasattr(os, "fork"):
        pytest.skip("this system has no fork")
    with warnings.catch_warnings():
        # Python 3.12 warns of forks with threads, which is the point here.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        os._exit(_tried(use))  # it must not return into pytest
    return _CODES.get(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), "failed")


def _tried(use: Callable[[], object]) -> int:
    try:
        use()
    except ForkedError:
        return 3
    except BaseException:
        return 4
    return 0

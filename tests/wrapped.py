"""Engines in a wrapper of `requant.testing`, wherever requant loads them."""

from __future__ import annotations

from typing import TypeVar

import pytest

from requant.adapters import registry
from requant.testing import WrapperBackend

W = TypeVar("W", bound=WrapperBackend)


def wrapped(monkeypatch: pytest.MonkeyPatch, engine: str, wrapper: type[W]) -> type[W]:
    """Let `engine` be one in `wrapper` until the end of the test, and return it."""
    load = registry.load
    around = wrapper.around(load(engine))
    monkeypatch.setattr(registry, "load", lambda name: around if name == engine else load(name))
    return around

"""Attaching in the tests of each engine's own ways."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from requant.adapters.protocol import Attached
from requant.testing.attaching.bench import contents


@contextmanager
def attached_by(engine: Any, path: Path, **params: Any) -> Iterator[Attached]:
    """Attach it; whatever is asked of it, the folder where it stands stays as it is."""
    before = contents(path.parent)
    found: Attached = engine.attach(str(path), params)
    try:
        yield found
    finally:
        found.close()
    assert contents(path.parent) == before

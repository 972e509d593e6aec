"""Making and opening indexes of any engine: each is told what means something to it."""

from __future__ import annotations

from typing import Any, TypeVar

from requant.adapters.protocol import Backend, IndexSpec
from requant.quantizers.arrays import Codes

B = TypeVar("B", bound=Backend)


def create(
    engine: type[B],
    spec: IndexSpec,
    location: str | None = None,
    *,
    sample: Codes | None = None,
    overwrite: bool = False,
) -> B:
    """Return a new, empty index of `engine`; see `Backend.create`.

    An engine that learns nothing has no use for `sample (n, w)`, one in memory none for
    `overwrite`: neither hears of it.
    """
    told: dict[str, Any] = {"sample": sample, "overwrite": overwrite}
    names = engine.capabilities.create_options
    return engine.create(spec, location, **{name: told[name] for name in names})


def open(engine: type[B], spec: IndexSpec, location: str, *, mmap: bool = False) -> B:
    """Return the index of `engine` that stands at `location`; see `Backend.open`.

    An engine that cannot map a file reads it, whatever `mmap` says.
    """
    told: dict[str, Any] = {"mmap": mmap}
    names = engine.capabilities.open_options
    return engine.open(spec, location, **{name: told[name] for name in names})

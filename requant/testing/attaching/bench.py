"""The workbench under the tests of attaching: places as another program would leave them."""

from __future__ import annotations

import hashlib
import shutil
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pytest

from requant.adapters.protocol import Attached
from requant.quantizers.arrays import Float32s

Metric = Literal["cosine", "ip", "l2"]
N, D = 200, 16


class AttachBench:
    """What an engine's test class says about its places, and what the tests need from it.

    `metrics` are those that `make` can be asked for; `bad_params` are refused, each by itself.
    """

    backend: ClassVar[type[Any]]
    metrics: ClassVar[tuple[Metric, ...]] = ("cosine", "ip", "l2")
    bad_params: ClassVar[Sequence[Mapping[str, Any]]] = ()

    folder: Path

    @abstractmethod
    def make(self, name: str, vectors: Float32s, ids: list[Any], metric: Metric) -> str:
        """Let the engine make an index of `vectors (n, d)` under `ids`; return its location.

        Not through requant, below `self.folder` unless it is on a server. Where there is one of
        that name already, it is replaced.
        """

    def params(self, metric: Metric) -> Mapping[str, Any]:
        """Return by which parameters such an index answers exactly, and by `metric`."""
        return {}

    def ids(self, n: int) -> list[Any]:
        """Return `n` ids as the engine takes them."""
        return [3 * number + 1 for number in range(n)]

    def remove(self, location: str) -> None:
        """Remove what `make` made."""
        path = Path(location)
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Make a case of every metric for the tests that take one."""
        if "metric" in metafunc.fixturenames:
            metafunc.parametrize("metric", self.metrics)

    @pytest.fixture(autouse=True)
    def _workplace(self, tmp_path: Path) -> None:
        self.folder = tmp_path

    def made(self, name: str = "index", n: int = N, seed: int = 7) -> str:
        """Return the location of an index of `n` vectors by the first metric."""
        return self.make(name, vectors(n, seed), self.ids(n), self.metrics[0])

    @contextmanager
    def attached(self, location: str, metric: Metric | None = None) -> Iterator[Attached]:
        """Attach it by `metric`, the first one if None; whatever is asked, all files stay."""
        before = contents(self.folder)
        found: Attached = self.backend.attach(location, self.params(metric or self.metrics[0]))
        try:
            yield found
        finally:
            found.close()
        assert contents(self.folder) == before


def vectors(n: int, seed: int = 7) -> Float32s:
    """Return `(n, D)` random vectors of unequal lengths."""
    return np.random.default_rng(seed).normal(size=(n, D)).astype(np.float32)


def nearest(ids: list[Any], held: Float32s, queries: Float32s, k: int, by: Metric) -> list[Any]:
    """Return the ids of the k nearest of each query as text, by brute force."""
    held, queries = held.astype(np.float64), queries.astype(np.float64)
    scores = queries @ held.T
    if by == "cosine":
        scores = scores / np.linalg.norm(held, axis=1)
    elif by == "l2":
        scores = 2 * scores - (held**2).sum(axis=1)
    order = np.argsort(-scores, axis=1)[:, :k]
    return [[str(ids[place]) for place in row] for row in order]


def contents(folder: Path) -> dict[str, tuple[str, int]]:
    """Return the digest and the time of every file in a folder."""
    return {
        str(path): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }

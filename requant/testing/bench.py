"""The workbench under every conformance test: cases from the declared capabilities, and indexes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest

from requant.adapters import making
from requant.adapters.files import check_digest, publish
from requant.adapters.protocol import Backend, Candidates, IndexSpec, IndexType, Keys, Support
from requant.quantizers.arrays import Codes
from requant.quantizers.codes import CodeMetric
from requant.testing.data import code_spec, make_codes, make_keys
from requant.testing.judge import Judge


@dataclass(frozen=True)
class Case:
    """One row of a capability table, one of its metrics, and a dimension."""

    support: Support
    metric: CodeMetric
    dim: int

    def __str__(self) -> str:
        """Return the name of the test case."""
        row = self.support
        return f"{row.format}-{row.index_type}-{self.metric}-{self.dim}"


class Bench:
    """What an engine's test class says about itself, and what the tests need from it.

    `params` are engine parameters by index type, to keep small tests fast, and `coarse_params`
    those with which 3,000 items are a graph or lists that little effort is not enough for; `floor`
    is the recall below which a row that is not exact fails, `native_floor` that of an engine's own
    compression; `dims` are the dimensions that answers are tested in.
    """

    backend: ClassVar[type[Backend]]
    params: ClassVar[Mapping[IndexType, Mapping[str, Any]]] = {}
    coarse_params: ClassVar[Mapping[IndexType, Mapping[str, Any]]] = {}
    floor: ClassVar[float] = 0.85
    native_floor: ClassVar[float] = 0.5
    dims: ClassVar[tuple[int, ...]] = (6, 7, 64, 384, 1025)

    folder: Path
    _opened: list[Backend]
    _made: int

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Make cases: `case` in 64 dimensions, `sized` in all, `row` without the second metric.

        `live` are those of `row` where the engine keeps its own index.
        """
        rows = self.backend.capabilities.supports
        cases = [Case(row, metric, 64) for row in rows for metric in row.metrics]
        sized = [Case(case.support, case.metric, dim) for case in cases for dim in self.dims]
        one_metric = [Case(row, row.metrics[0], 64) for row in rows]
        live = one_metric if self.backend.capabilities.storage == "live" else []
        fixtures = {"case": cases, "sized": sized, "row": one_metric, "live": live}
        for name, values in fixtures.items():
            if name in metafunc.fixturenames:
                metafunc.parametrize(name, values, ids=str)

    @contextmanager
    def at(self, folder: Path) -> Iterator[None]:
        """Work in `folder`, and close in the end what was opened."""
        self.folder, self._opened, self._made = folder, [], 0
        try:
            yield
        finally:
            for backend in self._opened:
                backend.close()

    @pytest.fixture(autouse=True)
    def _workplace(self, tmp_path: Path) -> Iterator[None]:
        with self.at(tmp_path):
            yield

    def location(self) -> str:
        """Where the index made last is kept; override it for a server."""
        return str(self.folder / f"index-{self._made}")

    def large(self, row: Case) -> int:
        """Return how many items the large index of a row has; override it where they take long."""
        return 100_000

    def spec(self, case: Case) -> IndexSpec:
        """Return the spec of a case."""
        row = case.support
        code = code_spec(row.format, case.dim)
        return IndexSpec(code, case.metric, row.index_type, self.params.get(row.index_type, {}))

    def make(self, case: Case, sample: Codes | None = None) -> Backend:
        """Return an empty index; `sample` is what it may learn from."""
        return self.made(self.spec(case), sample)

    def made(self, spec: IndexSpec, sample: Codes | None = None) -> Backend:
        """The same of any spec."""
        if sample is None or not len(sample):
            sample = make_codes(spec.code, 200, seed=9)
        self._made += 1
        where = self.location() if self.backend.capabilities.storage == "live" else None
        return self._kept(making.create(self.backend, spec, where, sample=sample))

    def filled(self, case: Case, n: int = 300) -> tuple[Backend, Judge]:
        """Return an index of `n` items, and the judge who knows them."""
        spec = self.spec(case)
        return self.holding(case, make_keys(n), make_codes(spec.code, n))

    def holding(self, case: Case, keys: Keys, codes: Codes) -> tuple[Backend, Judge]:
        """Return an index of these items, and the judge who knows them."""
        backend = self.make(case, codes)
        backend.upsert(keys, codes)
        return backend, Judge(backend.spec, keys, codes)

    def reopened(self, backend: Backend, mmap: bool = False) -> Backend:
        """Flush, close and open again the index that was made last."""
        spec, where = backend.spec, self.location()
        if self.backend.capabilities.storage == "file":
            digest = publish(Path(where), backend.flush)
            check_digest(Path(where), digest)
        else:
            backend.flush()
        backend.close()
        row = self.backend.capabilities.find(spec.code.format, spec.index_type)
        if mmap and self.backend.capabilities.mmap and row is not None and not row.mmap:
            with pytest.warns(UserWarning, match="cannot be mapped"):
                return self._kept(making.open(self.backend, spec, where, mmap=True))
        return self._kept(making.open(self.backend, spec, where, mmap=mmap))

    def approve(self, backend: Backend, judge: Judge, queries: Codes, k: int = 10) -> None:
        """Assert the right answers: exact ones where they are declared, else recall."""
        self.approve_found(judge, queries, k, backend.search(queries, k))

    def approve_found(
        self, judge: Judge, queries: Codes, k: int, found: Candidates, among: Keys | None = None
    ) -> None:
        """Assert that an answer is right."""
        row = self.backend.capabilities.find(judge.spec.code.format, judge.spec.index_type)
        if row is not None and row.exact:
            judge.is_exact(found, queries, k, among)
        else:
            recall, floor = judge.rules(found, queries, k, among), self.floor_of(judge.spec)
            assert recall >= floor, f"recall {recall:.3f} is below {floor}"

    def floor_of(self, spec: IndexSpec) -> float:
        """Return the recall that a row which is not exact has to reach."""
        return self.native_floor if spec.code.format == "native" else self.floor

    def _kept(self, backend: Backend) -> Backend:
        self._opened.append(backend)
        return backend

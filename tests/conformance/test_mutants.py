"""The suite sees what it is for: backends with one fault each fail the case that looks for it."""

from __future__ import annotations

import time
from typing import ClassVar

import pytest

from requant.adapters.faiss import FaissBackend
from requant.adapters.protocol import IndexSpec
from requant.testing import BackendConformance, ReferenceBackend, WrapperBackend
from requant.testing.bench import Case


class EffortIgnored(WrapperBackend):
    """Takes `effort`, and does nothing with it."""

    def search(self, queries, k, *, among=None, effort=None, codes=False):
        return self.inner.search(queries, k, among=among, codes=codes)


class SharedQueries(WrapperBackend):
    """Keeps what is asked in the index, where other threads meet it."""

    def search(self, queries, k, *, among=None, effort=None, codes=False):
        self.asked = queries, k, among
        time.sleep(1e-4)
        queries, k, among = self.asked
        return self.inner.search(queries, k, among=among, effort=effort, codes=codes)


class SharedEffort(WrapperBackend):
    """Sets the effort and searches then, as usearch and FAISS invite one to."""

    def search(self, queries, k, *, among=None, effort=None, codes=False):
        self.effort = effort
        time.sleep(1e-4)
        return self.inner.search(queries, k, among=among, effort=self.effort, codes=codes)


class OpensAnything(WrapperBackend):
    """Opens a file as what it was made as, whatever it is asked for."""

    made: ClassVar[IndexSpec]

    @classmethod
    def create(cls, spec, location=None, **options):
        cls.made = spec
        return super().create(spec, location, **options)

    @classmethod
    def open(cls, spec, location, **options):
        return super().open(cls.made, location, **options)


MUTANTS = [
    (EffortIgnored, FaissBackend, "hnsw", "test_effort_is_spent"),
    (EffortIgnored, FaissBackend, "ivf", "test_effort_is_spent"),
    (SharedQueries, FaissBackend, "hnsw", "test_threads_that_ask_different_things"),
    (SharedQueries, ReferenceBackend, "flat", "test_threads_that_ask_different_things"),
    (SharedEffort, FaissBackend, "ivf", "test_threads_that_ask_different_things"),
    (OpensAnything, ReferenceBackend, "flat", "test_another_spec_is_refused"),
    (OpensAnything, ReferenceBackend, "flat", "test_another_kind_is_refused"),
    (
        OpensAnything,
        ReferenceBackend,
        "flat",
        "test_another_format_of_the_same_width_is_refused",
    ),
]


@pytest.mark.parametrize(
    ("mutant", "engine", "kind", "name"),
    MUTANTS,
    ids=[
        f"{mutant.__name__}-{engine.__name__}-{kind}-{name}"
        for mutant, engine, kind, name in MUTANTS
    ],
)
def test_a_mutant_is_caught(tmp_path, mutant, engine, kind, name):
    """By an assertion of that case; the engine without the fault passes it."""
    format = "uint8" if "same_width" in name else "int8"
    row = engine.capabilities.find(format, kind)
    case = Case(row, row.metrics[0], 64)
    run_case(engine, name, case, tmp_path / "sound")
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        run_case(mutant.around(engine), name, case, tmp_path / "mutant")


def run_case(engine, name, case, folder):
    """Run one case of the suite on an engine, outside of pytest's collection."""

    class Suite(BackendConformance):
        __test__ = False
        backend = engine

    folder.mkdir()
    suite = Suite()
    with suite.at(folder):
        getattr(suite, name)(case)

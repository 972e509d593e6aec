"""Wrappers pass the suite that the engine within passes, and do what they are for."""

import time
from dataclasses import replace

import numpy as np
import pytest

from requant.adapters.errors import EngineError
from requant.adapters.faiss import FaissBackend
from requant.adapters.protocol import IndexSpec
from requant.testing import (
    BackendConformance,
    CountingBackend,
    FailingBackend,
    ReferenceBackend,
    SlowBackend,
    WrapperBackend,
)
from requant.testing.data import code_spec, make_codes, make_keys

_ROWS = {("int8", "flat"), ("binary", "hnsw"), ("native", "ivf")}


class Few(FaissBackend):
    """With samples, maps, key sets and codes."""

    capabilities = replace(
        FaissBackend.capabilities,
        supports=tuple(
            row
            for row in FaissBackend.capabilities.supports
            if (row.format, row.index_type) in _ROWS
        ),
    )


class FewOfReference(ReferenceBackend):
    """Numbers and bits: a wrapper passes codes on without looking at them."""

    capabilities = replace(
        ReferenceBackend.capabilities,
        supports=tuple(
            row
            for row in ReferenceBackend.capabilities.supports
            if row.format in ("int8", "binary")
        ),
    )


class Wrapped(BackendConformance):
    """What is within is tested large elsewhere."""

    def large(self, row):
        return 10_000


class TestWrapper(Wrapped):
    backend = WrapperBackend.around(Few)
    dims = (64,)


class TestSlow(Wrapped):
    backend = SlowBackend.around(FewOfReference)
    backend.seconds = 1e-4
    dims = (7,)


class TestFailing(Wrapped):
    """With no fault planned, which counts as well."""

    backend = FailingBackend.around(FewOfReference)
    dims = (7,)


def filled(backend, n=30):
    spec = IndexSpec(code_spec("int8", 8), "ip")
    index = backend.create(spec)
    index.upsert(make_keys(n), make_codes(spec.code, n))
    return index


def test_every_call_is_counted(tmp_path):
    counted = CountingBackend.around(FaissBackend)
    index = filled(counted)
    path = str(tmp_path / "index")
    index.flush(path)
    index.delete(make_keys(30)[:2])
    for _ in range(3):
        index.search(np.ones((1, 8), np.int8), 2)
    assert len(list(index.export(10))) == 3
    assert len(index) == 28
    index.close()
    counted.open(index.spec, path, mmap=True).close()
    counted.drop(index.spec, path)
    names = ("create", "upsert", "flush", "delete", "export", "__len__", "open", "drop")
    assert counted.calls == {**dict.fromkeys(names, 1), "search": 3, "close": 2}
    assert CountingBackend.around(FaissBackend).calls == {}


def test_a_slow_one_sleeps(monkeypatch):
    slow, slept = SlowBackend.around(ReferenceBackend), []
    slow.seconds = 7
    monkeypatch.setattr(time, "sleep", slept.append)
    filled(slow)
    assert slept == [7, 7]


def test_the_call_that_was_named_fails_and_no_other():
    failing = FailingBackend.around(FaissBackend)
    index = filled(failing)
    keys, codes = make_keys(3) + 2**40, make_codes(index.spec.code, 3)
    failing.fail_at("upsert", 2)
    index.upsert(keys[:1], codes[:1])
    with pytest.raises(EngineError, match="told to"):
        index.upsert(keys[1:2], codes[1:2])
    assert len(index) == 31
    failing.fail_at("upsert", error=OSError("the answer was lost"), after=True)
    with pytest.raises(OSError, match="lost"):
        index.upsert(keys[1:2], codes[1:2])
    assert len(index) == 32
    index.upsert(keys[2:], codes[2:])
    assert len(index) == 33


def test_creating_opening_and_dropping_can_fail_too(tmp_path):
    failing = FailingBackend.around(FaissBackend)
    spec = IndexSpec(code_spec("int8", 8), "ip")
    for name, call in (
        ("create", lambda: failing.create(spec)),
        ("open", lambda: failing.open(spec, str(tmp_path / "none"))),
        ("drop", lambda: failing.drop(spec, str(tmp_path / "none"))),
    ):
        failing.fail_at(name)
        with pytest.raises(EngineError, match=f"{name} fails"):
            call()

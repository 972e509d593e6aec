"""Every operation on the disk fails, in every way; and the power goes at every moment."""

from __future__ import annotations

import pytest

from tests.faults import nth, power
from tests.faults.tasks import Child, Task, compile_shim

EVERY_INDEX = pytest.mark.parametrize(
    "index", [nth.FAISS, nth.USEARCH, nth.LANCEDB, nth.QDRANT], ids=lambda index: index["engine"]
)


@pytest.fixture(scope="module")
def shim(tmp_path_factory):
    return compile_shim(tmp_path_factory.mktemp("shim"))


@EVERY_INDEX
@pytest.mark.parametrize("what", nth.WHATS)
def test_every_operation_fails(shim, tmp_path, index, what):
    child = Child(shim, tmp_path, *(["files"] if index in (nth.FAISS, nth.USEARCH) else []))
    task = Task("", what, index, nth.TARGETS[index["engine"]])
    assert list(nth.strike(child, tmp_path, task))
    child.close()


@pytest.mark.parametrize("format", nth.FORMATS)
def test_every_operation_of_an_export_fails(shim, tmp_path, format):
    child = Child(shim, tmp_path, "files")
    task = Task("", "export", nth.FAISS, format=format)
    assert list(nth.strike(child, tmp_path, task))
    child.close()


# Qdrant writes to mapped files, which cannot be recorded call by call.
RECORDED = pytest.mark.parametrize(
    "index", [nth.FAISS, nth.USEARCH, nth.LANCEDB], ids=lambda index: index["engine"]
)


@RECORDED
def test_the_power_goes_at_every_moment(shim, tmp_path, index):
    events = power.record(shim, tmp_path / "root", tmp_path / "log", index)
    assert list(power.lose_power(events, tmp_path / "root", every=1, chances=3))


@RECORDED
def test_the_power_goes_at_every_moment_and_all_is_durable(shim, tmp_path, index):
    events = power.record(shim, tmp_path / "root", tmp_path / "log", index, durable=True)
    assert list(power.lose_power(events, tmp_path / "root", every=1, chances=3, durable=True))

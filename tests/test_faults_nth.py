"""The n-th operation on the disk fails: a sample here, every one of them in tests/torture."""

from __future__ import annotations

import pytest

from tests.faults import nth
from tests.faults.tasks import Child, Task, compile_shim


@pytest.fixture(scope="module")
def shim(tmp_path_factory):
    return compile_shim(tmp_path_factory.mktemp("shim"))


@pytest.fixture(scope="module")
def files_child(shim, tmp_path_factory):
    root = tmp_path_factory.mktemp("files")
    child = Child(shim, root, "files")
    yield child, root
    child.close()


@pytest.fixture(scope="module")
def live_child(shim, tmp_path_factory):
    root = tmp_path_factory.mktemp("live")
    child = Child(shim, root)
    yield child, root
    child.close()


def task(what, index, format=""):
    return Task("", what, index, nth.TARGETS[index["engine"]], format)


@pytest.mark.parametrize("what", nth.WHATS)
@pytest.mark.parametrize("index", [nth.FAISS, nth.USEARCH], ids=lambda index: index["engine"])
def test_of_a_file_engine(files_child, what, index):
    assert list(nth.strike(*files_child, task(what, index), samples=4))


@pytest.mark.parametrize("format", ["parquet", "faiss"])
def test_of_an_export(files_child, format):
    assert list(nth.strike(*files_child, task("export", nth.FAISS, format), samples=4))


@pytest.mark.parametrize("what", ["publish", "migrate"])
@pytest.mark.parametrize(
    "index",
    [pytest.param(nth.LANCEDB, id="lancedb"), pytest.param(nth.QDRANT, id="qdrant")],
)
def test_of_a_live_engine(live_child, what, index):
    assert list(nth.strike(*live_child, task(what, index), samples=2))

"""The power goes at any moment: a sample here, every moment in tests/torture."""

from __future__ import annotations

import pytest

from tests.faults import power
from tests.faults.nth import FAISS, USEARCH
from tests.faults.tasks import compile_shim


@pytest.fixture(scope="module")
def shim(tmp_path_factory):
    return compile_shim(tmp_path_factory.mktemp("shim"))


@pytest.mark.parametrize("index", [FAISS, USEARCH], ids=lambda index: index["engine"])
def test_a_file_engine(shim, tmp_path, index):
    events = power.record(shim, tmp_path / "root", tmp_path / "log", index)
    assert list(power.lose_power(events, tmp_path / "root", every=29, chances=1))


def test_what_is_durable_is_there_whatever_was_not_synced(shim, tmp_path):
    """With `durable=True` nothing is lost that was acknowledged; without, this fails."""
    options = {"durable": True}
    events = power.record(shim, tmp_path / "root", tmp_path / "log", FAISS, **options)
    assert list(power.lose_power(events, tmp_path / "root", every=37, chances=1, durable=True))

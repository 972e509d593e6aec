"""Searches where the system has no further thread to give."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

import requant
from tests import inside


def test_a_search_goes_on_alone_where_no_thread_can_be_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside.let_threads_share(monkeypatch, 2)
    vectors = np.random.default_rng(0).standard_normal((9000, 512)).astype(np.float32)
    with requant.open(tmp_path / "a.db") as db:
        notes = db.create_collection("notes", dim=512)
        notes.add([str(i) for i in range(len(vectors))], vectors)
        refused = []

        def start(thread: threading.Thread) -> None:
            refused.append(thread)
            raise RuntimeError("can't start new thread")

        monkeypatch.setattr(threading.Thread, "start", start)
        assert notes.search(vectors[8500], k=1)[0].id == "8500"
    assert refused

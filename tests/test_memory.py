"""What requant has in memory beside an engine is bounded, however wide the vectors are."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from tests import inside

BOUND = 64 << 20
OPERATIONS = """
import json, sys, tracemalloc, numpy as np, requant
path, dim, rows, metric, engine, precision, kind = json.loads(sys.argv[1])
rng = np.random.default_rng(0)
peaks = {}

def measured(name, act):
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    result = act()
    peaks[name] = tracemalloc.get_traced_memory()[1] - before
    return result

def read(notes):
    with notes.selected() as selection:
        for page in selection.pages(1024, lambda done, total: None):
            len(page)

with requant.open(path) as db:
    notes = db.create_collection("notes", dim, metric)
    for start in range(0, rows, 16):
        part = rng.standard_normal((16, dim), dtype=np.float32)
        notes.upsert(range(start, start + 16), part)
    query = rng.standard_normal((1, dim), dtype=np.float32)
    queries = rng.standard_normal((64, dim), dtype=np.float32)
    notes.search(query, exact=True, k=3)
    tracemalloc.start()
    measured("exact", lambda: notes.search(query, exact=True))
    measured("exact, many", lambda: notes.search_many(queries, exact=True))
    measured("build", lambda: notes.add_index("main", engine=engine, precision=precision,
                                              index_type=kind))
    measured("search", lambda: notes.search(query, oversample=4))
    measured("search by default", lambda: notes.search(query))
    measured("search, many", lambda: notes.search_many(queries, oversample=4))
    measured("search, all", lambda: notes.search(query, k=rows, oversample=1.5))
    part = rng.standard_normal((rows // 2, dim), dtype=np.float32)
    notes.upsert(range(rows // 2), part)
    notes.upsert(range(rows, rows + rows // 2), part)
    del part
    measured("search, behind", lambda: notes.search(query, oversample=4))
    measured("flush", notes.flush)
    measured("verify", lambda: notes.verify(deep=True))
    measured("iter", lambda: sum(1 for _ in notes.iter()))
    measured("pages", lambda: read(notes))
    measured("plan", lambda: notes.plan_migration("new", engine=engine, precision=precision))

print(json.dumps(peaks))
"""


# The other combinations are in tests/torture.
@pytest.mark.parametrize(
    ("dim", "rows", "metric", "precision"),
    [
        (4096, 4096, "cosine", "int8"),
        (65_536, 320, "cosine", "float32"),
    ],
)
def test_no_operation_takes_more_than_is_said(tmp_path, dim, rows, metric, precision):
    takes_no_more(tmp_path, dim, rows, metric, precision)


def takes_no_more(tmp_path, dim, rows, metric, precision):
    """Do everything in a process of its own, and look at the peak of each operation."""
    case = [str(tmp_path / "x"), dim, rows, metric, "faiss", precision, "flat"]
    done = subprocess.run(
        [sys.executable, "-c", OPERATIONS, json.dumps(case)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    peaks = json.loads(done.stdout)
    assert len(peaks) >= 12
    over = {name: f"{peak >> 20} MB" for name, peak in peaks.items() if peak > BOUND}
    assert not over


@pytest.mark.parametrize("metric", ["cosine", "ip", "l2"])
def test_batches_change_no_score(db, monkeypatch, metric):
    """Exact scores are the same bits whatever was read or scored together."""
    notes = db.create_collection("notes", 96, metric)
    rng = np.random.default_rng(0)
    notes.upsert(range(3000), rng.standard_normal((3000, 96), dtype=np.float32))
    queries = rng.standard_normal((40, 96), dtype=np.float32)
    whole = notes.search_many(queries, k=50, exact=True)
    monkeypatch.setattr(inside.BATCH_BYTES, 96 * 4 * 7)
    parts = notes.search_many(queries, k=50, exact=True)
    assert parts.ids == whole.ids
    assert parts.scores.tobytes() == whole.scores.tobytes()
    notes.add_index("main", engine="faiss", precision="int8")
    found = notes.search_many(queries, k=50, oversample=8)
    assert found.ids == whole.ids
    assert found.scores.tobytes() == whole.scores.tobytes()
    assert notes.verify(deep=True).ok
    assert np.array_equal(notes.vectors(range(2999, -1, -1))[::-1], notes.vectors(range(3000)))

"""Make a database as this version writes it, with indexes of every engine, for tests to open.

    python tests/data/make_released.py tests/data/released/0.1.tar.xz

A later version must open what is there, so it is made once for each release, by the release; what
was made before is never made again. It uses nothing but what every version has, and indexed fields,
which came with schema 5. Packed, since
Qdrant's folder is 130 MB, nearly all of it holes.
"""

from __future__ import annotations

import json
import sys
import tarfile
import tempfile
from pathlib import Path

import numpy as np

import requant

N, DIM = 200, 16
INDEXES = {
    "int8": {"engine": "faiss", "precision": "int8"},
    "int2": {"engine": "faiss", "precision": "int2"},
    "binary": {"engine": "faiss", "precision": "binary"},
    "graph": {"engine": "faiss", "precision": "float16", "index_type": "hnsw"},
    "usearch": {"engine": "usearch", "precision": "int8"},
    "lance": {"engine": "lancedb", "precision": "int8"},
    "edge": {"engine": "qdrant", "precision": "int8"},
}


def vectors() -> np.ndarray:
    """Return `(200, 16) float32`, the same with every version of NumPy."""
    rng = np.random.Generator(np.random.PCG64(20_261_127))
    return (rng.random((N, DIM)) - 0.5).astype(np.float32)


def entry(row: int) -> dict[str, object]:
    """Return metadata of every kind that a field is listed by."""
    values = [row, row / 4, f"text {row % 9}", row % 2 == 0, None, 2**70 + row, "long" * 400]
    at = f"2026-01-{1 + row % 28:02}T12:00:00+{row % 12:02}:00"
    return {"n": values[row % len(values)], "deep": {"x": [row % 5, "a"]}, "at": at}


def make(folder: Path) -> None:
    """Write the database, and what is to be found in it."""
    rows = vectors()
    with requant.open(folder / "notes.requant") as db:
        notes = db.create_collection("notes", DIM)
        texts = [f"Größe {row}" if row % 3 else None for row in range(N)]
        more = [{"n": row, "even": row % 2 == 0, "deep": {"x": [row]}} for row in range(N)]
        notes.upsert([f"id {row}" for row in range(N)], rows, documents=texts, metadata=more)
        for name, config in INDEXES.items():
            notes.add_index(name, **config)
        numbers = db.create_collection("numbers", 4, "l2")
        numbers.upsert([1, 2, 3], rows[:3, :4])
        # What has changed since the indexes were built has been followed, too.
        notes.delete(["id 7", "id 8"])
        notes.upsert(["id 9"], rows[7:8])
        notes.flush()
        assert notes.verify(deep=True).ok
        listed = db.create_collection("listed", 4, index_fields=["n", "deep.x"])
        listed.index_field("at", kind="datetime")
        listed.upsert(range(N), metadata=[entry(row) for row in range(N)])
        listed.delete([7])
    fields = ["at", "deep.x", "n"]
    expected = {"requant": requant.__version__, "items": N - 2, "indexes": [*INDEXES]}
    expected["fields"] = fields
    (folder / "expected.json").write_text(json.dumps(expected, indent=2) + "\n")


def _anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = entry.mtime = 0
    entry.uname = entry.gname = ""
    return entry


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as home:
        make(Path(home))
        with tarfile.open(sys.argv[1], "w:xz") as archive:
            for entry in sorted(Path(home).iterdir()):
                archive.add(entry, entry.name, filter=_anonymous)

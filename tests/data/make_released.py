"""Make a database as this version writes it, with indexes of every engine, for tests to open.

    python tests/data/make_released.py tests/data/released/0.1.tar.xz

A later version must open what is there, so it is made once for each release, by the release; what
was made before is never made again. It uses nothing but what every version has. Packed, since
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
    expected = {"requant": requant.__version__, "items": N - 2, "indexes": [*INDEXES]}
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

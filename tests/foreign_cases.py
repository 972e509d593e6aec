"""The recorded folders of tests/data/foreign, and a comparison with what they hold."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np

import requant
from tests.cli import run

FOLDER = Path(__file__).parent / "data" / "foreign"


def unpack(case, tmp_path):
    """Unpack a case; return what the library left, and what it held."""
    with zipfile.ZipFile(FOLDER / f"{case}.zip") as packed:
        packed.extractall(tmp_path)
    expected = tmp_path / "expected.json"
    return tmp_path / "store", json.loads(expected.read_text()) if expected.exists() else None


def everything(source, size=7):
    """Return all items as `{ids, vectors, documents, metadata}`, read in small batches."""
    found = {"ids": [], "vectors": [], "documents": [], "metadata": []}
    for batch in source.batches(size):
        assert 0 < len(batch) <= size
        found["ids"] += batch.ids
        floats = iter(batch.vectors)
        present = np.ones(len(batch), bool) if batch.present is None else batch.present
        found["vectors"] += [next(floats) if there else None for there in present]
        assert next(floats, None) is None
        assert batch.vectors.dtype == np.float32
        for name in ("documents", "metadata"):
            column = getattr(batch, name)
            found[name] += [None] * len(batch) if column is None else column
    return found


def check(source, expected):
    """Compare every id, vector, document and metadata value, bit by bit, in order."""
    found = everything(source)
    assert source.rows in (None, len(expected["ids"]))
    assert found["ids"] == expected["ids"]
    for name, mine, theirs in zip(found["ids"], found["vectors"], expected["vectors"], strict=True):
        if theirs is None:
            assert mine is None, name
        else:
            assert mine.tobytes() == np.array(theirs, np.float32).tobytes(), name
            assert source.dim == len(theirs)
    for name in ("documents", "metadata"):
        if expected[name] is None:
            assert set(found[name]) == {None}
        else:
            # As text, so that 1 is not 1.0 and True is not 1.
            for mine, theirs in zip(found[name], expected[name], strict=True):
                assert json.dumps(mine, sort_keys=True) == json.dumps(theirs, sort_keys=True)
    assert everything(source, size=1000)["ids"] == found["ids"]


def check_import(source, expected, tmp_path):
    """Run `requant import` on a source, and compare what is stored, bit by bit."""
    told = run("import", source, tmp_path / "db", "notes", "--json").json
    assert (told["rows"], told["complete"]) == (len(expected["ids"]), True)
    with requant.open(tmp_path / "db") as db:
        notes = db.collection("notes")
        items = notes.get(expected["ids"])
        assert [item.id for item in items] == expected["ids"]
        there = [i for i, row in enumerate(expected["vectors"]) if row is not None]
        stored = notes.vectors([expected["ids"][i] for i in there])
        theirs = np.array([expected["vectors"][i] for i in there], np.float32)
        assert stored.tobytes() == theirs.tobytes()
        for name in ("document", "metadata"):
            column = expected[name if name == "metadata" else "documents"]
            for item, theirs in zip(items, column or [None] * len(items), strict=True):
                mine = json.dumps(getattr(item, name) or None, sort_keys=True)
                assert mine == json.dumps(theirs or None, sort_keys=True)

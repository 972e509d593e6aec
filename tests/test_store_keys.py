"""Rows by lists of keys, however many they are and however many of them are there."""

from __future__ import annotations

import numpy as np
import pytest

import requant
from tests import inside
from tests.databases import vectors

DIM, ROWS = 4, 300


@pytest.fixture(params=["sqlite", "postgresql"])
def notes(request, tmp_path):
    url = tmp_path / "notes.requant"
    if request.param == "postgresql":
        url = request.getfixturevalue("empty_postgres")
    with requant.open(url, folder=tmp_path / "indexes") as db:
        notes = db.create_collection("notes", DIM)
        documents = [f"text {row}" for row in range(ROWS)]
        notes.upsert(range(ROWS), vectors(ROWS, DIM), documents, [{"row": r} for r in range(ROWS)])
        notes.delete(range(0, ROWS, 5))
        inside.number(db)  # keys are counted up to what has a number
        yield notes


@pytest.mark.parametrize("count", [0, 1, 2, 7, 8, 9, 40, 63, 64, 65, 72, 300])
def test_a_list_of_keys_gives_what_is_there_of_it(notes, count):
    given, rows = vectors(ROWS, DIM), np.arange(count)
    with inside.snapshot(notes) as (reader, state):
        first = state.next_key - ROWS
        for wanted in (rows, rows[rows % 5 != 0], rows[::5]):
            keys = first + wanted
            found, floats = reader.vectors(keys, DIM)
            items, ids = reader.items(keys.tolist()), reader.ids(keys.tolist())
            there = wanted[wanted % 5 != 0].tolist()
            assert found.tolist() == [first + row for row in there]
            assert floats.tobytes() == given[there].tobytes()
            assert sorted(items) == sorted(ids) == found.tolist()
            assert [ids[key] for key in found.tolist()] == there
            assert [items[key].document for key in found.tolist()] == [f"text {n}" for n in there]
            assert reader.metadata(keys.tolist()) == {first + n: {"row": n} for n in there}

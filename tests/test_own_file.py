"""The file of a database that is open is opened by nothing else in its process: locks would end."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import requant
from requant.errors import InputError
from requant.integration.export import export
from requant.integration.readers import Wanted, open_foreign, open_source
from tests.cli import refused
from tests.databases import vectors

# Whoever has the file open keeps a shared lock on it, so that this fails.
OTHER = """
import sqlite3, sys
other = sqlite3.connect(sys.argv[1], timeout=0)
try:
    other.execute("PRAGMA locking_mode = EXCLUSIVE")
    other.execute("BEGIN EXCLUSIVE")
    print("alone")
except sqlite3.OperationalError as error:
    print(error)
"""


@pytest.fixture
def notes(tmp_path):
    with requant.open(tmp_path / "x.db") as db:
        notes = db.create_collection("notes", 8)
        notes.upsert(range(50), vectors(50))
        notes.search(vectors(1)[0])
        yield notes


def alone(path):
    done = subprocess.run([sys.executable, "-c", OTHER, path], capture_output=True, text=True)
    return done.stdout.strip() == "alone"


@pytest.mark.parametrize("end", ["", "-wal", "-shm"])
@pytest.mark.parametrize("linked", [False, True])
def test_nothing_else_opens_it(notes, tmp_path, end, linked):
    path = tmp_path / f"x.db{end}"
    if linked:
        path = tmp_path / "link.npy"
        os.link(tmp_path / f"x.db{end}", path)
    calls = [
        lambda: notes.attach_index("a", location=path, engine="faiss"),
        lambda: notes.attach_index("a", location=path, engine="usearch"),
        lambda: export(notes, path, format="faiss", overwrite=True),
        lambda: export(notes, path, format="usearch", overwrite=True),
        lambda: open_foreign(path, Wanted()),
        lambda: open_source(path, Wanted()),
    ]
    assert not alone(tmp_path / "x.db")
    for call in calls:
        with pytest.raises(InputError, match=r"a file of the database .* open here"):
            call()
    assert not alone(tmp_path / "x.db")
    assert notes.verify(deep=True).ok


def test_a_database_is_not_imported_into_itself(notes, tmp_path):
    path = tmp_path / "x.db"
    assert "is a file of the database" in refused("import", path, path, "notes")


def test_that_of_a_closed_database_is_nobodys(tmp_path):
    path = tmp_path / "x.db"
    requant.open(path).close()
    assert open_foreign(path, Wanted()) is None

"""Databases of older schemas: opened, brought up to date in place, and nothing built again."""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa

import requant
from tests import inside
from tests.databases import expected, held, vectors

DATA = Path(__file__).parent / "data"
ENGINES = ["faiss", "usearch", "lancedb", "qdrant"]


@pytest.fixture
def path(tmp_path):
    with tarfile.open(DATA / "schema2.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path / "schema2.requant"


def answers(notes):
    for query in vectors(10, seed=1):
        hits = notes.search(query, k=10, oversample=3)
        best = notes.search(query, k=10, exact=True)
        assert [hit.id for hit in hits] == [hit.id for hit in best]


def columns(engine):
    """Return what a database has for columns, by table."""
    inspector = sa.inspect(engine)
    return {
        name: sorted((each["name"], str(each["type"])) for each in inspector.get_columns(name))
        for name in inspector.get_table_names()
    }


def test_a_database_of_schema_2_is_brought_up_to_date(path, tmp_path):
    for _ in range(2):
        with requant.open(path) as db:
            assert db.collections() == sorted(ENGINES)
            for engine in ENGINES:
                notes = db.collection(engine)
                # Warnings are errors: everything that stands there is used as it is.
                answers(notes)
                assert len(notes) == 60 - (engine != "none")
                notes.upsert([7], vectors(1, seed=8))
                answers(notes)
                assert held(notes) == expected(notes)
                notes.flush()
            found = columns(db.engine)
    with requant.open(tmp_path / "new.db") as db:
        assert found == columns(db.engine)


def test_its_places_say_from_now_on_whose_they_are(path, tmp_path):
    with requant.open(path) as db:
        notes = db.collection("lancedb")
        answers(notes)
        notes.upsert([7], vectors(1, seed=8))
        answers(notes)
        (name,) = inside.place_names(db, 3)
        folder = inside.folder_of(db)
        assert inside.identity_of(db).name in (folder / "3" / name / "requant.note").read_text()
        assert inside.identity_of(db).name in (folder / "requant.json").read_text()


def test_its_migrations_go_on(path):
    with requant.open(path) as db:
        notes = db.collection("qdrant")
        assert [each.name for each in notes.migrations] == ["second"]
        notes.migrate("third", engine="faiss")
        assert notes.rollback() == "main"
        answers(notes)


def test_a_copy_of_it_has_an_identity_of_its_own(path, tmp_path):
    shutil.copy(path, tmp_path / "copy.requant")
    with requant.open(path) as db, requant.open(tmp_path / "copy.requant") as other:
        assert inside.identity_of(db).name != inside.identity_of(other).name
        assert len(other.collection("faiss").search(np.ones(8), exact=True)) == 10

"""`requant upgrade`: tables made or brought up to date, by any name, or not at all."""

from __future__ import annotations

import shutil
import sqlite3
import tarfile
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

import requant
from requant.integration.sqlalchemy import add_tables
from requant.store import SCHEMA_VERSION
from tests.cli import refused, run

DATA = Path(__file__).parent / "data"


@pytest.fixture
def old(tmp_path):
    with tarfile.open(DATA / "schema2.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path / "schema2.requant"


def test_an_older_one_is_brought_up_once(old):
    with pytest.raises(requant.StoreError, match="requant upgrade"):
        requant.open(old, create=False)
    assert "was brought up from schema 2: schema" in run("upgrade", old).out
    assert "was up to date" in run("upgrade", old).out
    answer = run("upgrade", old, "--json").json
    assert answer == {"database": str(old), "before": SCHEMA_VERSION, "schema": SCHEMA_VERSION}
    with requant.open(old, create=False) as db:
        assert len(db.collections()) == 4


def test_one_that_cannot_be_is_what_it_was(old, tmp_path):
    with closing(sqlite3.connect(old)) as connection:
        connection.execute("UPDATE requant_meta SET value = '99' WHERE name = 'schema'")
        connection.commit()
    shutil.copy(old, tmp_path / "before")
    failed = refused("upgrade", old)
    assert "has schema 99" in failed
    assert "upgrade requant" in failed
    assert old.read_bytes() == (tmp_path / "before").read_bytes()
    assert "no such file" in refused("upgrade", tmp_path / "typo.db")
    assert not (tmp_path / "typo.db").exists()


def test_tables_of_any_name_are_made(empty_postgres, tmp_path):
    engine = sa.create_engine(empty_postgres)
    with engine.begin() as connection:
        connection.exec_driver_sql('CREATE SCHEMA "of mine"')
    try:
        options = ("--prefix", "app_", "--schema", "of mine")
        assert "has its tables now" in run("upgrade", empty_postgres, *options).out
        tables = add_tables(sa.MetaData(), prefix="app_", schema="of mine")
        with requant.open(engine, folder=tmp_path / "x", tables=tables, create=False) as db:
            assert db.create_collection("notes", 8) is not None
        assert "prefix 'a b'" in refused("upgrade", empty_postgres, "--prefix", "a b")
    finally:
        with engine.begin() as connection:
            connection.exec_driver_sql('DROP SCHEMA "of mine" CASCADE')
        engine.dispose()

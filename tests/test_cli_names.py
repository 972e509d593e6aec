"""Databases whose tables have a prefix or a schema of their own, by every command."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
import sqlalchemy as sa
import typer

import requant
from requant.integration.cli import app
from requant.integration.sqlalchemy import add_tables
from requant.store import PREFIX
from tests.cli import floats, npy, refused, run

NAMED = ("--prefix", "app_")
_commands = runpy.run_path(str(Path(__file__).parents[1] / "docs" / "make_cli.py"))["commands"]
TAKE_A_DATABASE = {
    path: command
    for path, command in _commands("requant", typer.main.get_command(app))
    if any(parameter.name == "database" for parameter in command.params)
}


@pytest.fixture
def named(tmp_path):
    """Return a database of ten items, whose tables are called app_items and so on."""
    path = tmp_path / "app.sqlite"
    run("import", npy(tmp_path / "v.npy", floats(10)), path, "notes", *NAMED)
    return path


@pytest.mark.parametrize("path", TAKE_A_DATABASE)
def test_every_command_takes_them(path):
    options = {name for p in TAKE_A_DATABASE[path].params for name in p.opts}
    assert {"--prefix", "--schema"} <= options
    (prefix,) = (p for p in TAKE_A_DATABASE[path].params if "--prefix" in p.opts)
    assert prefix.default == PREFIX


def test_every_kind_of_command_finds_the_tables(named, tmp_path):
    assert run("count", named, "notes", *NAMED, "--json").json["count"] == 10
    run("index", "add", named, "notes", "main", *NAMED)
    run("fields", "add", named, "notes", "lang", *NAMED)
    run("update", named, "notes", "3", "--metadata", '{"lang": "en"}', *NAMED)
    query = npy(tmp_path / "q.npy", floats(10)[3])
    found = run("search", named, "notes", "--vector", query, *NAMED, "--json").json["hits"][0]
    assert (found["id"], found["metadata"]) == (3, {"lang": "en"})
    for options in ((), ("--read-only",)):
        (told,) = run("stats", named, *NAMED, *options, "--json").json["collections"]
        assert told["items"] == 10
    assert run("verify", named, *NAMED, "--json").json["ok"]
    run("delete", named, "notes", "4", "--yes", *NAMED)
    with requant.open(named, tables=add_tables(sa.MetaData(), prefix="app_")) as db:
        assert len(db.collection("notes")) == 9
    with sa.create_engine(f"sqlite:///{named}").connect() as connection:
        assert all(name.startswith("app_") for name in sa.inspect(connection).get_table_names())


def test_a_backup_is_restored_under_another_name(named, tmp_path):
    run("backup", named, tmp_path / "b", *NAMED)
    run("restore", tmp_path / "b", tmp_path / "other.db", "--prefix", "x_")
    counted = run("count", tmp_path / "other.db", "notes", "--prefix", "x_", "--json")
    assert counted.json["count"] == 10


@pytest.mark.parametrize("options", [(), ("--read-only",), ("--prefix", "typo_")])
def test_who_forgets_them_is_told(named, options):
    error = refused("stats", named, *options)
    assert "is not a requant database" in error
    assert "--prefix app_ asks for them" in error
    with pytest.raises(requant.StoreError, match="--prefix app_ asks for them"):
        requant.open(named, create=False)
    assert "SQLite has none" in refused("stats", named, "--schema", "x")
    assert "prefix 'a b'" in refused("stats", named, "--prefix", "a b")


def test_an_import_beside_others_says_so(named, tmp_path):
    source = tmp_path / "v.npy"
    assert "--prefix app_" in run("import", source, named, "notes").err
    assert "--prefix" not in run("import", source, named, "notes").err  # they are there now
    assert "--prefix" not in run("import", source, named, "notes", "--prefix", "x_").err
    error = refused("stats", named, "--prefix", "typo_")
    assert "--prefix app_, or --prefix requant_, or --prefix x_ asks" in error


def test_what_is_proposed_next_says_them(named):
    assert f"{named} notes main --prefix app_\n" in run("index", "list", named, "notes", *NAMED).out
    assert "notes FIELD --prefix app_\n" in run("fields", "list", named, "notes", *NAMED).out


def test_a_schema_of_postgresql(empty_postgres, tmp_path):
    engine = sa.create_engine(empty_postgres)
    with engine.begin() as connection:
        connection.exec_driver_sql('CREATE SCHEMA "of mine"')
    try:
        words = (*NAMED, "--schema", "of mine", "--folder", tmp_path / "x")
        run("import", npy(tmp_path / "v.npy", floats(5)), empty_postgres, "notes", *words)
        assert run("count", empty_postgres, "notes", *words, "--json").json["count"] == 5
        error = refused("count", empty_postgres, "notes", "--folder", tmp_path / "x")
        assert "--prefix app_ --schema 'of mine'" in error
        error = refused("count", empty_postgres, "notes", *words[:2], "--schema", "typo")
        assert "no schema 'typo'" in error
    finally:
        with engine.begin() as connection:
            connection.exec_driver_sql('DROP SCHEMA "of mine" CASCADE')
        engine.dispose()

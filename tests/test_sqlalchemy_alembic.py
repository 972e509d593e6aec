"""Alembic beside requant: autogenerate finds no changes, and `upgrade` runs in migrations."""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata, produce_migrations, render_python_code
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.operations import Operations

import requant
from requant.errors import InputError, StoreError
from requant.integration.sqlalchemy import add_tables, include_object, upgrade
from requant.store import SCHEMA_VERSION
from tests.databases import vectors

RELEASED = Path(__file__).parent / "data" / "released"
CONVENTION = {
    "ix": "ix_%(column_0_label)s",
    "uq": "uq_%(table_name)s_%(column_0_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}
BY_NAME = {"uq": "%(constraint_name)s_u"}
ENV = """
from alembic import context
from sqlalchemy import create_engine
from requant.integration.sqlalchemy import include_object

engine = create_engine(context.config.get_main_option("sqlalchemy.url"))
with engine.connect() as connection:
    context.configure(connection=connection, include_object=include_object())
    with context.begin_transaction():
        context.run_migrations()
engine.dispose()
"""
MIGRATION = """
from alembic import op
from requant.integration.sqlalchemy import upgrade as upgrade_requant
revision, down_revision = "1", None

def upgrade():
    upgrade_requant(op.get_bind())
    {then}
"""


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request, tmp_path):
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'application.db'}"
    else:
        url = request.getfixturevalue("empty_postgres")
    engine = sa.create_engine(url)
    yield engine
    engine.dispose()


def with_articles(convention=None, schema=None):
    """Return the MetaData of an application."""
    metadata = sa.MetaData(naming_convention=convention, schema=schema)
    unique = sa.UniqueConstraint("name", name="named")
    key = sa.PrimaryKeyConstraint("id", name="key")
    columns = sa.Column("id", sa.Integer), sa.Column("name", sa.String(50))
    sa.Table("articles", metadata, *columns, unique, key)
    return metadata


def changes(engine, metadata, included=None, **options):
    with engine.connect() as connection:
        options = {"compare_type": True, "include_object": included, **options}
        context = MigrationContext.configure(connection, opts=options)
        return compare_metadata(context, metadata)


def migrate(engine, metadata):
    """Autogenerate a migration, and run it as a file of it would."""
    with engine.begin() as connection:
        context = MigrationContext.configure(connection, opts={"target_metadata": metadata})
        script = produce_migrations(context, metadata).upgrade_ops
        text = render_python_code(script)
        lines = "\n".join(line.strip() for line in text.splitlines() if not line.startswith("#"))
        with Operations.context(context) as op:
            exec(lines, {"op": op, "sa": sa})


def apply(engine, folder, then="pass"):
    (folder / "versions").mkdir(parents=True)
    (folder / "env.py").write_text(ENV)
    (folder / "versions" / "one.py").write_text(MIGRATION.format(then=then))
    config = Config()
    config.set_main_option("script_location", str(folder))
    config.set_main_option("path_separator", "os")
    config.set_main_option("sqlalchemy.url", engine.url.render_as_string(False).replace("%", "%%"))
    command.upgrade(config, "head")


@pytest.mark.parametrize(
    ("convention", "by"),
    [(c, by) for c in (None, CONVENTION) for by in ("requant", "create_all", "autogenerate")]
    + [(BY_NAME, "requant"), (BY_NAME, "create_all")],
)
def test_autogenerate_finds_nothing_in_tables_that_it_knows(engine, convention, by, tmp_path):
    metadata = with_articles(convention)
    tables = add_tables(metadata)
    if by == "create_all":
        metadata.create_all(engine)
    elif by == "autogenerate":
        migrate(engine, metadata)
    else:
        metadata.tables["articles"].create(engine)
    with requant.open(engine, folder=tmp_path / "x", tables=tables, create=by == "requant") as db:
        db.create_collection("notes", 8, index_fields=["n"]).upsert(["a"], vectors(1))
    assert changes(engine, metadata) == []
    assert changes(engine, metadata, include_object()) == []
    sa.Table("more", metadata, sa.Column("id", sa.Integer, primary_key=True))
    assert [each[0] for each in changes(engine, metadata)] == ["add_table"]


def test_autogenerate_leaves_alone_what_is_requants_own(engine, tmp_path):
    metadata, seen = with_articles(CONVENTION), []
    metadata.create_all(engine)
    tables = add_tables(sa.MetaData(), prefix="app_")

    def mine(thing, name, kind, reflected, compare_to):
        seen.append(name)
        return name != "left_alone"

    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE left_alone (id integer)")
        connection.exec_driver_sql("CREATE TABLE requant_of_mine (id integer)")
    with (
        requant.open(engine, folder=tmp_path / "x", tables=tables),
        requant.open(engine, folder=tmp_path / "y"),
    ):
        pass
    found = changes(engine, metadata, include_object(mine, tables, add_tables(sa.MetaData())))
    assert [(each[0], each[1].name) for each in found] == [("remove_table", "requant_of_mine")]
    assert "articles" in seen
    assert not {name for name in seen if name.startswith("app_")}
    assert len(changes(engine, metadata, include_object(mine))) == 1 + len(tables.every())


def test_a_schema_of_its_own(empty_postgres, tmp_path):
    engine = sa.create_engine(empty_postgres)
    metadata = with_articles(CONVENTION)
    tables = add_tables(metadata, schema="vectors")
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE SCHEMA vectors")
    migrate_options = {"include_schemas": True}
    try:
        metadata.create_all(engine)
        with requant.open(engine, folder=tmp_path / "x", tables=tables, create=False):
            pass
        assert changes(engine, metadata, **migrate_options) == []
        own = include_object(None, tables)
        assert changes(engine, with_articles(CONVENTION), own, **migrate_options) == []
    finally:
        with engine.begin() as connection:
            connection.exec_driver_sql("DROP SCHEMA vectors CASCADE")
        engine.dispose()


@pytest.mark.parametrize("path", sorted(RELEASED.glob("*.tar.xz")), ids=lambda path: path.name)
def test_databases_of_older_versions_show_no_changes(path, tmp_path):
    with tarfile.open(path) as archive:
        archive.extractall(tmp_path, filter="data")
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'notes.requant'}")
    metadata = sa.MetaData(naming_convention=CONVENTION)
    tables = add_tables(metadata)
    with engine.begin() as connection:
        upgrade(connection)
    assert changes(engine, metadata) == []
    with requant.open(engine, folder=tmp_path / "x", tables=tables, create=False) as db:
        assert db.collections()
    engine.dispose()


def older(tmp_path, name="schema2.tar.xz"):
    with tarfile.open(RELEASED.parent / name) as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path / "schema2.requant"


def test_create_false_makes_nothing_and_names_the_command(engine, tmp_path):
    folder = tmp_path / "x"
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE mine (id integer)")
    tables = add_tables(sa.MetaData(), prefix="app_")
    with pytest.raises(StoreError, match=r"lacks tables.*requant upgrade .*--prefix app_"):
        requant.open(engine, folder=folder, tables=tables, create=False)
    assert sa.inspect(engine).get_table_names() == ["mine"]
    with engine.begin() as connection:
        upgrade(connection, tables=tables)
        connection.rollback()
    assert sa.inspect(engine).get_table_names() == ["mine"]
    with engine.begin() as connection:
        upgrade(connection, tables=tables)
        connection.exec_driver_sql("DROP TABLE app_aliases")
        connection.exec_driver_sql("UPDATE app_meta SET value = '4' WHERE name = 'schema'")
    with pytest.raises(StoreError, match=r"has schema 4.*missing: app_aliases.*requant upgrade"):
        requant.open(engine, folder=folder, tables=tables, create=False)
    with engine.begin() as connection:
        upgrade(connection, tables=tables)
    with requant.open(engine, folder=folder, tables=tables, create=False) as db:
        assert db.create_collection("notes", 8).upsert(["a"], vectors(1)) == 1
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE app_meta SET value = '99' WHERE name = 'schema'")
    for call in (
        lambda: requant.open(engine, folder=folder, tables=tables, create=False),
        lambda: requant.open(engine, folder=folder, tables=tables),
    ):
        with pytest.raises(StoreError, match=r"has schema 99.*upgrade requant"):
            call()
    with engine.begin() as connection, pytest.raises(StoreError, match="upgrade requant"):
        upgrade(connection, tables=tables)


def test_no_file_is_made_where_there_is_none(tmp_path):
    with pytest.raises(StoreError, match="no such file"):
        requant.open(tmp_path / "typo.db", create=False)
    assert not list(tmp_path.iterdir())


def test_an_older_schema_is_brought_up_in_one_transaction(tmp_path):
    path = older(tmp_path)
    shutil.copy(path, tmp_path / "before")
    engine = sa.create_engine(f"sqlite:///{path}")
    with pytest.raises(StoreError, match=r"has schema 2.*requant upgrade sqlite:.*schema2\.re"):
        requant.open(path, create=False)
    before = set(sa.inspect(engine).get_table_names())
    with pytest.raises(sa.exc.OperationalError, match="nowhere"):
        apply(engine, tmp_path / "fails", then="op.execute('SELECT * FROM nowhere')")
    assert set(sa.inspect(engine).get_table_names()) - {"alembic_version"} == before
    apply(engine, tmp_path / "works")
    with requant.open(path, create=False) as db:
        assert db.collections()
    engine.dispose()


def test_a_migration_makes_the_tables(engine, tmp_path):
    apply(engine, tmp_path / "alembic", then="op.execute('CREATE TABLE mine (id integer)')")
    with requant.open(engine, folder=tmp_path / "x", create=False) as db:
        assert db.create_collection("notes", 8).upsert(["a"], vectors(1)) == 1
    with engine.connect() as connection:
        found = connection.exec_driver_sql("SELECT value FROM requant_meta WHERE name = 'schema'")
        assert found.scalar() == str(SCHEMA_VERSION)


def test_upgrade_takes_connections_that_are_there():
    with pytest.raises(InputError, match="offline mode"):
        upgrade(None)
    with pytest.raises(InputError, match="not str"):
        upgrade("sqlite://")

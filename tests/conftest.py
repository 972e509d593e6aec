"""Fixtures that several test files share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

# Before an engine is imported: the threads of several workers would wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Tests tell nobody that they run.
os.environ.setdefault("HAYSTACK_TELEMETRY_ENABLED", "False")

import requant
from requant.database import Database
from tests.databases import fresh_schema
from tests.orm_app import Application, application
from tests.postgres import find_binaries, running_server

# Programs that tests or people run; whoever looks for doctests would run them by importing them.
collect_ignore = ["data/make_schema2.py", "faults/child.py", "faults/recorder.py"]

# Those that take longest are begun first, so that no worker is left alone with one at the end.
_LONGEST = (
    "test_lancedb", "test_qdrant", "test_lancedb_s3", "test_identity", "test_faults_nth",
    "test_faiss", "test_example_articles", "test_writers_beside", "test_own_reads", "test_fork",
    "test_damaged_places", "test_stateful", "test_faults_files", "test_export_faults",
    "test_reading_values", "test_backup_faults", "test_memory", "test_reading", "test_usearch",
    "test_migrate", "test_backup", "test_update", "test_small_collections", "test_catching_up",
    "test_store_log", "test_faults_kill", "test_sample_backend", "test_packaging", "test_demo",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files that take longest first; the rest stays in its order."""
    rank = {name: place for place, name in enumerate(_LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.stem, len(rank)))


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """The SQLAlchemy URL of a private PostgreSQL server; each xdist worker starts its own."""
    if os.environ.get("REQUANT_NO_POSTGRES") == "1":
        pytest.skip("REQUANT_NO_POSTGRES=1: tests against PostgreSQL are left out")
    binaries = find_binaries()
    if binaries is None:
        pytest.fail(
            "no PostgreSQL server binaries (initdb, pg_ctl) in PATH or /usr/lib/postgresql: "
            "install them (apt-get install postgresql), or set REQUANT_NO_POSTGRES=1 to skip",
            pytrace=False,
        )
    with running_server(binaries) as url:
        yield url


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    """An empty database in a SQLite file."""
    with requant.open(tmp_path / "notes.requant") as database:
        yield database


@pytest.fixture
def empty_postgres(postgres_url: str) -> Iterator[str]:
    """The URL of a PostgreSQL database without a table, before and after."""
    fresh_schema(postgres_url)
    yield postgres_url
    fresh_schema(postgres_url)


@pytest.fixture(params=["sqlite", "postgresql"])
def app(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Application]:
    """An application with its own engine and sessions, once in SQLite and once in PostgreSQL."""
    with application(request, tmp_path) as opened:
        yield opened


@pytest.fixture(params=["sqlite", "postgresql"])
def any_db(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """An empty database, once in SQLite and once in PostgreSQL."""
    if request.param == "sqlite":
        opened = requant.open(tmp_path / "notes.requant")
    else:
        url = request.getfixturevalue("empty_postgres")
        opened = requant.open(url, folder=tmp_path / "indexes")
    with opened as database:
        yield database

"""Fixtures that several test files share."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.postgres import find_binaries, running_server


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

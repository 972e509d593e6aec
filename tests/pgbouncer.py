"""A private pgbouncer before a private PostgreSQL: pooled by the transaction, in its own folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.postgres import unprivileged_user

_SETTINGS = """
[databases]
postgres = host={server} dbname=postgres user=requant
[pgbouncer]
listen_addr =
unix_socket_dir = {folder}
unix_socket_mode = 0777
auth_type = any
pool_mode = transaction
default_pool_size = {connections}
max_client_conn = 500
query_wait_timeout = {patience}
"""


def find_pgbouncer() -> str:
    """Return the program, or skip the test where it is not installed."""
    found = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if found is None:
        pytest.skip("needs pgbouncer (apt-get install pgbouncer)")
    return found


@contextmanager
def pooled(server_url: str, connections: int = 4, patience: int = 20) -> Iterator[str]:
    """Pool `connections` to the server; yield the URL by which clients share them."""
    program = find_pgbouncer()
    folder = Path(tempfile.mkdtemp(prefix="requant-pgb-"))
    server = sa.make_url(server_url).query["host"]
    settings = folder / "pgbouncer.ini"
    settings.write_text(
        _SETTINGS.format(server=server, folder=folder, connections=connections, patience=patience)
    )
    user = unprivileged_user() if os.geteuid() == 0 else None
    if user:
        shutil.chown(folder, user)
    log = (folder / "log").open("w+")
    process = subprocess.Popen(
        [program, str(settings)], user=user, extra_groups=[] if user else None, stderr=log
    )
    try:
        url = f"postgresql+psycopg://requant@:6432/postgres?host={folder}"
        _wait(folder / ".s.PGSQL.6432", process, folder / "log")
        yield url
    finally:
        process.kill()
        process.wait(30)
        log.close()
        shutil.rmtree(folder)


def _wait(socket: Path, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 30
    while not socket.exists():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.02)

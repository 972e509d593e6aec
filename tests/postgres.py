"""A private PostgreSQL server for tests: its own folder and unix socket, gone afterwards."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# No TCP port, so that servers of parallel workers cannot collide; no fsync, since nothing is kept.
SERVER_OPTIONS = "-c listen_addresses='' -c unix_socket_directories='{folder}' -c fsync={fsync}"


def find_binaries() -> Path | None:
    """Return the folder of initdb and pg_ctl: the one in PATH, else the newest that Debian has."""
    in_path = shutil.which("initdb")
    debian = Path("/usr/lib/postgresql").glob("*/bin")
    newest_first = sorted(debian, key=lambda folder: float(folder.parent.name), reverse=True)
    folders = [Path(in_path).resolve().parent] if in_path else []
    usable = (folder for folder in [*folders, *newest_first] if (folder / "pg_ctl").exists())
    return next(usable, None)


@contextmanager
def running_server(binaries: Path, fsync: str = "off") -> Iterator[str]:
    """Start a new cluster, yield the SQLAlchemy URL of its database, and remove it all."""
    folder = Path(tempfile.mkdtemp(prefix="requant-pg-"))
    data = folder / "data"
    control = [binaries / "pg_ctl", "-D", data, "-w"]
    try:
        if os.geteuid() == 0:
            shutil.chown(folder, unprivileged_user())
        _run([binaries / "initdb", "-D", data, *_initdb_options(binaries)], folder)
        options = SERVER_OPTIONS.format(folder=folder, fsync=fsync)
        _run([*control, "-l", folder / "log", "-o", options, "start"], folder)
        try:
            yield f"postgresql+psycopg://requant@/postgres?host={folder}"
        finally:
            _run([*control, "-m", "immediate", "stop"], folder)
    finally:
        shutil.rmtree(folder)


def _initdb_options(binaries: Path) -> list[str]:
    """Return options of a database that sorts as people's databases do: not by code point."""
    options = ["-U", "requant", "-A", "trust", "-E", "UTF8", "--no-sync", "--locale=C"]
    if "--icu-locale" in _run([binaries / "initdb", "--help"], Path("/")):
        options += ["--locale-provider=icu", "--icu-locale=en-US"]
    return options


def _run(command: list[object], folder: Path) -> str:
    """Run a command, as another user if we are root: PostgreSQL refuses to run as root."""
    user = unprivileged_user() if os.geteuid() == 0 else None
    process = subprocess.run(
        [str(part) for part in command],
        cwd=folder,
        user=user,
        group=pwd.getpwnam(user).pw_gid if user else None,
        extra_groups=[] if user else None,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if process.returncode:
        log = folder / "log"
        server_log = log.read_text() if log.exists() else ""
        raise RuntimeError(f"{command[0]} failed:\n{process.stdout}{server_log}")
    return process.stdout


def unprivileged_user() -> str:
    """Return whom servers run as where we are root."""
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"

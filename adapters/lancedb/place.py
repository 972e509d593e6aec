"""Where a table is: a folder of its own, a prefix in object storage, or LanceDB Cloud."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from requant.adapters import notes
from requant.adapters.errors import CorruptIndexError, LocationTakenError
from requant.adapters.guards import whole_number
from requant.adapters.hosts import host_of
from requant.adapters.lancedb.columns import described
from requant.adapters.protocol import IndexSpec
from requant.quantizers.errors import InputError

_TABLE = "codes"
_WORD = re.compile(r"[A-Za-z0-9_-]+")
_MARKER = "requant.json"
# Files that end in the same bytes, whatever is in them.
_ENDED = (".lance", ".manifest")
_END = b"LANC"
_ENVIRONMENT = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")


@dataclass(frozen=True)
class Place:
    """A database that LanceDB connects to, and the name of a table in it.

    `folder` is the table's own, None where it is not on this machine; `remote` is LanceDB Cloud,
    which looks after indexes and versions itself.
    """

    uri: str
    table: str
    folder: Path | None = None
    remote: bool = False
    connection: Mapping[str, Any] = field(default_factory=dict, repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)

    def __str__(self) -> str:
        """Return the place as users know it, without secrets."""
        return str(self.folder) if self.folder else f"{self.uri}/{self.table}"


def place_of(location: str | None, spec: IndexSpec) -> Place:
    """Return the place that a path or URI names, with what the connection needs.

    A path is a folder that holds one table; the last part of a URI is the name of the table.
    """
    if not location:
        raise InputError("lancedb keeps an index in a folder or on a server: give its location")
    scheme = urlsplit(location).scheme if "://" in location else ""
    if scheme in ("", "file"):
        told = unquote(urlsplit(location).path) if scheme else location
        folder = Path(told).expanduser().absolute()
        return Place(str(folder), _TABLE, folder)
    host_of(location)  # refuses users and keys in it, which its errors would show
    database, _, table = location.rstrip("/").rpartition("/")
    if not table or not urlsplit(database).netloc:
        raise InputError(f"{location} names no table: its last part has to")
    seconds = whole_number(spec, "timeout", 30)
    if scheme == "db":
        return _cloud(database, table, spec, seconds)
    options = _storage_options(spec, seconds)
    known = {**{name: os.environ.get(name, "") for name in _ENVIRONMENT}, **options}
    secrets = tuple(value for name, value in known.items() if _is_secret(name))
    return Place(database, table, connection={"storage_options": options}, secrets=secrets)


def claim(folder: Path, spec: IndexSpec) -> None:
    """Make the folder of a new table and mark it as ours.

    Raises LocationTakenError unless there was nothing, or an empty folder.
    """
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise LocationTakenError(
            f"something stands at {folder} already: choose another place, or overwrite an index"
        )
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with (folder / _MARKER).open("x") as file:
            json.dump(described(spec), file)
    except FileExistsError:
        raise LocationTakenError(f"another process creates an index at {folder}") from None


def is_ours(folder: Path) -> bool:
    """Tell whether requant made the folder."""
    return (folder / _MARKER).is_file()


def remove(folder: Path) -> None:
    """Remove what requant keeps in a folder; the marker last, so that it can be tried again."""
    table = folder / f"{_TABLE}.lance"
    if table.exists():
        shutil.rmtree(table)
    notes.remove(folder)
    (folder / _MARKER).unlink(missing_ok=True)
    if not any(folder.iterdir()):
        folder.rmdir()


def sync(folder: Path, known: set[Path]) -> None:
    """Make the files of a table durable: LanceDB leaves that to the operating system.

    Its files never change, so those in `known` are left out, and the others become known. Raises
    CorruptIndexError for one that was cut: where the last write of a file fails, as on a full disk,
    LanceDB says nothing.
    """
    if os.name == "nt":
        return  # Windows cannot open a folder; its files are durable by the journal.
    for parent, _, names in os.walk(folder):
        within = Path(parent)
        new = [path for path in map(within.joinpath, names) if path not in known]
        for path in (*new, within) if new else ():
            try:
                descriptor = os.open(path, os.O_RDONLY)
            except FileNotFoundError:
                continue  # another process has cleaned up
            try:
                if path.suffix in _ENDED and path != within and not _has_end(descriptor):
                    raise CorruptIndexError(f"lancedb has not written all of {path}")
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        known.update(new)


def _has_end(descriptor: int) -> bool:
    size = os.fstat(descriptor).st_size
    return os.pread(descriptor, len(_END), max(0, size - len(_END))) == _END


def _cloud(database: str, table: str, spec: IndexSpec, seconds: int) -> Place:
    key = spec.params.get("api_key") or os.environ.get("REQUANT_LANCEDB_API_KEY")
    key = key or os.environ.get("LANCEDB_API_KEY")
    if not isinstance(key, str) or not key:
        raise InputError(
            f"{database} needs an API key: set LANCEDB_API_KEY, or pass requant.open("
            "secrets={'lancedb': {'api_key': ...}})"
        )
    told = {name: spec.params[name] for name in ("region", "host_override") if name in spec.params}
    # Both become part of a host: nothing may stand in them that makes another host of it.
    for word in (urlsplit(database).netloc, told.get("region", "us-east-1")):
        if not isinstance(word, str) or not _WORD.fullmatch(word):
            raise InputError(f"LanceDB Cloud has no database or region {str(word)[:80]!r}")
    wait = timedelta(seconds=seconds)
    limits = {"connect_timeout": wait, "read_timeout": wait}
    connection = {"api_key": key, "client_config": {"timeout_config": limits}, **told}
    return Place(database, table, remote=True, connection=connection, secrets=(key,))


def _storage_options(spec: IndexSpec, seconds: int) -> dict[str, str]:
    """Return what is told to the object store; without limits a search waits for three minutes."""
    told = spec.params.get("storage_options", {})
    if not isinstance(told, Mapping):
        raise InputError("parameter storage_options must be a dictionary")
    limits = {
        "timeout": f"{seconds}s",
        "connect_timeout": f"{min(seconds, 5)}s",
        "client_max_retries": "3",
        "client_retry_timeout": str(seconds),
    }
    return limits | {str(name): str(value) for name, value in told.items()}


def _is_secret(name: str) -> bool:
    return any(word in name.lower() for word in ("key", "secret", "token", "password", "sas"))

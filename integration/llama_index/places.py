"""Where a store is, as LlamaIndex writes it down, and what it writes of one in memory."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fsspec
import sqlalchemy as sa
from llama_index.core.utils import concat_dirs
from llama_index.core.vector_stores.simple import NAMESPACE_SEP
from llama_index.core.vector_stores.types import DEFAULT_PERSIST_FNAME

import requant
from requant.errors import CorruptDataError, ExistsError, InputError
from requant.integration.locations import MEMORY, Location, new_file, warn_if_new

if TYPE_CHECKING:
    from requant.integration.llama_index.store import RequantVectorStore

_HIDDEN = "***"
_ARGUMENTS = (
    "location", "collection_name", "metric", "engine", "precision", "full_text", "folder",
    "must_exist",
)  # fmt: skip
# SimpleVectorStore stops at this, where it would take the file for an empty store.
_ELSEWHERE = "not here: open this by requant.integration.llama_index.RequantVectorStore"


def shown(location: Location) -> str:
    """Return a location as text, a path whole, a URL without its password."""
    if isinstance(location, sa.Engine):
        return f"<engine {location.url.render_as_string(hide_password=True)}>"
    if not isinstance(location, str | os.PathLike):
        return repr(location)
    text = os.fspath(location)
    if "://" in text:
        try:
            return sa.make_url(text).render_as_string(hide_password=True)
        except sa.exc.ArgumentError:
            return text.partition("://")[0] + "://"
    return text if text in (MEMORY, "") else str(Path(text).absolute())


def arguments(data: dict[str, Any]) -> dict[str, Any]:
    """Return what opens the store that is described; raises InputError where nothing does."""
    given = {name: data[name] for name in _ARGUMENTS if name in data}
    location = given.get("location", MEMORY)
    if not isinstance(location, str | os.PathLike):
        return {**data.get("index", {}), **given}
    text = os.fspath(location)
    if text.startswith("<") or f":{_HIDDEN}@" in text:
        raise InputError(f"the store was at {text}, which nobody can open by that: give location=")
    return {**data.get("index", {}), **given}


def opened(kind: type[RequantVectorStore], data: dict[str, Any]) -> RequantVectorStore:
    """Do as `RequantVectorStore.from_dict`."""
    given = arguments(data)
    if not given.get("must_exist"):
        warn_if_new(given.get("location", MEMORY))
    return kind(**given)


def persisted(folder: str, namespace: str, fs: fsspec.AbstractFileSystem | None) -> str:
    """Return the file that StorageContext gives a store of this name in a folder."""
    name = f"{namespace}{NAMESPACE_SEP}{DEFAULT_PERSIST_FNAME}"
    return concat_dirs(folder, name) if fs is not None else str(Path(folder) / name)


def persist(store: RequantVectorStore, path: str, fs: fsspec.AbstractFileSystem | None) -> None:
    """Do as `RequantVectorStore.persist`: a line of JSON, and of what is in memory a backup."""
    if store.location.startswith("<"):
        raise InputError(
            f"the store is at {store.location}, which no file can name: open it by path or URL, or "
            "persist docstore and index_store alone, and hand the store in again"
        )
    found, whole = store.collection, store.location == MEMORY
    if found is not None and not store.client.read_only:
        found.flush()
    described = {**store.to_dict(), "whole": whole}
    if whole:
        described["must_exist"] = False  # it is in the file
    header = {"embedding_dict": _ELSEWHERE, "requant": described}
    fs = fs or fsspec.filesystem("file")
    if folder := os.fspath(path).rpartition("/")[0]:
        fs.makedirs(folder, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="requant-") as home:
        backup = Path(home) / "backup"
        if whole:
            store.client.backup(backup)
        # Beside what is there until all of it is written.
        with fs.transaction, fs.open(path, "wb") as file:
            file.write(json.dumps(header).encode() + b"\n")
            if whole:
                with backup.open("rb") as read:
                    shutil.copyfileobj(read, file)


def from_persist_path(
    kind: type[RequantVectorStore],
    path: str,
    fs: fsspec.AbstractFileSystem | None,
    location: Location | None,
) -> RequantVectorStore:
    """Do as `RequantVectorStore.from_persist_path`."""
    fs = fs or fsspec.filesystem("file")
    if not fs.exists(path):
        raise InputError(f"{path} is not there: give the file that persist has written")
    with fs.open(path, "rb") as file:
        described = _header(path, file.readline())
        whole = described.pop("whole", False)
        place = {} if location is None else {"location": location}
        given = arguments({**described, **place})
        if not whole and new_file(given.get("location", MEMORY)):
            raise InputError(
                f"{shown(given['location'])} is not there, which holds the nodes of {path}: give "
                "location=, where it is now"
            )
        store = kind(**given)
        if whole:
            try:
                _fill(store, path, file)
            except BaseException:
                store.close()
                raise
    return store


def _header(path: str, line: bytes) -> dict[str, Any]:
    try:
        found = json.loads(line)["requant"]
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptDataError(
            f"{path} is no store that RequantVectorStore has persisted; what other stores have "
            "written is read by from_existing"
        ) from error
    return dict(found)


def _fill(store: RequantVectorStore, path: str, file: Any) -> None:
    """Put the nodes of a backup into a store that has none."""
    found = store.collection
    if found is not None and len(found):
        raise ExistsError(
            f"{store!r} holds {len(found)} nodes, and what was persisted holds its own: give a "
            "location or collection_name where there are none"
        )
    with tempfile.TemporaryDirectory(prefix="requant-") as home:
        backup, restored = Path(home) / "backup", Path(home) / "store.db"
        with backup.open("wb") as whole:
            shutil.copyfileobj(file, whole)
        try:
            requant.restore(backup, restored)
        except CorruptDataError as error:
            raise CorruptDataError(
                f"{path} is damaged or cut off: persist the store again, or take another copy of it"
            ) from error
        with requant.open(restored) as database:
            if store.collection_name not in database.collections():
                return
            source = database.collection(store.collection_name)
            store.made(source.dim).upsert_many(
                {"id": item.id, "vector": item.vector, "document": item.document,
                 "metadata": item.metadata}
                for item in source.iter()
            )  # fmt: skip

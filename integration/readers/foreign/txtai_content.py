"""What belongs to the vectors of a txtai index: its SQLite database, or its list of ids."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from requant.integration.errors import SourceError
from requant.integration.readers.foreign.messagepack import unpack_list
from requant.integration.readers.foreign.unpickling import unpickle

# How a pickle of protocol 2 or later begins; no list in MessagePack does.
_PICKLE = b"\x80"


@dataclass(frozen=True)
class Section:
    """The id of a vector, with its text and metadata where the index keeps content."""

    id: Any
    text: str | None = None
    metadata: dict[str, Any] | None = None


def read_ids(path: Path) -> list[Any]:
    """Return the id at each position; None where it was deleted. Raises SourceError."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error}") from error
    if data.startswith(_PICKLE):
        # Until 7.4; a list of text and numbers needs no class at all.
        ids = unpickle(path, {})
    else:
        try:
            ids = unpack_list(data)
        except ValueError as error:
            raise SourceError(f"{path} is no list of ids: {error}") from error
    if not isinstance(ids, list):
        raise SourceError(f"{path} holds a {type(ids).__name__}, not a list of ids")
    return ids


def read_sections(path: Path, config: dict[str, Any]) -> dict[int, Section]:
    """Return the sections of an index with content, by the number of their vector.

    Raises:
        SourceError: it is no database of SQLite, it is damaged, or one id has several sections.
    """
    content = config.get("content")
    if content not in (True, "sqlite", None):
        raise SourceError(
            f"{path}: its content is kept by {str(content)[:80]!r}, only SQLite can be read: save "
            'the index again with "content": true'
        )
    try:
        database = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
        try:
            sections = dict(_sections(path, database, _text_column(config)))
        finally:
            database.close()
    except (sqlite3.Error, UnicodeDecodeError) as error:
        raise SourceError(f"{path} cannot be read: {error}") from error
    _check_unique(path, sections)
    return sections


def _text_column(config: dict[str, Any]) -> str:
    columns = config.get("columns")
    return str(columns.get("text", "text")) if isinstance(columns, dict) else "text"


def _sections(
    path: Path, database: sqlite3.Connection, text_column: str
) -> Iterator[tuple[int, Section]]:
    rows = database.execute(
        "SELECT s.indexid, s.id, s.text, s.tags, d.data "
        "FROM sections s LEFT JOIN documents d ON d.id = s.id ORDER BY s.indexid"
    )
    for number, name, text, tags, data in rows:
        try:
            metadata = json.loads(data) if data else {}
        except (ValueError, RecursionError) as error:
            raise SourceError(f"{path}, id {str(name)[:80]!r}: not JSON: {error}") from error
        # The document as it was given; its text is in the section already.
        metadata.pop(text_column, None)
        if tags is not None:
            metadata.setdefault("tags", tags)
        yield number, Section(name, text, metadata or None)


def _check_unique(path: Path, sections: dict[int, Section]) -> None:
    first: dict[Any, int] = {}
    for number, section in sections.items():
        if first.setdefault(section.id, number) != number:
            raise SourceError(
                f"{path}: id {str(section.id)[:80]!r} has several sections, {first[section.id]} "
                f"and {number}: ids must be unique; index each section under an id of its own"
            )

"""Where a table of LanceDB is: a folder `TABLE.lance`, a folder and a name, or a URL."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from requant.integration.errors import SourceError

_SUFFIX = ".lance"
_OWN = "lancedb://"
_REMOTE = ("s3://", "gs://", "az://", "s3+ddb://")


@dataclass(frozen=True)
class Place:
    """A database, and the name of a table in it."""

    uri: str
    table: str

    def __str__(self) -> str:
        """Return the place as users know it."""
        return f"{self.uri}/{self.table}"


def is_lancedb(source: str) -> bool:
    """Whether this names a table of LanceDB, or a folder of such tables."""
    if source.startswith((_OWN, *_REMOTE)):
        return True
    path = Path(source)
    return "://" not in source and (_is_table(path) or bool(_tables(path)) or _names_table(path))


def place_of(source: str) -> Place:
    """Return the place that a source means; raises SourceError if it means none."""
    if source.startswith(_REMOTE):
        return _remote(source)
    path = Path(source)
    if source.startswith(_OWN):
        path = Path(unquote(urlsplit(source).path or "/"))
        if urlsplit(source).netloc:
            raise SourceError(f"{source}: write lancedb:///folder/TABLE, with three slashes")
    if _is_table(path) or _names_table(path):
        return Place(str(path.parent), path.name.removesuffix(_SUFFIX))
    tables = _tables(path)
    if len(tables) == 1:
        return Place(str(path), tables[0])
    if not tables:
        raise SourceError(f"there is no LanceDB table at {path}")
    raise SourceError(
        f"{path} holds {len(tables)} tables, name one of: "
        + ", ".join(str(path / table) for table in tables)
    )


def _remote(source: str) -> Place:
    parts = urlsplit(source)
    if "@" in parts.netloc or parts.query or parts.fragment:
        # Not repeated in the error: it may hold a key.
        raise SourceError(
            "an address of LanceDB is s3://bucket/folder/TABLE and nothing else: keys belong in "
            "the environment, as AWS_ACCESS_KEY_ID and its like"
        )
    database, _, table = source.rstrip("/").rpartition("/")
    if not parts.netloc or not parts.path.strip("/"):
        raise SourceError(f"{source} names no table: its last part has to")
    return Place(database, table.removesuffix(_SUFFIX))


def _is_table(path: Path) -> bool:
    return path.suffix == _SUFFIX and path.is_dir()


def _names_table(path: Path) -> bool:
    return (
        not path.exists() and path.with_name(f"{path.name}{_SUFFIX}").is_dir()
        if path.name
        else False
    )


def _tables(path: Path) -> list[str]:
    if not path.is_dir():
        return []
    return sorted(found.stem for found in path.glob(f"*{_SUFFIX}") if found.is_dir())

"""Which fields of a collection are indexed, and how far each has been built."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import sqlalchemy as sa

from requant.errors import CorruptDataError
from requant.filters import field_path
from requant.store.fields.values import ITEM, NOTHING, values_of
from requant.store.schema import Tables

# A field of no name: that there is an item, which a negation has to know.
ITEMS = ""
DATETIME = "datetime"
# What `raw_decode` calls; it raises StopIteration where there is no JSON.
_decode_json: Callable[[str, int], tuple[Any, int]]
_decode_json = json.JSONDecoder().scan_once  # type: ignore[attr-defined]  # typeshed lacks it


@dataclass(frozen=True)
class FieldInfo:
    """An indexed field of metadata, which filters use once it is `ready`."""

    name: str
    kind: str | None
    ready: bool


@dataclass(frozen=True)
class Field:
    """An indexed field of a collection."""

    id: int
    name: str
    kind: str | None
    ready: bool
    built: int  # while it is not ready: all items whose key is less are listed

    @cached_property
    def path(self) -> tuple[str, ...]:
        """The keys that lead to the field."""
        return () if self.name == ITEMS else field_path(self.name)

    @property
    def dates(self) -> bool:
        """Whether texts that are dates are compared as such."""
        return self.kind == DATETIME


class Finder:
    """Finds the values of one field in metadata."""

    def __init__(self, field: Field) -> None:
        """Look for `field`."""
        self.field = field
        self._path = field.path

    def values(self, metadata: dict[str, Any] | None) -> tuple[bytes, ...]:
        """Return all that an item with these metadata is listed under."""
        if not self._path:
            return (ITEM,)
        return values_of(self._at(metadata), self.field.dates)

    def group(self, rows: Sequence[dict[str, Any] | None], first: int) -> dict[bytes, list[int]]:
        """Return the places by value of items whose metadata are `rows`, from the place `first`."""
        if not self._path:
            return {ITEM: list(range(first, first + len(rows)))}
        same: dict[Any, list[int]] = {}
        found: dict[bytes, list[int]] = {}
        for place, value in enumerate(map(self._at, rows), first):
            kind = type(value)
            if kind is list or kind is dict:
                for one in values_of(value, self.field.dates):
                    found.setdefault(one, []).append(place)
                continue
            # Each value is made bytes of once: most fields have few.
            value = value if kind is str else (kind, value)
            places = same.get(value)
            if places is None:
                same[value] = [place]
            else:
                places.append(place)
        for value, places in same.items():
            plain = value if type(value) is str else value[1]
            for one in values_of(plain, self.field.dates):
                # 1 and 1.0, or what is odd: they are listed under the same.
                known = found.get(one)
                found[one] = places if known is None else sorted({*known, *places})
        return found

    def _at(self, metadata: dict[str, Any] | None) -> Any:
        value: Any = metadata
        for key in self._path:
            value = value.get(key, NOTHING) if isinstance(value, dict) else NOTHING
        return value


def load(connection: sa.Connection, tables: Tables, collection: int) -> tuple[Field, ...]:
    """Return the fields of a collection as the transaction sees them."""
    f = tables.fields.c
    columns = (f.id, f.name, f.kind, f.ready, f.built)
    rows = connection.execute(sa.select(*columns).where(f.collection_id == collection))
    return tuple(Field(*row) for row in rows)


def field_infos(fields: Sequence[Field]) -> list[FieldInfo]:
    """Return what users are told of fields, by name."""
    infos = (FieldInfo(one.name, one.kind, one.ready) for one in fields if one.name != ITEMS)
    return sorted(infos, key=lambda info: info.name)


def find(fields: Sequence[Field], name: str) -> Field | None:
    """Return a field by name."""
    return next((field for field in fields if field.name == name), None)


def parse_metadata(text: str | None) -> dict[str, Any] | None:
    """Return stored metadata as it was given; the text is what our own encoder wrote."""
    if text is None:
        return None
    try:
        found = _decode_json(text, 0)[0]
    except (TypeError, ValueError, IndexError, RecursionError, StopIteration) as error:
        raise CorruptDataError(f"metadata {text!r:.80} is not JSON") from error
    if not isinstance(found, dict):
        raise CorruptDataError(f"metadata {text!r:.80} is no JSON object")
    return found

"""Whether the lists of indexed fields say of each item what stands in its metadata."""

from __future__ import annotations

from collections.abc import Iterator

import sqlalchemy as sa

from requant.store import (
    PART,
    CollectionRow,
    CollectionState,
    Field,
    Finder,
    Reader,
    key_range,
    packed,
    parse_metadata,
    unpacked,
)

Places = dict[bytes, list[int]]


def wrongly_listed(
    reader: Reader, owner: CollectionRow, state: CollectionState
) -> dict[str, list[int]]:
    """Return of each field that filters use, by name, the keys that its lists are wrong about."""
    fields = [field for field in reader.fields(owner.id, state.fields) if field.ready]
    wrong: dict[str, list[int]] = {field.name: [] for field in fields}
    first, _ = key_range(owner.id)
    parts = -(-(state.next_key - first) // PART)
    for part in range(parts if fields else 0):
        begin = first + part * PART
        items = [(key - begin, parse_metadata(text)) for key, text in _metadata(reader, begin)]
        for field in fields:
            expected: Places = {}
            finder = Finder(field)
            for place, metadata in items:
                for value in finder.values(metadata):
                    expected.setdefault(value, []).append(place)
            wrong[field.name] += [begin + n for n in _differing(reader, field, part, expected)]
    for field in fields:
        wrong[field.name] += [first + part * PART for part in _beyond(reader, field, parts)]
    return wrong


def _differing(reader: Reader, field: Field, part: int, expected: Places) -> list[int]:
    """Return the places about which the lists of a part say otherwise than the items."""
    v = reader.tables.values.c
    listed = sa.select(v.value, v["keys"]).where(v.field_id == field.id, v.part == part)
    found = {bytes(value): bytes(keys) for value, keys in reader.rows(listed)}
    wrong: set[int] = set()
    for value in found.keys() | expected.keys():
        places = expected.get(value, [])
        # Nearly all are as they would be written anew, which is seen at once.
        if value not in found or found[value] != packed(places):
            wrong.update(_places(found.get(value), places) ^ set(places))
    return sorted(wrong)


def _places(keys: bytes | None, expected: list[int]) -> set[int]:
    """Return the places of a list; of one that is none, any others than expected."""
    try:
        return set(unpacked(keys))
    except (ValueError, IndexError):
        return set() if expected else {0}


def _metadata(reader: Reader, begin: int) -> Iterator[tuple[int, str | None]]:
    i = reader.tables.items.c
    statement = sa.select(i.key, i.metadata).where(i.key >= begin, i.key < begin + PART)
    yield from reader.rows(statement.order_by(i.key))


def _beyond(reader: Reader, field: Field, parts: int) -> list[int]:
    """Return the parts that have lists, and no items can be in."""
    v = reader.tables.values.c
    listed = sa.select(v.part).where(v.field_id == field.id, (v.part >= parts) | (v.part < 0))
    return sorted({part for (part,) in reader.rows(listed)})

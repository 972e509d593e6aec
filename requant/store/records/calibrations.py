"""What an index was found to need for a wanted recall, kept with its row."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from typing import Any

import sqlalchemy as sa

from requant.errors import CorruptDataError, UnknownIndexError
from requant.store.engine import Store
from requant.store.records import checked
from requant.store.records.ledger import IndexRow

_MOST = 1_000_000


@dataclass(frozen=True)
class Setting:
    """How hard an index has to try so that `target` of the k nearest are found.

    `recall` is what was measured, `lower` what can be relied on. `made` is what the index was made
    of then: another quantizer, or lists for another size, may need something else.
    """

    target: float
    k: int
    effort: int | None
    oversample: float
    recall: float
    lower: float
    queries: int
    queries_from: str
    items: int
    made: str


def note(store: Store, row: IndexRow, setting: Setting) -> None:
    """Keep a setting, instead of one for the same target and k; raises UnknownIndexError."""
    t = store.tables.indexes
    at = t.c.id == row.id
    with store.writing(turn=row.collection) as connection:
        # A write that changes nothing: whoever calibrates beside waits, and reads what this leaves.
        same = sa.update(t).where(at).values(name=t.c.name).returning(t.c.info)
        found = connection.execute(same).first()
        if found is None:
            raise UnknownIndexError(f"index {row.name!r} was dropped while it was calibrated")
        others = [
            one for one in settings(found[0], row.name)
            if (one.target, one.k) != (setting.target, setting.k)
        ]  # fmt: skip
        info = {**_info(found[0], row.name), "settings": [*map(asdict, others), asdict(setting)]}
        connection.execute(sa.update(t).where(at).values(info=json.dumps(info)))


def settings(text: object, index: str) -> list[Setting]:
    """Return what the row of an index tells of it; raises CorruptDataError."""
    what = f"the calibration of index {index!r}"
    listed = _info(text, index).get("settings", [])
    if not isinstance(listed, list):
        raise CorruptDataError(f"{what} is no list")
    return [_setting(one, what) for one in listed]


def _info(text: object, index: str) -> dict[str, Any]:
    return {} if text is None else dict(checked.mapping(text, f"the info of index {index!r}"))


def _setting(found: Any, what: str) -> Setting:
    names = {field.name for field in fields(Setting)}
    if not isinstance(found, dict) or found.keys() != names:
        raise CorruptDataError(f"{what} is not what requant writes: {str(found)[:80]}")
    one = Setting(**found)
    for number in (one.k, one.queries, one.items, one.effort or 0):
        checked.whole(number, what)
    for text in (one.queries_from, one.made):
        checked.text(text, what)
    numbers = (
        (one.target, 0, 1), (one.recall, 0, 1), (one.lower, 0, 1), (one.oversample, 1, _MOST),
        (one.k, 1, _MOST), (1 if one.effort is None else one.effort, 1, _MOST),
    )  # fmt: skip
    for value, least, most in numbers:
        plain = isinstance(value, int | float) and not isinstance(value, bool)
        if not plain or not least <= value <= most:
            raise CorruptDataError(f"{what} is not what requant writes: {str(found)[:80]}")
    return one

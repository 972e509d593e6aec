"""JSON merge patches (RFC 7396) on metadata as they are stored.

Stored text is cut and joined, never made anew: what a patch does not touch stays as it was written,
to the last digit, and both databases hold the same.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from requant.errors import CorruptDataError
from requant.inputs import check_column, encode_json, metadata_text

# What becomes of each key: the JSON text of its value, another patch, or None, which removes it.
Patch: TypeAlias = "dict[str, str | Patch | None]"

_SPACE = re.compile(r"[ \t\n\r]*")
_value_at = json.JSONDecoder(parse_int=str, parse_float=str).raw_decode  # where it ends is asked


def check_patches(metadata: Any, n: int) -> Patch | list[Patch | None]:
    """Return one patch for all items, or one for each of `n`; raises InputError with the row.

    None in the place of a patch takes the metadata away. Patches nest no deeper than metadata may,
    so what they are merged into does not either.
    """
    if isinstance(metadata, Mapping):
        return check_patch(metadata)
    check_column("metadata", metadata, n)
    entries: Sequence[Any] = metadata
    return [None if entry is None else check_patch(entry, row) for row, entry in enumerate(entries)]


def check_patch(patch: Any, row: int | None = None) -> Patch:
    """Return a patch ready to be merged; raise InputError where it is no dict, or not JSON.

    >>> check_patch({"a": None, "b": {"c": 1}, "d": [1, None]})
    {'a': None, 'b': {'c': '1'}, 'd': '[1,null]'}
    """
    metadata_text(patch, row)
    return _compiled(patch)


def merged(text: str | None, patch: Patch) -> str | None:
    """Return the JSON text of metadata with a patch applied; none at all count as an empty object.

    Raises CorruptDataError if the text is not JSON.

    >>> merged('{"a":1e400,"b":{"c":1,"d":2}}', {"b": {"c": None, "e": "3"}, "f": '"g"'})
    '{"a":1e400,"b":{"d":2,"e":3},"f":"g"}'
    """
    try:
        result = _merged(text, patch)
    except (ValueError, IndexError) as error:
        raise CorruptDataError(f"stored metadata are not JSON: {error}") from error
    return None if text is None and result == "{}" else result


def _compiled(patch: Mapping[str, Any]) -> Patch:
    return {
        key: None
        if value is None
        else _compiled(value)
        if isinstance(value, dict)
        else encode_json(value)
        for key, value in patch.items()
    }


def _merged(text: str | None, patch: Patch) -> str:
    members = {} if text is None else _members(text)
    for key, change in patch.items():
        if change is None:
            members.pop(key, None)
            continue
        name, old = members.get(key, (None, None))
        value = change if isinstance(change, str) else _merged(old, change)
        members[key] = name or encode_json(key), value
    return "{" + ",".join(f"{name}:{value}" for name, value in members.values()) + "}"


def _members(text: str) -> dict[str, tuple[str, str]]:
    """Return key and value of each member of an object as they are written; none of another."""
    at = _after_space(text, 0)
    found: dict[str, tuple[str, str]] = {}
    if text[at] != "{":
        return found
    at = _after_space(text, at + 1)
    while text[at] != "}":
        key, end = _value_at(text, at)
        start = _after_space(text, _after_space(text, end) + 1)  # past the colon
        _, stop = _value_at(text, start)
        found[key] = text[at:end], text[start:stop]
        at = _after_space(text, stop)
        if text[at] == ",":
            at = _after_space(text, at + 1)
    return found


def _after_space(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    assert match is not None
    return match.end()

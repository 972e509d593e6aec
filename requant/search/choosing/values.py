"""What stands in a field of the items that are looked at."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from requant.adapters.protocol import Keys
from requant.store import Id, Reader


class FieldValues:
    """The values of one field by key, read as they are needed."""

    def __init__(self, reader: Reader) -> None:
        """Know nothing yet."""
        self._reader = reader
        # What stands in the field that was last asked for.
        self.values: dict[int, Any] = {}

    def note(self, path: tuple[str, ...], keys: Iterable[Keys]) -> None:
        """Let `values` tell what stands at `path` in the metadata of items; None for nothing."""
        unknown = {key for some in keys for key in some.tolist()} - self.values.keys()
        for key, metadata in self._reader.metadata(sorted(unknown)).items():
            self.values[key] = _value(metadata, path)

    def id_of(self, key: int) -> Id:
        """Return the id of an item."""
        return self._reader.ids([key])[key]


def _value(metadata: dict[str, Any] | None, path: tuple[str, ...]) -> Any:
    value: Any = metadata
    for name in path:
        if not isinstance(value, dict):
            return None
        value = value.get(name)
    return value

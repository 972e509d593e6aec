"""What a field of Haystack's filters names: where a collection has it, and its value in an item."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from requant.errors import FilterError
from requant.filters import field_path
from requant.integration.haystack.documents import BESIDE, document

# What a document has beside content, embedding and meta; only a document itself can tell.
_REST = ("blob", "score", "sparse_embedding")
_BESIDE = {"id": "$id", "content": "$document", "embedding": "$has_vector"}


class Found(Protocol):
    """An item or a hit."""

    @property
    def id(self) -> Any:
        """Its id."""

    @property
    def document(self) -> str | None:
        """Its text."""

    @property
    def metadata(self) -> dict[str, Any] | None:
        """Its metadata."""

    @property
    def vector(self) -> Any:
        """Its vector, if it was read."""


class Field:
    """A field as Haystack names it: `meta.lang`, `content`, or `lang` for `meta.lang`."""

    def __init__(self, name: str) -> None:
        """Find out what the name stands for."""
        self.name = name
        root, *keys = name.split(".")
        # No part of a document but meta has parts.
        self.nowhere: bool = bool(keys) and root != "meta"
        self.beside: str | None = None if keys else _BESIDE.get(name)
        self.keys: list[str] = keys if root == "meta" else [name]
        self._rest = not keys and name in _REST
        whole = self._rest or self.beside is not None or name == "meta" or self.nowhere
        # The name in a filter of requant's, if there it has one.
        self.where: str | None = None if whole else _where(self.keys)
        self.needs_vector: bool = self.beside == "$has_vector"
        self.value: Callable[[Found], Any] = self._reader()

    def _reader(self) -> Callable[[Found], Any]:
        if self.nowhere:
            return lambda item: None
        if self.beside == "$id":
            return lambda item: str(item.id)
        if self.beside == "$document":
            return lambda item: item.document
        if self.needs_vector:
            return lambda item: None if item.vector is None else item.vector.tolist()
        if self._rest:
            return self._of_document
        if self.name == "meta":
            return lambda item: _meta(item)
        return self._of_meta

    def _of_meta(self, item: Found) -> Any:
        value: Any = item.metadata
        for key in self.keys:
            if not isinstance(value, dict) or key not in value:
                return None
            value = value[key]
        return value

    def _of_document(self, item: Found) -> Any:
        whole = document(item.id, item.document, dict(item.metadata or {}))
        return getattr(whole, self.name)


def _meta(item: Found) -> dict[str, Any]:
    return {key: value for key, value in (item.metadata or {}).items() if key != BESIDE}


def _where(keys: list[str]) -> str | None:
    if any("\\" in key for key in keys):
        return None
    name = ".".join(keys)
    try:
        field_path(name)
    except FilterError:
        return None
    return name

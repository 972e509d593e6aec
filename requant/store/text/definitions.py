"""Which collections have their documents indexed by words, and how; noted by name in `meta`."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

import sqlalchemy as sa

from requant.errors import CorruptDataError, InputError, UnsupportedError
from requant.store.schema import CollectionRow, Tables

TOKENIZERS = ("unicode", "porter", "trigram")
DEFAULT = "unicode"
_NOTED = "text of "


@dataclass(frozen=True)
class TextIndex:
    """The text index of one collection, which searches use once it is `ready`."""

    collection: int
    tokenizer: str
    ready: bool

    def name(self, tables: Tables) -> str:
        """Return what its table is called, without a schema."""
        return f"{tables.prefix}text_{self.collection}"


def check_tokenizer(given: object) -> str:
    """Return the name of a tokenizer; True stands for the default. Raises InputError."""
    if given is True:
        return DEFAULT
    if not isinstance(given, str) or given not in TOKENIZERS:
        raise InputError(f"unknown tokenizer {given!r:.80}: choose one of {TOKENIZERS}")
    return given


def note_of(collection: int) -> str:
    """Return the name under which a collection's text index is noted."""
    return f"{_NOTED}{collection}"


def as_noted(index: TextIndex) -> str:
    """Return what is noted of a text index."""
    return json.dumps({"tokenizer": index.tokenizer, "ready": index.ready})


def read_note(collection: int, text: str | None) -> TextIndex | None:
    """Return what a note says, None without one; raises CorruptDataError."""
    if text is None:
        return None
    try:
        noted = json.loads(text)
        tokenizer, ready = noted["tokenizer"], noted["ready"]
    except (ValueError, TypeError, KeyError) as error:
        raise CorruptDataError(f"what is noted of a text index is {text!r:.80}") from error
    if tokenizer not in TOKENIZERS:
        raise UnsupportedError(
            f"the documents are indexed by {tokenizer!r:.80}, which a later requant knows: upgrade "
            "requant"
        )
    return TextIndex(collection, tokenizer, ready is True)


def look(connection: sa.Connection, tables: Tables, collection: int) -> TextIndex | None:
    """Return the text index of a collection, None if it has none."""
    meta = tables.meta.c
    noted = sa.select(meta.value).where(meta.name == note_of(collection))
    return read_note(collection, connection.scalar(noted))


def every(connection: sa.Connection, tables: Tables) -> list[TextIndex]:
    """Return all text indexes that are noted for collections that are there."""
    meta, numbers = tables.meta.c, connection.execute(sa.select(tables.collections.c.id)).scalars()
    there = set(numbers)
    noted = connection.execute(sa.select(meta.name, meta.value).where(meta.name.like(f"{_NOTED}%")))
    found = ((name.removeprefix(_NOTED), text) for name, text in noted)
    indexes = (read_note(int(n), text) for n, text in found if n.isdigit() and int(n) in there)
    return [index for index in indexes if index is not None]


def is_of_text(name: str, prefix: str) -> bool:
    """Whether a table is one of those that keep the words of documents, whatever the database."""
    return re.fullmatch(rf"{re.escape(prefix)}text_\d+(_[a-z]+)?", name, re.IGNORECASE) is not None


def not_indexed(owner: CollectionRow, index: TextIndex | None) -> UnsupportedError:
    """Return the error for a search by words where there is no index of them."""
    if index is None:
        return UnsupportedError(
            f"the documents of collection {owner.name!r} are not indexed by words: call "
            "index_text(), or create the collection with full_text=True"
        )
    return UnsupportedError(
        f"the text index of collection {owner.name!r} is not whole yet: it is being built, or that "
        "was interrupted; index_text() goes on"
    )

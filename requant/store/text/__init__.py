"""Documents found by the words in them: an index in the database that triggers keep in step.

`syntax` reads queries, `definitions` knows which collections are indexed, `building` makes and
removes indexes, `sqlite` and `postgresql` are how each database does it, `asking` asks them,
`at_once` by one statement where that tells all, and `scanning` looks at every document where a
query is too short for them.
"""

from __future__ import annotations

from requant.store.text.asking import matching_text, text_index
from requant.store.text.at_once import AtOnce
from requant.store.text.building import (
    Progress,
    clear_text,
    drop_text,
    index_text,
    make_text_again,
    note_text,
    remove_all_text,
    unindex_text,
)
from requant.store.text.checking import text_differs, text_out_of_step
from requant.store.text.definitions import TextIndex, check_tokenizer, is_of_text, look
from requant.store.text.syntax import TextQuery, read_query

__all__ = [
    "AtOnce",
    "Progress",
    "TextIndex",
    "TextQuery",
    "check_tokenizer",
    "clear_text",
    "drop_text",
    "index_text",
    "is_of_text",
    "look",
    "make_text_again",
    "matching_text",
    "note_text",
    "read_query",
    "remove_all_text",
    "text_differs",
    "text_index",
    "text_out_of_step",
    "unindex_text",
]

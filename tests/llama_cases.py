"""Filters for LlamaIndex's stores, and what its own reference makes of them.

The reference is `build_metadata_filter_fn`, which SimpleVectorStore filters by. It refuses nested
filters and stops where types do not go together: here a nested filter is what its parts are,
joined, and such a comparison does not match.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llama_index.core.schema import NodeRelationship, RelatedNodeInfo, TextNode
from llama_index.core.vector_stores.simple import SimpleVectorStore
from llama_index.core.vector_stores.types import (
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
)
from llama_index.core.vector_stores.utils import build_metadata_filter_fn

_METADATA: list[dict[str, Any]] = [
    {"lang": "en", "year": 1999, "score": 0.5, "tags": ["red", "new"], "open": True},
    {"lang": "de", "year": 2005, "score": 1.0, "tags": ["new"], "open": False},
    {"lang": "EN", "year": 2005.0, "score": 2, "tags": [], "open": 1},
    {"lang": "english", "year": 2024, "tags": ["red", "old", "de"], "note": ""},
    {"lang": "fr", "year": None, "score": -1.5, "tags": "red", "note": None},
    {"lang": "", "year": 0, "score": 0.0, "tags": [1, 2.5], "open": 0},
    {"year": "2005", "score": "1.0", "tags": [True, "1"], "open": "true"},
    {"lang": "Größe und Maß", "year": 1, "a.b": "dotted", "a": {"b": "inner"}},
    {"lang": "100% [sure]_", "year": True, "tags": ["100%", "en"], "a.b": "other"},
    {"lang": 'O\'Brien "x" \\ y', "year": 10**15, "tags": ["x", "y", "z"]},
    {"lang": "日本語 text", "year": -5, "numbers": [1, 2, 3], "key with space": "yes"},
    {"lang": ["en", "de"], "year": [1999], "numbers": [2], "doc_id": "mine"},
    {},
]


# No two of these are equally near to a third, so every order is the only one.
VECTORS = np.random.default_rng(13).standard_normal((len(_METADATA), 8))
QUERIES = np.random.default_rng(14).standard_normal((3, 8)).tolist()


def nodes() -> list[TextNode]:
    """Return nodes of three documents, and of none, with vectors of 8 dimensions."""
    made = []
    for place, metadata in enumerate(_METADATA):
        node = TextNode(
            id_=f"n{place}",
            text=f"the text of {place}",
            metadata=metadata,
            embedding=VECTORS[place].tolist(),
        )
        if place % 4:
            source = RelatedNodeInfo(node_id=f"doc{place % 4}")
            node.relationships = {NodeRelationship.SOURCE: source}
        made.append(node)
    return made


def reference() -> SimpleVectorStore:
    """Return LlamaIndex's own store with these nodes."""
    store = SimpleVectorStore()
    store.add(nodes())
    return store


def expected(filters: MetadataFilters, store: SimpleVectorStore) -> set[str]:
    """Return the ids that meet a filter by LlamaIndex's reference."""
    metadata = store.data.metadata_dict
    return {node_id for node_id in metadata if _meets(filters, metadata[node_id])}


def _meets(filters: MetadataFilters, metadata: dict[str, Any]) -> bool:
    if not filters.filters:
        return True
    met = [
        _meets(one, metadata) if isinstance(one, MetadataFilters) else _meets_one(one, metadata)
        for one in filters.filters
    ]
    if filters.condition == FilterCondition.OR:
        return any(met)
    return not any(met) if filters.condition == FilterCondition.NOT else all(met)


def _meets_one(one: MetadataFilter, metadata: dict[str, Any]) -> bool:
    try:
        return build_metadata_filter_fn(lambda _: metadata, MetadataFilters(filters=[one]))("")
    except TypeError:
        return False


def one(key: str, operator: str, value: Any = None) -> MetadataFilters:
    """Return a filter of one condition."""
    return MetadataFilters(filters=[_condition(key, operator, value)])


def _condition(key: str, operator: str, value: Any = None) -> MetadataFilter:
    return MetadataFilter(key=key, value=value, operator=FilterOperator(operator))


def joined(condition: str, *parts: Any) -> MetadataFilters:
    """Return conditions, as (key, operator, value) or filters, joined."""
    filters = [part if isinstance(part, MetadataFilters) else _condition(*part) for part in parts]
    return MetadataFilters(filters=filters, condition=FilterCondition(condition))


CASES: list[MetadataFilters] = [
    one("lang", "==", "en"),
    one("lang", "==", ""),
    one("lang", "==", 'O\'Brien "x" \\ y'),
    one("year", "==", 2005),
    one("year", "==", 2005.0),
    one("year", "==", "2005"),
    one("year", "==", 1),
    one("open", "==", 0),
    one("tags", "==", ["new"]),
    one("year", "==", None),
    one("missing", "==", "x"),
    one("a.b", "==", "dotted"),
    one("key with space", "==", "yes"),
    one("doc_id", "==", "doc1"),
    one("ref_doc_id", "==", "None"),
    one("document_id", "in", ["doc2", "doc3"]),
    one("_node_type", "==", "TextNode"),
    one("lang", "!=", "en"),
    one("year", "!=", 2005),
    one("year", "!=", None),
    one("missing", "!=", "x"),
    one("year", ">", 1999),
    one("year", ">=", 1999),
    one("year", "<", 1999),
    one("year", "<=", 0),
    one("score", ">", 0.5),
    one("score", "<", 0),
    one("lang", ">", "en"),
    one("lang", "<=", "de"),
    one("open", ">", 0),
    one("year", ">=", -1e300),
    one("lang", "in", ["en", "fr", "nowhere"]),
    one("year", "in", [2005, 1999]),
    one("year", "in", [1.0, 2024.0]),
    one("lang", "in", []),
    one("lang", "nin", ["en", "de"]),
    one("year", "nin", [2005]),
    one("lang", "nin", []),
    one("tags", "any", ["red", "old"]),
    one("tags", "any", []),
    one("numbers", "any", [2, 9]),
    one("tags", "all", ["red", "new"]),
    one("tags", "all", []),
    one("numbers", "all", [1, 2, 3]),
    one("tags", "contains", "red"),
    one("tags", "contains", "1"),
    one("tags", "contains", 1),
    one("numbers", "contains", 2),
    one("lang", "contains", "en"),
    one("lang", "text_match", "en"),
    one("lang", "text_match", "100% ["),
    one("lang", "text_match", ""),
    one("lang", "text_match", "Größe"),
    one("lang", "text_match_insensitive", "EN"),
    one("lang", "text_match_insensitive", "o'bRIEN"),
    one("lang", "text_match_insensitive", "GRÖSSE UND"),
    one("note", "is_empty"),
    one("tags", "is_empty"),
    one("missing", "is_empty"),
    joined("and", ("lang", "==", "de"), ("year", ">", 2000)),
    joined("and", ("lang", "!=", "en"), ("tags", "any", ["red"])),
    joined("or", ("lang", "==", "de"), ("year", "<", 2000)),
    joined("or", ("missing", "==", 1), ("note", "is_empty", None)),
    joined("not", ("lang", "==", "en")),
    joined("not", ("lang", "==", "en"), ("year", ">", 2000)),
    MetadataFilters(filters=[]),
    MetadataFilters(filters=[], condition=FilterCondition.OR),
    joined("and", joined("or", ("lang", "==", "en"), ("lang", "==", "de")), ("year", ">", 2000)),
    joined("or", joined("and", ("lang", "==", "en"), ("year", "==", 1999)), ("tags", "==", [])),
    joined("not", joined("and", ("lang", "in", ["en", "de"]), ("year", ">", 2000))),
    joined("and", joined("not", ("note", "is_empty")), joined("not", ("lang", "==", "en"))),
    joined("not", joined("not", ("year", ">=", 2005))),
    joined("or", joined("not", joined("or", ("year", ">", 0), ("year", "<=", 0)))),
]

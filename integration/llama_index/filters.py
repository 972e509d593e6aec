"""LlamaIndex's filters as requant's, with the meaning of LlamaIndex's own SimpleVectorStore.

Two values are equal as they are in Python, so 1, 1.0 and True are; a filter cannot ask for a bool
otherwise, since LlamaIndex's own type refuses one. A field that is missing, or None, meets `!=`,
`nin` and `is_empty` alone. What SimpleVectorStore stops at with a TypeError, such as the order of a
text and a number, does not match here. It refuses nested filters: here they mean what they say.
Two things are otherwise: `text_match_insensitive` forgets the case of A to Z alone, and `contains`
does not ask for the keys of an object.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from llama_index.core.vector_stores.types import (
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
)

from requant.errors import FilterError, InputError
from requant.integration.llama_index.nodes import OWN, REF

Where = dict[str, Any]
# Names that every store of LlamaIndex knows, whatever the metadata of a node says.
_KNOWN = {
    "ref_doc_id": REF,
    "doc_id": REF,
    "document_id": REF,
    "_node_type": f"{OWN}.type",
}
_ORDERS: dict[FilterOperator, tuple[str, Callable[[Any, Any], bool]]] = {
    FilterOperator.GT: ("$gt", operator.gt),
    FilterOperator.GTE: ("$gte", operator.ge),
    FilterOperator.LT: ("$lt", operator.lt),
    FilterOperator.LTE: ("$lte", operator.le),
}


def to_where(
    filters: MetadataFilters | None,
    node_ids: Sequence[str] | None = None,
    doc_ids: Sequence[str] | None = None,
) -> Where | None:
    """Return what a query asks for as a filter of requant, None for no restriction at all.

    Args:
        filters: as LlamaIndex has them; none in the list is no restriction.
        node_ids: of which a node must be one; None is no restriction.
        doc_ids: of which its document must be one; None is no restriction.

    Raises FilterError: a filter has no meaning; the text names its key and operator.
    """
    where: Where = {}
    if filters is not None and (asked := _filters(filters)):
        where["$and"] = [asked]
    if doc_ids is not None:
        where[REF] = {"$in": check_ids("doc_ids", doc_ids)}
    if node_ids is not None:
        where["$id"] = {"$in": check_ids("node_ids", node_ids)}
    return where or None


def check_ids(name: str, ids: Any) -> list[str]:
    """Return ids as a list; raises InputError for a text, which would be its letters."""
    if isinstance(ids, str) or not isinstance(ids, Iterable):
        raise InputError(f"{name} is a list of ids, not {ids!r:.80}")
    return list(ids)


def _filters(filters: MetadataFilters) -> Where:
    if not isinstance(filters, MetadataFilters):
        raise FilterError(f"filters are LlamaIndex's MetadataFilters, not {filters!r:.80}")
    if not filters.filters:
        return {}
    parts = [
        _filters(one) if isinstance(one, MetadataFilters) else _one(one) for one in filters.filters
    ]
    condition = filters.condition or FilterCondition.AND
    if condition == FilterCondition.AND:
        return {"$and": parts}
    if condition == FilterCondition.OR:
        return {"$or": parts}
    if condition == FilterCondition.NOT:
        return {"$not": {"$or": parts}}
    raise FilterError(f"unknown condition {condition!r}: there are and, or, not")


def _one(asked: MetadataFilter) -> Where:
    field = _field(asked.key)
    if asked.operator in _ORDERS:
        return _ordered(field, asked)
    make = _MAKERS.get(asked.operator)
    if make is None:
        known = ", ".join(one.value for one in FilterOperator)
        raise FilterError(
            f"filter on {asked.key!r}: unknown operator {asked.operator!r}; there are {known}"
        )
    return make(field, asked)


def _field(key: object) -> str:
    if not isinstance(key, str) or key.startswith("$") or key == OWN:
        raise FilterError(f"{key!r} is no key of metadata that a filter can ask for")
    # A key is one name, whatever it contains; to requant a dot goes into an object.
    return _KNOWN.get(key) or key.replace(".", "\\.")


def _equal(field: str, asked: MetadataFilter) -> Where:
    value = asked.value
    if value is None:
        return _nothing(field)
    return {field: {"$eq": value}} if isinstance(value, list) else _among(field, [value])


def _unequal(field: str, asked: MetadataFilter) -> Where:
    return {"$not": _equal(field, asked)}


def _ordered(field: str, asked: MetadataFilter) -> Where:
    name, holds = _ORDERS[asked.operator]
    value = asked.value
    if isinstance(value, str):
        return {field: {name: value}}
    if value is None or isinstance(value, list):
        raise _wrong(asked, "a number or a text: nothing else has an order")
    found: Where = {field: {name: value}}
    bools = [one for one in (False, True) if holds(one, value)]
    return {"$or": [found, {field: {"$in": bools}}]} if bools else found


def _in(field: str, asked: MetadataFilter) -> Where:
    return _among(field, _values(asked))


def _not_in(field: str, asked: MetadataFilter) -> Where:
    return {"$not": _in(field, asked)}


def _contains(field: str, asked: MetadataFilter) -> Where:
    if isinstance(asked.value, list):
        raise _wrong(asked, "one value; any and all take a list")
    return _has(field, asked.value)


def _any(field: str, asked: MetadataFilter) -> Where:
    values = _values(asked)
    return {"$or": [_has(field, one) for one in values]} if values else _nothing(field)


def _all(field: str, asked: MetadataFilter) -> Where:
    values = _values(asked)
    return {"$and": [_has(field, one) for one in values]} if values else {field: {"$ne": None}}


def _text(field: str, asked: MetadataFilter) -> Where:
    # The second keeps arrays out, of which the first would ask for an element.
    return {field: {"$contains": _string(asked), "$startswith": ""}}


def _text_in_any_case(field: str, asked: MetadataFilter) -> Where:
    return {field: {"$icontains": _string(asked)}}


def _empty(field: str, _: MetadataFilter) -> Where:
    return {"$or": [{field: {"$in": [None, ""]}}, {field: {"$eq": []}}]}


_MAKERS: dict[FilterOperator, Callable[[str, MetadataFilter], Where]] = {
    FilterOperator.EQ: _equal,
    FilterOperator.NE: _unequal,
    FilterOperator.IN: _in,
    FilterOperator.NIN: _not_in,
    FilterOperator.CONTAINS: _contains,
    FilterOperator.ANY: _any,
    FilterOperator.ALL: _all,
    FilterOperator.TEXT_MATCH: _text,
    FilterOperator.TEXT_MATCH_INSENSITIVE: _text_in_any_case,
    FilterOperator.IS_EMPTY: _empty,
}


def _nothing(field: str) -> Where:
    return {field: {"$in": []}}


def _among(field: str, values: Iterable[Any]) -> Where:
    return {field: {"$in": [same for value in values for same in _same(value)]}}


def _has(field: str, value: Any) -> Where:
    ways = [{field: {"$contains": same}} for same in _same(value)]
    return ways[0] if len(ways) == 1 else {"$or": ways}


def _same(value: Any) -> list[Any]:
    """Return a value and the bool that Python holds equal to it."""
    return [value, bool(value)] if isinstance(value, int | float) and value in (0, 1) else [value]


def _values(asked: MetadataFilter) -> list[Any]:
    if not isinstance(asked.value, list):
        raise _wrong(asked, "a list of values")
    return asked.value


def _string(asked: MetadataFilter) -> str:
    if not isinstance(asked.value, str):
        raise _wrong(asked, "a text")
    return asked.value


def _wrong(asked: MetadataFilter, expected: str) -> FilterError:
    return FilterError(
        f"filter on {asked.key!r}, {asked.operator.value}: it takes {expected}, not "
        f"{asked.value!r:.80}"
    )

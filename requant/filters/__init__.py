"""Filters on metadata: a Mongo-like mapping becomes one SQL expression with bound parameters only.

A filter maps fields to values or to operators; everything in one mapping holds at once. `{}`
matches every item, and an item without metadata is one whose metadata is `{}`. A dot goes into an
object: `{"author.name": "Eve"}`; arrays are not indexed, so `"tags.0"` means a key called "0". A dot
of a key's own is written `\\.`: `{"v1\\.0": True}` (in Python, `"v1\\\\.0"`).

| filter | matches |
|---|---|
| `{"f": v}`, `{"f": {"$eq": v}}` | the field equals `v`, a string, number or bool, or a list of these and None: the whole array, in its order |
| `{"f": None}`, `{"f": {"$eq": None}}` | the field is null or missing |
| `{"f": {"$gt": v}}`, `$gte $lt $lte` | a number compared with a number, a string with a string |
| `{"f": {"$in": [v, ...]}}` | the field equals one of them; None means null or missing |
| `{"f": {"$exists": True}}` | the key is there, even if its value is null |
| `{"f": {"$contains": v}}` | a string that has the substring `v` (case counts, no wildcards), or an array with an element equal to `v` (None: a null) |
| `{"f": {"$startswith": v}}` | a string that begins with `v` (case counts, no wildcards) |
| `{"f": {"$icontains": v}}` | a string that has the substring `v`, where the case of A to Z does not count (of other letters it does) |
| `{"f": {"$ne": v}}`, `{"f": {"$nin": [...]}}` | exactly what `$eq`, `$in` do not match, so a missing field too |
| `{"f": {"$not": {...}}}`, `{"$not": {...}}` | exactly what the operators, or the filter, inside do not match |
| `{"$id": v}`, `{"$id": {"$in": [...]}}` | the item's id equals `v`, or one of as many as you like; `$ne`, `$nin` and `$not` too |
| `{"$document": {"$contains": v}}` | the item's document, asked like a field that holds a string; None: it has none |
| `{"$has_vector": True}` | the item has a vector |
| `{"$and": [...]}`, `{"$or": [...]}` | all, or at least one, of the filters; the list is not empty |

Types are strict: `1 == 1.0`, but `"1" != 1` and `True != 1`. A comparison across types, with null
or with a missing field does not match; it is false, never unknown, so a negation is exact. Strings
compare by code point. Integers within int64 compare exactly with integers, floats with floats; an
integer with a float exactly up to 2**53, above that as the database rounds them.

A field that is indexed with `kind="datetime"` (`Collection.index_field`) compares instants: where the
value of the filter is an ISO 8601 date or time ("2024-05-01", "2024-05-01T10:00:00.5+02:00"), `$eq`,
`$ne`, `$in`, `$nin`, `$gt`, `$gte`, `$lt` and `$lte` look at the texts that are such dates themselves,
and at nothing else. Without an offset a time is UTC; a date alone is the beginning of its day; digits
after the microseconds do not count; a date that is none ("2024-02-30", "someday") is a text as any
other. Other values, other operators and the elements of arrays are compared as everywhere. It begins
once the field is built and ends with `unindex_field`. All other indexed fields change no answer.

What has no meaning is refused with a FilterError: an unknown operator, equality with a
mapping or a list of lists, the order of a bool or None, an integer outside int64, NaN, more than 20 levels, more than
500 conditions, more than 10,000 values in a list, a field name with a quote, control
character, or a backslash that is not before a dot.
"""  # noqa: E501

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

from sqlalchemy import ColumnElement, and_, false, func, not_, or_, true

from requant.errors import FilterError, UnsupportedError
from requant.filters import postgresql, sqlite, tree
from requant.filters.among import check_select, is_read_as_stored, select_keys
from requant.filters.ids import named_ids
from requant.filters.parse import field_path, parse
from requant.filters.tree import All, Columns, FieldCondition, HasVector, Node, Not, Some
from requant.filters.values import select_kinds, select_values

__all__ = [
    "Columns",
    "Filter",
    "FilterError",
    "check_select",
    "compile_where",
    "field_path",
    "is_read_as_stored",
    "named_ids",
    "parse",
    "read_where",
    "select_keys",
    "select_kinds",
    "select_values",
    "tree",
]


class _Dialect(Protocol):
    def condition(self, node: FieldCondition, columns: Columns) -> ColumnElement[bool]: ...


_DIALECTS: dict[str, _Dialect] = {"sqlite": sqlite, "postgresql": postgresql}


@dataclass(frozen=True)
class Filter:
    """A filter that has been read: its tree, and what any part of it is in SQL."""

    node: Node
    columns: Columns
    dialect: str

    @cached_property
    def condition(self) -> ColumnElement[bool]:
        """The whole of it, true or false for every row."""
        return self.sql(self.node)

    @cached_property
    def text(self) -> str:
        """What two filters have in common that mean the same, type and all."""
        return repr(self.node)

    def sql(self, node: Node) -> ColumnElement[bool]:
        """Return a part of it as an SQL expression."""
        return _expression(node, self.columns, _DIALECTS[self.dialect])

    def __clause_element__(self) -> ColumnElement[bool]:
        """Stand for its condition where SQLAlchemy expects one."""
        return self.condition


def read_where(where: Mapping[str, Any], columns: Columns, dialect: str) -> Filter:
    """Read a filter; the arguments and what is raised are those of `compile_where`."""
    if dialect not in _DIALECTS:
        known = ", ".join(_DIALECTS)
        raise UnsupportedError(f"no metadata filters for dialect {dialect!r}; available: {known}")
    return Filter(parse(where), columns, dialect)


def compile_where(where: Mapping[str, Any], columns: Columns, dialect: str) -> ColumnElement[bool]:
    """Return `where` as an SQL expression over `columns`, true or false for every row.

    Arguments:
        where: the filter; the module's docstring has the operators.
        columns: a text column that holds a JSON object or NULL, and what items have beside it.
        dialect: "sqlite" or "postgresql".

    Raises:
        FilterError: `where` is malformed; the text names the field, the operator and the cure.
        UnsupportedError: another dialect.

    >>> from sqlalchemy import column
    >>> print(compile_where({"year": {"$exists": True}}, Columns(column("metadata")), "sqlite"))
    coalesce(json_type(metadata, :param_1) IS NOT NULL, false)
    """
    return read_where(where, columns, dialect).condition


def _expression(node: Node, columns: Columns, dialect: _Dialect) -> ColumnElement[bool]:
    if isinstance(node, Not):
        return not_(_expression(node.part, columns, dialect))
    if isinstance(node, All | Some):
        parts = sorted(node.parts, key=_parser_stack, reverse=True)
        expressions = (_expression(part, columns, dialect) for part in parts)
        return and_(true(), *expressions) if isinstance(node, All) else or_(false(), *expressions)
    if isinstance(node, HasVector):
        assert columns.has_vector is not None
        return columns.has_vector
    # A missing field makes functions return NULL; from here on there are only true and false.
    return func.coalesce(dialect.condition(node, columns), false())


def _parser_stack(node: Node) -> int:
    """Return about how many symbols SQLite's parser, which has room for 100, holds at once.

    A nested part costs one symbol at the front, for its parenthesis, and three further back, so
    whatever nests deepest goes to the front.
    """
    if isinstance(node, Not):
        return 2 + _parser_stack(node.part)
    if isinstance(node, All | Some):
        first, *rest = sorted(map(_parser_stack, node.parts), reverse=True) or [0]
        return max(first + 1, max(rest, default=0) + 3)
    return 10

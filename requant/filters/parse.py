"""A filter as a tree of checked conditions: whatever leaves here can be compiled to SQL."""

from __future__ import annotations

import json
import math
import reprlib
from collections.abc import Mapping
from typing import Any

from requant.errors import FilterError
from requant.filters.tree import (
    All,
    Compare,
    Contains,
    Equals,
    Exists,
    Node,
    Not,
    Null,
    OneOf,
    Path,
    Scalar,
    Some,
)

COMPARISONS = ("$gt", "$gte", "$lt", "$lte")
OPERATORS = ("$eq", "$ne", *COMPARISONS, "$in", "$nin", "$exists", "$contains", "$not")
CONNECTIVES = ("$and", "$or", "$not")

MAX_LEVELS = 20  # SQLite's parser has a stack of 100 symbols
MAX_CONDITIONS = 500  # SQLite's expressions are at most 1,000 deep, and a chain of ORs is deep
MAX_VALUES = 10_000
MAX_PARTS = 50


def parse(where: object) -> Node:
    """Return `where` as a tree; raises FilterError where it cannot be used."""
    return _Parser().filter(where, level=0)


class _Parser:
    def __init__(self) -> None:
        self._size = 0

    def filter(self, where: object, level: int) -> Node:
        self._count(level)
        if not isinstance(where, Mapping):
            raise FilterError(f'a filter is a mapping such as {{"lang": "en"}}, not {_show(where)}')
        return _all(tuple(self._entry(key, operand, level) for key, operand in where.items()))

    def _entry(self, key: object, operand: object, level: int) -> Node:
        if not isinstance(key, str):
            raise FilterError(f"a field is named by a string, not {_show(key)}")
        if key == "$not":
            return Not(self.filter(operand, level + 1))
        if key in CONNECTIVES:
            filters = _filter_list(key, operand)
            parts = tuple(self.filter(part, level + 1) for part in filters)
            return _all(parts) if key == "$and" else Some(parts)
        if key in OPERATORS:
            raise FilterError(
                f'{key} stands where a field is expected; write {{"field": {{"{key}": value}}}}'
            )
        if key.startswith("$"):
            raise FilterError(
                f"unknown operator {_show(key)}; between filters there are "
                f"{', '.join(CONNECTIVES)}, and no field can begin with $"
            )
        return self._field(_Field(key), operand, level)

    def _field(self, field: _Field, operand: object, level: int) -> Node:
        if isinstance(operand, Mapping):
            return self._operators(field, operand, level)
        self._count(level)
        return field.equals("$eq", operand)

    def _operators(self, field: _Field, operators: object, level: int) -> Node:
        if not isinstance(operators, Mapping) or not operators:
            raise field.error(
                "$not",
                f'expects operators such as {{"$gt": 1}}, not {_show(operators)}; '
                f'a field inside is written "{_show_name(field.name)}.inner"',
            )
        return _all(tuple(self._operator(field, *entry, level) for entry in operators.items()))

    def _operator(self, field: _Field, operator: object, operand: object, level: int) -> Node:
        self._count(level)
        if operator == "$not":
            return Not(self._operators(field, operand, level + 1))
        return field.condition(operator, operand)

    def _count(self, level: int) -> None:
        self._size += 1
        if level > MAX_LEVELS:
            raise FilterError(f"filters nest at most {MAX_LEVELS} levels deep; flatten this one")
        if self._size > MAX_CONDITIONS:
            raise FilterError(
                f"a filter has at most {MAX_CONDITIONS} conditions; "
                "write many values of one field as $in"
            )


class _Field:
    """One field of a filter: its path, and its conditions."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.path = _path(name)

    def error(self, operator: str, text: str) -> FilterError:
        return FilterError(f"field {_show(self.name)}, {operator}: {text}")

    def condition(self, operator: object, operand: object) -> Node:
        if operator in ("$eq", "$ne"):
            node = self.equals(str(operator), operand)
            return node if operator == "$eq" else Not(node)
        if operator in ("$in", "$nin"):
            node = self._one_of(str(operator), operand)
            return node if operator == "$in" else Not(node)
        if operator in COMPARISONS:
            return self._compare(str(operator), operand)
        if operator == "$exists":
            return self._exists(operand)
        if operator == "$contains":
            return Contains(self.path, self._scalar("$contains", operand))
        raise FilterError(
            f"field {_show(self.name)}: {_show(operator)} is not an operator; there are "
            f'{", ".join(OPERATORS)}, and a field inside is written "{_show_name(self.name)}.inner"'
        )

    def equals(self, operator: str, operand: object) -> Node:
        value = self._scalar(operator, operand)
        return Null(self.path) if value is None else Equals(self.path, value)

    def _one_of(self, operator: str, operand: object) -> Node:
        if not isinstance(operand, list | tuple | set | frozenset):
            raise self.error(operator, f"expects a list of values, not {_show(operand)}")
        if len(operand) > MAX_VALUES:
            raise self.error(
                operator, f"has {len(operand)} values; at most {MAX_VALUES}, so split the query"
            )
        values = [self._scalar(operator, value) for value in operand]
        found = OneOf(self.path, tuple(value for value in values if value is not None))
        return Some((Null(self.path), found)) if None in values else found

    def _compare(self, operator: str, operand: object) -> Node:
        value = self._scalar(operator, operand)
        if value is None or isinstance(value, bool):
            raise self.error(operator, f"{value} has no order; compare with a number or a string")
        return Compare(self.path, operator, value)

    def _exists(self, operand: object) -> Node:
        if not isinstance(operand, bool):
            raise self.error("$exists", f"expects True or False, not {_show(operand)}")
        return Exists(self.path) if operand else Not(Exists(self.path))

    def _scalar(self, operator: str, value: object) -> Scalar | None:
        wrong = _unusable(value)
        if wrong:
            raise self.error(operator, wrong)
        # Subclasses (enums, numpy.float64, numpy.str_) become what JSON makes of them.
        plain: Scalar | None = json.loads(json.dumps(value))
        return plain


def _unusable(value: object) -> str | None:
    """Return why a value cannot be an operand, or None."""
    if value is None or isinstance(value, bool):
        return None
    if isinstance(value, str):
        return _unusable_text(value)
    if isinstance(value, int):
        fits = -(2**63) <= value < 2**63
        return None if fits else "an integer outside int64; store such numbers as strings"
    if isinstance(value, float):
        return None if math.isfinite(value) else f"{value} is not a number that JSON can hold"
    if isinstance(value, list | tuple | set | frozenset):
        return (
            f"a list is no value here: $in finds one of many, $contains an element: {_show(value)}"
        )
    if isinstance(value, Mapping):
        return f'a mapping is no value here; ask for its fields, as "field.inner": {_show(value)}'
    return f"{_show(value)} is a {type(value).__name__}; use a string, a number, a bool or None"


def _unusable_text(text: str) -> str | None:
    if "\0" in text:
        return f"{_show(text)} holds a NUL character, which no stored string has"
    if not _encodable(text):
        return f"{_show(text)} holds half a surrogate pair, which no stored string has"
    return None


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _path(name: str) -> Path:
    # json.dumps escapes these in a key, and SQLite before 3.45 compares a path with escaped keys.
    if any(char in '"\\' or char < " " for char in name) or not _encodable(name):
        raise FilterError(
            f"field {_show(name)}: a name that can be filtered has no double quote, backslash, "
            "control character or half surrogate pair; rename the key"
        )
    parts = tuple(name.split("."))
    if not all(parts):
        raise FilterError(
            f'field {_show(name)}: an empty name; write keys with single dots between, as "a.b"'
        )
    if len(parts) > MAX_PARTS:
        raise FilterError(f"field {_show(name)}: at most {MAX_PARTS} keys deep")
    return parts


def _filter_list(operator: str, operand: object) -> list[Any] | tuple[Any, ...]:
    if not isinstance(operand, list | tuple) or not operand:
        raise FilterError(f"{operator} expects a non-empty list of filters, not {_show(operand)}")
    return operand


def _all(parts: tuple[Node, ...]) -> Node:
    return parts[0] if len(parts) == 1 else All(parts)


def _show(value: object) -> str:
    return reprlib.repr(value)


def _show_name(name: str) -> str:
    return _show(name)[1:-1]

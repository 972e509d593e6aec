"""A filter as a tree of checked conditions: whatever leaves here can be compiled to SQL."""

from __future__ import annotations

import json
import math
import re
import reprlib
from collections.abc import Mapping
from typing import Any, Literal
from uuid import UUID

from requant.errors import FilterError
from requant.filters.tree import (
    All,
    Beside,
    Compare,
    Contains,
    Equals,
    EqualsList,
    Exists,
    HasText,
    HasVector,
    Node,
    Not,
    Null,
    OneOf,
    Scalar,
    Some,
)

COMPARISONS = ("$gt", "$gte", "$lt", "$lte")
TEXT_OPERATORS = ("$contains", "$icontains", "$startswith")
OPERATORS = ("$eq", "$ne", *COMPARISONS, "$in", "$nin", "$exists", *TEXT_OPERATORS, "$not")
CONNECTIVES = ("$and", "$or", "$not")
# What an item has beside its metadata.
BESIDE: dict[str, Beside] = {"$id": "id", "$document": "document"}
HAS_VECTOR = "$has_vector"
# Ids are texts to the database: their order would surprise whoever has numbers.
ID_OPERATORS = ("$eq", "$ne", "$in", "$nin", "$not")

MAX_LEVELS = 20  # SQLite's parser has a stack of 100 symbols
MAX_CONDITIONS = 500  # SQLite's expressions are at most 1,000 deep, and a chain of ORs is deep
MAX_VALUES = 10_000
MAX_PARTS = 50
MAX_LIST = 100  # values of a list that a field is to equal


# A dot between two keys, and not one of a key's own.
_SINGLE_DOT = re.compile(r"(?<!\\)\.")


def parse(where: object) -> Node:
    """Return `where` as a tree; raises FilterError where it cannot be used."""
    return _Parser().filter(where, level=0)


def field_path(name: object) -> tuple[str, ...]:
    """Return the keys that lead to a field of the metadata; raises FilterError where none can."""
    if not isinstance(name, str):
        raise FilterError(f"a field is named by a string, not {_show(name)}")
    if name.startswith("$"):
        raise FilterError(
            f"{_show(name)} is no field of the metadata; ids() and iter() tell of the rest, and "
            "no field can begin with $"
        )
    return _path(name)


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
        if key == HAS_VECTOR:
            return self._has_vector(operand, level)
        if key.startswith("$") and key not in BESIDE:
            raise FilterError(
                f"unknown operator {_show(key)}; between filters there are "
                f"{', '.join(CONNECTIVES)}, of items {', '.join((*BESIDE, HAS_VECTOR))}, "
                "and no field can begin with $"
            )
        return self._field(_Field(key), operand, level)

    def _has_vector(self, operand: object, level: int) -> Node:
        self._count(level)
        if not isinstance(operand, bool):
            raise FilterError(f"{HAS_VECTOR} expects True or False, not {_show(operand)}")
        return HasVector() if operand else Not(HasVector())

    def _field(self, field: _Field, operand: object, level: int) -> Node:
        if isinstance(operand, Mapping):
            return self._operators(field, operand, level)
        self._count_all(operand, level)
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
        self._count_all(operand if operator in ("$eq", "$ne") else None, level)
        if operator == "$not":
            return Not(self._operators(field, operand, level + 1))
        return field.condition(operator, operand)

    def _count_all(self, operand: object, level: int) -> None:
        """Count a condition, and one more for each value of a list that a field is to equal."""
        for _ in range(1 + len(operand) if isinstance(operand, list | tuple) else 1):
            self._count(level)

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
        self.path = BESIDE[name] if name in BESIDE else _path(name)

    def error(self, operator: str, text: str) -> FilterError:
        return FilterError(f"field {_show(self.name)}, {operator}: {text}")

    def condition(self, operator: object, operand: object) -> Node:
        if self.path == "id" and operator not in ID_OPERATORS:
            raise FilterError(
                f"$id: {_show(operator)} cannot be asked of an id; there are "
                f"{', '.join(ID_OPERATORS)}"
            )
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
        if operator == "$icontains" or operator == "$startswith":
            return self._has_text(operator, operand)
        raise FilterError(
            f"field {_show(self.name)}: {_show(operator)} is not an operator; there are "
            f'{", ".join(OPERATORS)}, and a field inside is written "{_show_name(self.name)}.inner"'
        )

    def equals(self, operator: str, operand: object) -> Node:
        if isinstance(operand, list | tuple) and not isinstance(self.path, str):
            return self._equals_list(self.path, operator, operand)
        value = self._scalar(operator, operand)
        return Null(self.path) if value is None else Equals(self.path, value)

    def _equals_list(
        self, path: tuple[str, ...], operator: str, operand: list[Any] | tuple[Any, ...]
    ) -> Node:
        if len(operand) > MAX_LIST:
            raise self.error(operator, f"a list of {len(operand)} values; at most {MAX_LIST}")
        return EqualsList(path, tuple(self._scalar(operator, value) for value in operand))

    def _has_text(self, operator: Literal["$icontains", "$startswith"], operand: object) -> Node:
        value = self._scalar(operator, operand)
        if not isinstance(value, str):
            raise self.error(operator, f"expects a string, not {_show(operand)}")
        return HasText(self.path, operator, value)

    def _one_of(self, operator: str, operand: object) -> Node:
        if not isinstance(operand, list | tuple | set | frozenset):
            raise self.error(operator, f"expects a list of values, not {_show(operand)}")
        if len(operand) > MAX_VALUES and self.path != "id":
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
        if self.path == "id" and isinstance(value, int | UUID) and not isinstance(value, bool):
            value = str(value)  # as it is stored
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
            "a list is no value here, unless a field is to equal it: $in finds one of many, "
            f"$contains an element: {_show(value)}"
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


def _path(name: str) -> tuple[str, ...]:
    # json.dumps escapes these in a key, and SQLite before 3.45 compares a path with escaped keys.
    parts = tuple(part.replace("\\.", ".") for part in _SINGLE_DOT.split(name))
    if any(char in '"\\' or char < " " for char in "".join(parts)) or not _encodable(name):
        raise FilterError(
            f"field {_show(name)}: a name that can be filtered has no double quote, backslash (but "
            "before a dot that belongs to the name), control character or half surrogate pair; "
            "rename the key"
        )
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

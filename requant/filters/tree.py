"""What a filter is once it is read: conditions on fields, and what connects them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from sqlalchemy import ColumnElement

Scalar: TypeAlias = str | int | float | bool
# The keys that lead to a field of the metadata, or the name of a text that an item has beside it.
Path: TypeAlias = "tuple[str, ...] | Beside"
Beside: TypeAlias = Literal["id", "document"]


@dataclass(frozen=True)
class Columns:
    """Where a filter finds what it asks for; `beside` are texts that stand beside the metadata."""

    metadata: ColumnElement[str]
    beside: Mapping[Beside, ColumnElement[Any]] = field(default_factory=dict)
    has_vector: ColumnElement[bool] | None = None


@dataclass(frozen=True)
class Null:
    """The field is null or missing."""

    path: Path


@dataclass(frozen=True)
class Exists:
    """The key is there, whatever its value."""

    path: Path


@dataclass(frozen=True)
class Equals:
    """The field equals the value, type and all."""

    path: Path
    value: Scalar


@dataclass(frozen=True)
class EqualsList:
    """The field is an array of these values, in this order, type and all."""

    path: tuple[str, ...]
    values: tuple[Scalar | None, ...]


@dataclass(frozen=True)
class OneOf:
    """The field equals one of the values, type and all."""

    path: Path
    values: tuple[Scalar, ...]


@dataclass(frozen=True)
class Compare:
    """The field has the value's type, number or string, and stands before or after it."""

    path: Path
    operator: str
    value: str | int | float


@dataclass(frozen=True)
class Contains:
    """The field is a string with this substring or an array with this element."""

    path: Path
    value: Scalar | None


@dataclass(frozen=True)
class HasText:
    """The field is a string that begins with this one, or has it inside in whatever case of A-Z."""

    path: Path
    operator: Literal["$startswith", "$icontains"]
    value: str


@dataclass(frozen=True)
class HasVector:
    """The item has a vector."""


@dataclass(frozen=True)
class Not:
    """What the part does not match."""

    part: Node


@dataclass(frozen=True)
class All:
    """What every part matches."""

    parts: tuple[Node, ...]


@dataclass(frozen=True)
class Some:
    """What at least one part matches."""

    parts: tuple[Node, ...]


FieldCondition: TypeAlias = (
    Null | Exists | Equals | EqualsList | OneOf | Compare | Contains | HasText
)
Condition: TypeAlias = FieldCondition | HasVector
Node: TypeAlias = Condition | Not | All | Some

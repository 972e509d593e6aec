"""What a filter is once it is read: conditions on fields, and what connects them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

Scalar: TypeAlias = str | int | float | bool
Path: TypeAlias = tuple[str, ...]


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


Condition: TypeAlias = Null | Exists | Equals | OneOf | Compare | Contains
Node: TypeAlias = Condition | Not | All | Some

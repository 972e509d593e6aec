"""What one condition of a filter asks of an indexed field: values, and ranges of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from requant.filters import tree
from requant.store.fields import values as v
from requant.store.fields.definitions import Field

Leaf = (
    tree.Null
    | tree.Exists
    | tree.Equals
    | tree.EqualsList
    | tree.OneOf
    | tree.Compare
    | tree.Contains
    | tree.HasText
)


@dataclass(frozen=True)
class Inside:
    """A text within the texts of a field, with the case of A to Z or without."""

    text: str
    operator: Literal["$contains", "$icontains"]


@dataclass(frozen=True)
class Question:
    """Which items are listed under one of the values, in one of the ranges, or have a text inside.

    `odd`: those that are listed as odd may meet the condition, too. `certain`: those that are
    found meet it; else they may. `denied`: it asks for all items but these.
    """

    points: tuple[bytes, ...] = ()
    ranges: tuple[tuple[bytes, bytes], ...] = ()
    inside: Inside | None = None
    odd: bool = True
    certain: bool = True
    denied: bool = False

    def accepts(self, listed: tuple[bytes, ...]) -> bool:
        """Tell whether an item that is listed under these values is found; of dates alone."""
        return any(
            one in self.points or any(low <= one < high for low, high in self.ranges)
            for one in listed
        )


def question(node: Leaf, field: Field) -> Question:
    """Return what a condition on `field` asks of it."""
    if isinstance(node, tree.Null):
        return Question((v.MISSING, v.NULL), odd=False)
    if isinstance(node, tree.Exists):
        return Question((v.MISSING,), odd=False, denied=True)
    if isinstance(node, tree.EqualsList):
        return Question((v.ARRAY,), certain=False)
    if of_dates(node, field):
        return _of_dates(node)
    if isinstance(node, tree.Equals):
        return Question(_points([node.value]))
    if isinstance(node, tree.OneOf):
        return Question(_points(node.values))
    if isinstance(node, tree.Compare):
        return Question(ranges=(_range(node.operator, _whole(node.value)),))
    if isinstance(node, tree.HasText):
        if node.operator == "$icontains":
            return Question(inside=Inside(node.value, "$icontains"))
        prefix = v.TEXT + node.value.encode()
        return Question(ranges=((prefix, v.beyond(prefix)),))
    element = v.scalar(node.value)
    points = () if element is None else (v.ELEMENT + element,)
    inside = Inside(node.value, "$contains") if isinstance(node.value, str) else None
    return Question(points, inside=inside)


def of_dates(node: tree.Node, field: Field | None) -> bool:
    """Whether a condition compares dates as instants: SQL on the items would compare texts."""
    if field is None or not field.dates:
        return False
    if isinstance(node, tree.OneOf):
        return any(_instant(value) is not None for value in node.values)
    return isinstance(node, tree.Equals | tree.Compare) and _instant(node.value) is not None


def both(one: Question, other: Question) -> Question:
    """Return the question for what lies in a range of each: of a field that holds one value."""
    ((low, high),), ((other_low, other_high),) = one.ranges, other.ranges
    return replace(one, ranges=((max(low, other_low), min(high, other_high)),))


def apart(node: tree.OneOf) -> tree.Some | None:
    """Return one of several as dates and as others, where it has both."""
    dates = tuple(value for value in node.values if _instant(value) is not None)
    if len(dates) == len(node.values):
        return None
    others = tuple(value for value in node.values if _instant(value) is None)
    return tree.Some((tree.OneOf(node.path, dates), tree.OneOf(node.path, others)))


def _of_dates(node: Leaf) -> Question:
    if isinstance(node, tree.Compare):
        when = _instant(node.value)
        assert when is not None
        return Question(ranges=(_range(node.operator, v.instant_bytes(when)),), odd=False)
    assert isinstance(node, tree.Equals | tree.OneOf)
    given = node.values if isinstance(node, tree.OneOf) else (node.value,)
    whens = {when for value in given if (when := _instant(value)) is not None}
    return Question(tuple(map(v.instant_bytes, sorted(whens))), odd=False)


def _instant(value: object) -> int | None:
    return v.instant(value) if isinstance(value, str) else None


def _points(values: list[tree.Scalar] | tuple[tree.Scalar, ...]) -> tuple[bytes, ...]:
    found = {v.scalar(value) for value in values}
    return tuple(sorted(one for one in found if one is not None))


def _whole(value: str | int | float) -> bytes:
    """Return the bytes of an operand, which may be longer than any that is listed."""
    return v.TEXT + value.encode() if isinstance(value, str) else v.NUMBER + v.number(value)


def _range(operator: str, value: bytes) -> tuple[bytes, bytes]:
    kind = value[:1]
    if operator in ("$gt", "$gte"):
        return (v.after(value) if operator == "$gt" else value), v.beyond(kind)
    return kind, (value if operator == "$lt" else v.after(value))

"""Results by group: the k groups whose best items are nearest, with up to so many items each.

The nearest items are looked at, four times as many each time, until they make k full groups. Where
one group has them all, or where fewer groups exist, the search goes on among the items of no full
group: a filter says which those are, so that nothing is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from requant.errors import InputError
from requant.quantizers.arrays import Float32s
from requant.search.choosing.values import FieldValues
from requant.search.request import Found
from requant.search.scanning import nothing

if TYPE_CHECKING:
    from requant.search.finder import Ranked

# The value of a group, and its type: True and 1 are two, 1 and 1.0 are one.
_Value = tuple[bool, "str | float"]

_LEAST = 30
# How often the nearest are looked at, four times as many each time, before a filter is made use of.
_ROUNDS = 3


class Groups(NamedTuple):
    """Groups are made of items that have the same value in `field`: at most `size` of each."""

    field: str
    path: tuple[str, ...]
    size: int


class Ranker(Protocol):
    """What results are chosen from: each run goes further down, or among fewer items."""

    fields: FieldValues

    def run(self, queries: Float32s, count: int, where: Mapping[str, Any] | None = None) -> Ranked:
        """Return the `count` best results of each query, that `where` lets through too."""
        ...

    def settle(self, queries: Float32s, count: int) -> Found | None:
        """Return the best of one query anew where scores differ by how far down it is looked.

        They are final from then on; None where they are in any case.
        """
        ...


def grouped(
    finder: Ranker, queries: Float32s, k: int, groups: Groups
) -> list[tuple[Found, NDArray[np.intp]]]:
    """Return for each of `queries (q, d)` the results, group by group, and whose group each is in.

    Groups are numbered from 0, the one with the best result first.

    Raises:
        InputError: an array or an object stands in the field of an item that is near.
    """
    results = [_Gathering(finder, groups, k) for _ in queries]
    pending, count = list(range(len(queries))), max(_LEAST, 2 * k * groups.size)
    for turn in range(_ROUNDS):
        ranked = finder.run(queries[pending], count)
        finder.fields.note(groups.path, [keys for keys, _ in ranked.found])
        for i, found in zip(pending, ranked.found, strict=True):
            results[i].begin(found)
        ended = dict(zip(pending, ranked.ended, strict=True))
        pending = [i for i in pending if not (ended[i] or results[i].is_complete)]
        if not pending:
            break
        if turn < _ROUNDS - 1:
            count *= 4
    for i in pending:
        results[i].go_on(queries[i : i + 1], count)
    return [gathering.result() for gathering in results]


class _Gathering:
    """The groups of one query as they come together."""

    def __init__(self, finder: Ranker, groups: Groups, k: int) -> None:
        self._finder = finder
        self._groups = groups
        self._k = k
        self._members: dict[_Value, list[tuple[float, int]]] = {}

    @property
    def is_complete(self) -> bool:
        full = all(len(members) == self._groups.size for members in self._members.values())
        return full and len(self._members) >= self._k

    def begin(self, found: Found) -> None:
        """Make groups of what is nearest, best first."""
        self._members = {}
        self._gather(found)

    def go_on(self, query: Float32s, count: int) -> None:
        """Find what is missing where it is rare among the nearest."""
        name, ended = self._groups.field, False
        settled = self._finder.settle(query, count)
        if settled is not None:
            self._finder.fields.note(self._groups.path, [settled[0]])
            self.begin(settled)
        while len(self._members) < self._k and not ended:
            known = [*map(_plain, self._members)]
            found, ended = self._among(query, count, {name: {"$ne": None, "$nin": known}})
            self._gather(found)
            ended = ended or len(self._members) == len(known)
        short = [value for value, members in self._members.items() if self._lacks(members)]
        if not short:
            return
        wish = max(count, 4 * len(short) * self._groups.size)
        found, ended = self._among(query, wish, {name: {"$in": [*map(_plain, short)]}})
        self._fill(found, short)
        for value in [] if ended else short:
            if self._lacks(self._members[value]):
                found, _ = self._among(query, self._groups.size, {name: _plain(value)})
                self._fill(found, [value])

    def result(self) -> tuple[Found, NDArray[np.intp]]:
        """Return keys and scores in order, and the number of each one's group."""
        # By score, then by key, as all results are.
        order = sorted(self._members.values(), key=lambda members: members[0])[: self._k]
        rows = [row for members in order for row in members]
        if not rows:
            return nothing(), np.empty(0, np.intp)
        keys = np.array([key for _, key in rows], np.int64)
        scores = np.array([-negated for negated, _ in rows], np.float32)
        return (keys, scores), np.repeat(np.arange(len(order)), [*map(len, order)])

    def _lacks(self, members: list[tuple[float, int]]) -> bool:
        return len(members) < self._groups.size

    def _among(self, query: Float32s, count: int, where: dict[str, Any]) -> tuple[Found, bool]:
        ranked = self._finder.run(query, count, where)
        self._finder.fields.note(self._groups.path, [ranked.found[0][0]])
        return ranked.found[0], ranked.ended[0]

    def _gather(self, found: Found) -> None:
        members, most = self._members, self._groups.size
        for key, score in zip(found[0].tolist(), found[1].tolist(), strict=True):
            value = self._value(key)
            if value is None:
                continue
            if value not in members:
                if len(members) == self._k:
                    continue
                members[value] = []
            if len(members[value]) < most:
                members[value].append((-score, key))

    def _fill(self, found: Found, values: list[_Value]) -> None:
        """Take in more of groups that are there; what was known of them may be found again."""
        more: dict[_Value, set[tuple[float, int]]] = {
            value: set(self._members[value]) for value in values
        }
        for key, score in zip(found[0].tolist(), found[1].tolist(), strict=True):
            value = self._value(key)
            if value in more:
                more[value].add((-score, key))
        for value, members in more.items():
            self._members[value] = sorted(members)[: self._groups.size]

    def _value(self, key: int) -> _Value | None:
        value = self._finder.fields.values[key]
        if value is None:
            return None
        if isinstance(value, list | dict):
            kind = "an array" if isinstance(value, list) else "an object"
            name = self._finder.fields.id_of(key)
            raise InputError(
                f"group_by={self._groups.field!r}: item {name!r} has {kind} "
                "there; group by a field of one value (text, a number or a bool) an item"
            )
        return isinstance(value, bool), value


def _plain(value: _Value) -> str | float:
    return value[1]

"""Which items meet a filter: from what is listed, and by looking at the items for the rest."""

from __future__ import annotations

import time
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from requant.adapters.protocol import Keys
from requant.errors import FilterWarning
from requant.filters import Filter, tree
from requant.metrics import warn
from requant.store.fields.definitions import Field, Finder, parse_metadata
from requant.store.fields.key_lists import PART, Mask
from requant.store.fields.listed import Listed
from requant.store.fields.questions import Leaf, Question, apart, both, of_dates, question
from requant.store.fields.source import Bounds, Source
from requant.store.fields.values import ITEM, ODD
from requant.store.schema import key_range

if TYPE_CHECKING:
    from requant.store.states import CollectionState

# Parts that are looked at in one go: two million keys, a byte each.
_WINDOW = 128
# Parts that tell about how many items a filter lets through, where there are more of them.
_SAMPLED = 2
# What is asked of items in SQL at a time.
_AMONG = 50_000
# So many values are asked for at once, without a sample first.
_FEW_VALUES = 64
# So many are looked at by way of what is listed.
_MANY = 2000
# A filter is slow that takes so many seconds over so many items.
SLOW_SECONDS = 0.05
SLOW_ITEMS = 200_000

Marks = NDArray[np.bool_]
_Bound = tuple[Mask, Mask]


class Matching:
    """One filter on one collection, as a reader sees it."""

    def __init__(
        self, source: Source, collection: int, asked: Filter, state: CollectionState
    ) -> None:
        """Answer for a collection that has been written as far as `state` says."""
        self._source = source
        self._collection = collection
        self._asked = asked
        self._first, _ = key_range(collection)
        self._state = state
        fields = source.fields(collection, state.fields)
        by_path = {field.path: field for field in fields if field.ready}
        self._items = by_path.pop((), None)
        # Without the items that there are, nothing can be denied.
        self._fields = by_path if self._items is not None else {}
        self._parts = -(-(self._state.end - self._first) // PART)

    @cached_property
    def by_fields(self) -> bool:
        """Whether an indexed field tells anything."""
        return any(self._field(leaf) is not None for leaf in _leaves(self._asked.node))

    @cached_property
    def _dates(self) -> bool:
        return self._has_dates(self._asked.node)

    def keys(self, first: int, end: int) -> Keys:
        """Return the keys of `first <= key < end` that meet the filter."""
        end = min(end, self._state.end)
        if not self.by_fields:
            return self._looked_at(first, end)
        if end <= first:
            return np.empty(0, np.int64)
        if (first == self._first and end == self._state.end) or self._known is not None:
            begin, bounds = 0, self.bounds
            if not bounds.most:
                return np.empty(0, np.int64)
            must = _mask(bounds.must, self._parts)
            may = must if bounds.may is bounds.must else _mask(bounds.may, self._parts)
        else:
            begin = (first - self._first) // PART
            must, may = self._bounds(begin, -(-(end - self._first) // PART))
        base = self._first + begin * PART
        inside = slice(first - base, end - base)
        sure = np.flatnonzero(must[inside]) + first
        if must is may:
            return sure
        rest = np.flatnonzero(may[inside] & ~must[inside]) + first
        return np.sort(np.concatenate([sure, self._checked(rest)]))

    def among(self, keys: Keys) -> Keys:
        """Return those of `keys` (ascending) that meet the filter."""
        keys = keys[(keys >= self._first) & (keys < self._state.end)]
        if len(keys) > _MANY and self.by_fields:
            _ = self.bounds
        known = self._known
        if known is None:
            return self._checked(keys)
        must, may = (_bits(one, keys - self._first) for one in (known.must, known.may))
        rest = keys[may & ~must]
        return keys[must] if not len(rest) else np.union1d(keys[must], self._checked(rest))

    @cached_property
    def bounds(self) -> Bounds:
        """The keys that surely meet the filter, and those that may, over all parts."""
        known = self._known
        if known is not None:
            return known
        must, may = [], []
        least = most = 0
        exact = True
        for begin in range(0, self._parts, _WINDOW):
            sure, perhaps = self._bounds(begin, min(begin + _WINDOW, self._parts))
            exact &= sure is perhaps
            some = int(np.count_nonzero(sure))
            least += some
            most += some if sure is perhaps else int(np.count_nonzero(perhaps))
            must.append(np.packbits(sure, bitorder="little").tobytes())
            may.append(must[-1] if sure is perhaps else _packed(perhaps))
        found = b"".join(must)
        bounds = Bounds(found, found if exact else b"".join(may), least, most)
        self._source.keep(self._collection, self._state, self._asked.text, bounds)
        return bounds

    @property
    def unsure(self) -> int:
        """How many items have to be looked at to know whether they meet the filter."""
        return self.bounds.most - self.bounds.least

    @property
    def most(self) -> int:
        """How many items meet the filter at most."""
        return self.bounds.most

    @property
    def _known(self) -> Bounds | None:
        found = self.__dict__.get("bounds")
        if found is None:
            found = self._source.remembered(self._collection, self._state, self._asked.text)
        return found

    def share(self) -> float | None:
        """Return about what share of the keys may meet the filter, None if nobody knows."""
        if not self.by_fields:
            return None
        if self._parts <= 2 * _SAMPLED or self._known is not None or self._is_cheap():
            return self.most / max(1, self._state.end - self._first)
        memory = self._source.memory
        share = memory.share(self._collection, self._asked.text)
        if share is None:
            step = self._parts // (_SAMPLED + 1)
            some = range(step, step * _SAMPLED + 1, step)
            found = [np.count_nonzero(self._bounds(part, part + 1)[1]) for part in some]
            share = float(sum(found)) / (PART * len(found))
            if self._source.lent:
                return share
            memory.keep_share(self._collection, self._asked.text, share)
        return share

    def _is_cheap(self) -> bool:
        """Whether all that is asked of the fields are a few values."""
        asked = [
            question(leaf, field)
            for leaf in _leaves(self._asked.node)
            if not isinstance(leaf, tree.HasVector) and (field := self._field(leaf)) is not None
        ]
        values = sum(len(one.points) for one in asked)
        return values <= _FEW_VALUES and not any(one.ranges or one.inside for one in asked)

    def _bounds(self, first: int, end: int) -> _Bound:
        """Return the marks of keys that surely, and that may, meet the filter in these parts."""
        assert self._items is not None
        listed = self._source.listed()
        window = _Window(listed, self._items, first, end)
        must, may = self._node(self._asked.node, window)
        begin = self._first + first * PART
        fresh = self._state.fresh.written(begin, begin + (end - first) * PART)
        if not len(fresh):
            return must, may
        # What has no number yet is not listed as it is now: its items have to be looked at.
        sure, perhaps = must.copy(), may.copy()
        sure[fresh - begin], perhaps[fresh - begin] = False, True
        return sure, perhaps

    def _node(self, node: tree.Node, window: _Window) -> _Bound:
        if isinstance(node, tree.Not):
            must, may = self._node(node.part, window)
            sure = window.items & ~may
            return (sure, sure) if must is may else (sure, window.items & ~must)
        if isinstance(node, tree.All | tree.Some):
            return self._joined(node, window)
        field = self._field(node)
        if field is None:
            return window.nothing, window.items
        assert not isinstance(node, tree.HasVector)
        if isinstance(node, tree.OneOf) and of_dates(node, field) and (split := apart(node)):
            return self._node(split, window)
        return window.answer(field, question(node, field))

    def _joined(self, node: tree.All | tree.Some, window: _Window) -> _Bound:
        every = isinstance(node, tree.All)
        must = may = window.items if every else window.nothing
        # What is known comes first: where nothing is left, nothing more is read.
        ranges, others = self._apart(node)
        for part in (*ranges, *others):
            if every and not may.any():
                break
            if isinstance(part, tuple):
                sure, perhaps = window.answer(*part)
            else:
                sure, perhaps = self._node(part, window)
            exact = must is may and sure is perhaps
            must = must & sure if every else must | sure
            may = must if exact else (may & perhaps if every else may | perhaps)
        return must, may

    def _apart(
        self, node: tree.All | tree.Some
    ) -> tuple[list[tuple[Field, Question]], list[tree.Node]]:
        """Return the ranges of fields, of both ends one, and the other parts: the indexed first."""
        ranges: dict[tuple[int, bytes], tuple[Field, Question]] = {}
        others: list[tree.Node] = []
        for part in node.parts:
            field = self._field(part)
            if isinstance(node, tree.Some) or field is None or not isinstance(part, tree.Compare):
                others.append(part)
                continue
            asked = question(part, field)
            kind = asked.ranges[0][0][:1]
            known = ranges.get((field.id, kind))
            ranges[field.id, kind] = (field, asked if known is None else both(known[1], asked))
        others.sort(key=lambda part: not self._is_indexed(part))
        return list(ranges.values()), others

    def _is_indexed(self, node: tree.Node) -> bool:
        return all(self._field(leaf) is not None for leaf in _leaves(node))

    def _field(self, node: tree.Node) -> Field | None:
        path = getattr(node, "path", None)
        return self._fields.get(path) if isinstance(path, tuple) else None

    def _has_dates(self, node: tree.Node) -> bool:
        return any(of_dates(leaf, self._field(leaf)) for leaf in _leaves(node))

    # Looking at the items

    def _checked(self, keys: Keys) -> Keys:
        """Return those of `keys` whose item, looked at, meets the filter."""
        found = [np.empty(0, np.int64)]
        for start in range(0, len(keys), _AMONG):
            some = keys[start : start + _AMONG]
            if not self._dates:
                found.append(self._source.select(self._asked.condition, among=some))
                continue
            texts = {
                key: parse_metadata(text) for key, text in self._source.texts(some.tolist()).items()
            }
            there = np.array(sorted(texts), np.int64)
            found.append(there[self._marks(self._asked.node, there, texts)])
        return np.concatenate(found)

    def _marks(self, node: tree.Node, keys: Keys, texts: dict[int, dict[str, Any] | None]) -> Marks:
        if not self._has_dates(node):
            met = self._source.select(self._asked.sql(node), among=keys)
            return np.isin(keys, met)
        if isinstance(node, tree.Not):
            return ~self._marks(node.part, keys, texts)
        if isinstance(node, tree.All | tree.Some):
            parts = [self._marks(part, keys, texts) for part in node.parts]
            join = np.logical_and if isinstance(node, tree.All) else np.logical_or
            marks: Marks = join.reduce(parts)
            return marks
        field = self._field(node)
        assert field is not None
        assert not isinstance(node, tree.HasVector)
        if isinstance(node, tree.OneOf) and (split := apart(node)):
            return self._marks(split, keys, texts)
        asked, finder = question(node, field), Finder(field)
        listed = (finder.values(texts[key]) for key in keys.tolist())
        return np.fromiter(map(asked.accepts, listed), np.bool_, len(keys))

    def _looked_at(self, first: int, end: int) -> Keys:
        """Look at every item, since no field of the filter is indexed."""
        whole = first == self._first and end >= self._state.end
        known = self._known
        if whole and known is not None:
            return np.flatnonzero(_mask(known.must, self._parts)) + first
        begun = time.perf_counter()
        keys = self._source.select(self._asked.condition, first, end)
        if whole and end - first >= SLOW_ITEMS:
            self._remember(keys)
            if time.perf_counter() - begun > SLOW_SECONDS:
                self._warn(time.perf_counter() - begun)
        return keys

    def _remember(self, keys: Keys) -> None:
        mask = np.zeros(self._parts * PART, np.bool_)
        mask[keys - self._first] = True
        bits = _packed(mask)
        bounds = Bounds(bits, bits, len(keys), len(keys))
        self._source.keep(self._collection, self._state, self._asked.text, bounds)

    def _warn(self, seconds: float) -> None:
        paths = {leaf.path for leaf in _leaves(self._asked.node) if isinstance(leaf, Leaf)}
        names = sorted(
            ".".join(key.replace(".", "\\.") for key in path)
            for path in paths
            if not isinstance(path, str) and path not in self._fields
        )
        warned = self._source.memory.warned
        names = [name for name in names if (self._collection, name) not in warned]
        warned.update((self._collection, name) for name in names)
        if names:
            calls = " or ".join(f"collection.index_field({name!r})" for name in names[:3])
            text = (
                f"a filter looked at every item and took {seconds * 1000:.0f} ms: {calls} makes it "
                "fast"
            )
            warn("store", text, FilterWarning)


class _Window:
    """Some parts of a collection, and what is listed there."""

    def __init__(self, listed: Listed, items: Field, first: int, end: int) -> None:
        self._listed = listed
        self._items = items
        self._at = (first, end)

    @cached_property
    def items(self) -> Mask:
        """All items that there are."""
        return self._listed.found(self._items.id, Question((ITEM,)), *self._at)

    @cached_property
    def nothing(self) -> Mask:
        """None of them."""
        return np.zeros((self._at[1] - self._at[0]) * PART, np.bool_)

    def answer(self, field: Field, asked: Question) -> _Bound:
        found = self._listed.found(field.id, asked, *self._at)
        if asked.denied:
            found = self.items & ~found
        odd = self._listed.found(field.id, Question((ODD,)), *self._at) if asked.odd else None
        may = found if odd is None or not odd.any() else found | odd
        return (found if asked.certain else self.nothing), may


def _leaves(node: tree.Node) -> list[tree.Condition]:
    if isinstance(node, tree.Not):
        return _leaves(node.part)
    if isinstance(node, tree.All | tree.Some):
        return [leaf for part in node.parts for leaf in _leaves(part)]
    return [node]


def _packed(mask: Mask) -> bytes:
    return np.packbits(mask, bitorder="little").tobytes()


def _mask(bits: bytes, parts: int) -> Mask:
    found = np.unpackbits(np.frombuffer(bits, np.uint8), count=parts * PART, bitorder="little")
    return found.view(np.bool_)


def _bits(bits: bytes, places: Keys) -> Marks:
    at = np.frombuffer(bits, np.uint8)
    marks: Marks = (at[places >> 3] >> (places & 7).astype(np.uint8)) & 1 == 1
    return marks

"""Vectors compressed by turbovec, under keys that it keeps itself."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from turbovec import IdMapIndex

from requant.adapters.errors import CorruptIndexError, EngineError
from requant.adapters.guards import whole_number
from requant.adapters.protocol import Candidates, IndexSpec, Keys
from requant.quantizers.arrays import Codes, Float32s
from requant.quantizers.errors import InputError, UnsupportedError

_BITS = (2, 4)
_MOST_DIMS = 16_384
_MULTIPLE = 8
# It refuses numbers from 1e16 on.
_LARGEST = 1e15
# What it would learn of fewer rows costs more than it gains.
_LEAST_SAMPLE = 100
# Numbers that are read back in one call.
_AT_ONCE = 1 << 20


class NativeIndex:
    """An `IdMapIndex`, to which vectors come padded with zeros to a width that it takes."""

    def __init__(self, spec: IndexSpec, inner: Any) -> None:
        """Take over the turbovec index `inner`."""
        self.inner = inner
        self._spec = spec

    @classmethod
    def new(cls, spec: IndexSpec, sample: Codes | None) -> NativeIndex:
        """Return an empty index that has learned from `sample (n, d)`, if those are enough."""
        inner = IdMapIndex(dim=padded_width(spec), bit_width=bits_of(spec))
        if sample is not None and _tells(sample):
            with contextlib.suppress(ValueError):  # it says so of a sample without any spread
                inner.calibrate(_given(spec, sample))
        return cls(spec, inner)

    @classmethod
    def load(cls, spec: IndexSpec, location: str) -> NativeIndex:
        """Read the file that `save` wrote; raises CorruptIndexError if it is not one of `spec`."""
        try:
            inner = IdMapIndex.load(location)
        except (ValueError, OSError, MemoryError) as error:
            raise CorruptIndexError(f"turbovec cannot read {location}: {error}") from error
        found, wanted = (inner.dim, inner.bit_width), (padded_width(spec), bits_of(spec))
        if found != wanted:
            raise CorruptIndexError(
                f"{location} holds {found[0]} dimensions of {found[1]} bits, expected "
                f"{wanted[0]} of {wanted[1]}"
            )
        return cls(spec, inner)

    def __len__(self) -> int:
        """Return the number of keys."""
        return len(self.inner)

    def upsert(self, keys: Keys, codes: Codes) -> None:
        """Remove what is known, and add: turbovec replaces nothing."""
        given = _given(self._spec, codes)
        self.delete(keys)
        # At once, so that it is taken as a whole or not at all.
        self.inner.add_with_ids(given, keys.astype(np.uint64), chunk_size=0)

    def delete(self, keys: Keys) -> int:
        """Remove `keys`; turbovec takes one at a time."""
        remove = self.inner.remove
        return sum(map(remove, keys.tolist())) if len(self) else 0

    def search(
        self, queries: Codes, k: int, among: Keys | None, effort: int | None, codes: bool
    ) -> Candidates:
        """Compare every vector, or those of `among`."""
        if not len(self) or not len(queries) or (among is not None and not len(among)):
            return Candidates.empty(self._spec, len(queries), k)
        given, wish = _given(self._spec, queries), min(k, len(self))
        allowed = None if among is None else among.view(np.uint64)
        try:
            scores, keys = self.inner.search(given, wish, allowlist=allowed)
        except KeyError:  # it refuses all for one that it does not know
            assert among is not None
            known = np.array([key for key in among.tolist() if key in self.inner], np.int64)
            return self.search(queries, k, known, effort, codes)
        return Candidates.padded(self._spec, keys.view(np.int64), -scores, k)

    def chunks(self, batch: int) -> Iterator[tuple[Keys, Codes]]:
        """Yield every key with what turbovec has made of its vector.

        It tells of no vector, but of each product with one: those with the unit vectors are its
        numbers.
        """
        width, keys = padded_width(self._spec), self._keys()
        units = np.eye(width, dtype=np.float32)[: self._spec.code.dim]
        step = max(1, min(batch, _AT_ONCE // width))
        for some in np.split(keys, range(step, len(keys), step)):
            if not len(some):
                return
            scores, found = self.inner.search(units, len(some), allowlist=some.view(np.uint64))
            order = np.argsort(found, axis=1)
            yield some, np.ascontiguousarray(np.take_along_axis(scores, order, axis=1).T)

    def save(self, location: str) -> None:
        """Write a file that plain turbovec loads; whoever publishes it makes it durable."""
        self.inner.write(location, durable=False)

    def _keys(self) -> Keys:
        """Return all keys, ascending, which it tells of as an answer only."""
        if not len(self):
            return np.empty(0, np.int64)
        nothing = np.zeros((1, padded_width(self._spec)), np.float32)
        keys = np.unique(self.inner.search(nothing, len(self))[1].view(np.int64))
        if len(keys) != len(self):
            raise EngineError(f"turbovec tells of {len(keys)} keys, and says it has {len(self)}")
        return keys


def _given(spec: IndexSpec, vectors: Float32s) -> Float32s:
    """Return vectors as turbovec takes them: padded, and none beyond its range."""
    n, dim = vectors.shape
    width = padded_width(spec)
    if dim < width:
        wide = np.zeros((n, width), np.float32)
        wide[:, :dim] = vectors
        vectors = wide
    largest = np.abs(vectors).max(axis=1, initial=0)
    if (largest > _LARGEST).any():
        vectors = vectors * (_LARGEST / np.maximum(largest, _LARGEST))[:, None]
    return np.ascontiguousarray(vectors, np.float32)


def _tells(sample: Float32s) -> bool:
    """Whether there are enough rows, and enough that differ, to learn from."""
    if len(sample) < _LEAST_SAMPLE:
        return False
    direction = np.random.default_rng(0).normal(size=sample.shape[1])
    return len(np.unique(sample @ direction)) >= _LEAST_SAMPLE


def bits_of(spec: IndexSpec) -> int:
    """Return the bits of a dimension; raises InputError where turbovec has no such codes."""
    bits = whole_number(spec, "bits", 4)
    if bits not in _BITS:
        raise InputError(f"turbovec has codes of 2 and of 4 bits, not of {bits}")
    return bits


def padded_width(spec: IndexSpec) -> int:
    """Return the dimensions of an index; raises UnsupportedError for more than it takes."""
    width = -(-spec.code.dim // _MULTIPLE) * _MULTIPLE
    if width > _MOST_DIMS:
        raise UnsupportedError(
            f"turbovec takes vectors of up to {_MOST_DIMS} dimensions, not of {spec.code.dim}; "
            "faiss and usearch take them"
        )
    return width

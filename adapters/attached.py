"""What attaching is the same for in every engine: its parameters, its metric, what it is asked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from requant.adapters.guards import check_queries, whole_number
from requant.adapters.protocol import IndexSpec
from requant.quantizers.arrays import Float32s
from requant.quantizers.codes import CodeSpec
from requant.quantizers.errors import InputError

Metric = Literal["cosine", "ip", "l2"]
Unsaid = TypeVar("Unsaid", bool, None)

# Engines make room for as many answers as they are asked for.
_MANY = 10_000


def check_params(params: Mapping[str, Any], known: Iterable[str], what: str) -> None:
    """Raise InputError, naming those that there are, for a parameter that is not `known`."""
    have = list(known)
    for name in params:
        if name not in have:
            raise InputError(f"{what} has no parameter {name!r}: {', '.join(have)}")


def flag(params: Mapping[str, Any], name: str, unsaid: Unsaid) -> bool | Unsaid:
    """Return a parameter that is True or False; raises InputError where it is neither.

    >>> flag({"mmap": False}, "mmap", True)
    False
    """
    value = params.get(name, unsaid)
    if value is not unsaid and not isinstance(value, bool):
        raise InputError(f"parameter {name} must be True or False, not {value!r}")
    return value


def number(params: Mapping[str, Any], name: str) -> int:
    """Return a parameter that is a whole number, 0 where it is not given; raises InputError.

    >>> number({"nprobe": 8}, "nprobe")
    8
    """
    return whole_number(asked_by(1, params), name, 0, least=0)


def asked_by(dim: int, params: Mapping[str, Any] | None = None) -> IndexSpec:
    """Return the spec of an index that is asked by floats, whatever it holds."""
    return IndexSpec(CodeSpec("float32", dim), "ip", params=params or {})


def told_metric(params: Mapping[str, Any]) -> Metric | None:
    """Return the metric that the caller tells, if any; raises InputError if it is none."""
    told: Metric | None = params.get("metric")
    if told not in (None, "cosine", "ip", "l2"):
        raise InputError(f"parameter metric must be cosine, ip or l2, not {told!r}")
    return told


def agreed_metric(told: Metric | None, own: Metric | None, what: str) -> Metric | None:
    """Return the metric that is told, or else the index's own; raises InputError if they differ.

    Vectors that were normalised may be called by the cosine, whatever compares them.

    >>> agreed_metric("cosine", "l2", "the index")
    'cosine'
    """
    if own is not None and told not in (None, "cosine", own):
        raise InputError(f"{what} compares by {own}, not by {told}")
    return told or own


def check_asked(queries: Float32s, dim: int, k: int, effort: int | None) -> Float32s:
    """Return `queries (q, dim) float32` contiguous; raises InputError, DimensionError."""
    if effort is not None and effort < 1:
        raise InputError(f"effort must be at least 1, not {effort}")
    return check_queries(queries, asked_by(dim), k)


def wanted(k: int, count: Callable[[], int]) -> int:
    """Return for how many an engine is asked: not for far more than there is."""
    return k if k <= _MANY else min(k, max(1, count()))


def unit(queries: Float32s) -> Float32s:
    """Return queries of length 1, as the vectors are that were normalised.

    An order does not depend on it; which lists of an index are read does.
    """
    lengths = np.linalg.norm(queries.astype(np.float64), axis=1, keepdims=True)
    return (queries / np.where(lengths > 0, lengths, 1)).astype(np.float32)


def signs(queries: Float32s) -> NDArray[np.uint8]:
    """Return the packed signs by which an index of bits is asked."""
    return np.packbits(queries > 0, axis=1)

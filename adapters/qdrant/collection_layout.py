"""The layout of a collection: which vectors, under which distance, how compressed."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from requant.adapters.errors import CorruptIndexError
from requant.adapters.guards import whole_number
from requant.adapters.protocol import IndexSpec
from requant.quantizers.errors import InputError

T = TypeVar("T")
VERSION = 1
_OPTIONS = {
    "scalar": ("quantile",),
    "binary": ("encoding", "query_encoding"),
    "turbo": ("bits",),
    "product": ("compression",),
}


@dataclass(frozen=True)
class Quantization:
    """Compressed copies that Qdrant keeps in memory; the vectors themselves stay on disk."""

    kind: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Layout:
    """What both libraries of Qdrant are told, each in its own words."""

    size: int
    distance: Literal["Dot", "Euclid"]
    datatype: Literal["float32", "float16", "uint8"]
    quantization: Quantization | None
    m: int
    ef_construct: int
    full_scan_threshold: int
    indexing_threshold: int
    effort: int | None

    @property
    def graph(self) -> bool:
        """Whether there is a graph to walk."""
        return self.m > 0

    @property
    def late(self) -> bool:
        """Whether new vectors are slower to search until a segment is optimized.

        Signs are kept for new vectors too; graphs and other codes are only made for whole segments.
        """
        kind = self.quantization and self.quantization.kind
        return self.graph or kind not in (None, "binary")


def layout_of(spec: IndexSpec, here: bool) -> Layout:
    """Return the layout of an index; `here` tells that Qdrant runs on this very machine."""
    graph = spec.index_type == "hnsw"
    return Layout(
        size=spec.code.width * 8 if spec.code.format == "binary" else spec.code.dim,
        distance="Euclid" if spec.metric == "l2" else "Dot",
        datatype=_datatype(spec, here),
        quantization=_quantization(spec),
        m=whole_number(spec, "m", 16, least=2) if graph else 0,
        ef_construct=whole_number(spec, "ef_construct", 100, least=4),
        full_scan_threshold=whole_number(spec, "full_scan_threshold", 10_000, least=10),
        indexing_threshold=whole_number(spec, "indexing_threshold", 10_000),
        effort=whole_number(spec, "hnsw_ef", 0, least=0) or None,
    )


def mark_of(spec: IndexSpec) -> dict[str, Any]:
    """Return what tells an index of ours from others, as JSON."""
    quantization = _quantization(spec)
    return {
        "requant": VERSION,
        "format": spec.code.format,
        "dim": spec.code.dim,
        "metric": spec.metric,
        "index_type": spec.index_type,
        "quantization": quantization and quantization.kind,
    }


def is_mark(found: Any) -> bool:
    """Whether something was written as a mark, by whatever version."""
    return isinstance(found, dict) and isinstance(found.get("requant"), int)


def check_mark(found: Any, spec: IndexSpec, where: str) -> None:
    """Raise CorruptIndexError unless `found` is the mark of `spec`."""
    if not is_mark(found):
        raise CorruptIndexError(f"{where} is not an index that requant made")
    for trait, value in mark_of(spec).items():
        if found.get(trait) != value:
            raise CorruptIndexError(
                f"{where} does not fit: its {trait} is {found.get(trait)!r}, expected {value!r}"
            )


def choose(members: Iterable[tuple[str, T]], wish: Any, option: str) -> T:
    """Return the member of an enum that `wish` names: "two_bits" is TwoBits, 1.5 is Bits1_5."""
    named = {_plain(name): member for name, member in members}
    for name in (_plain(wish), f"bits{_plain(wish)}"):
        if name in named:
            return named[name]
    raise InputError(f"{option} cannot be {wish!r}: choose one of {', '.join(named)}")


def _plain(name: Any) -> str:
    return str(name).lower().replace("_", "").replace(".", "")


def _datatype(spec: IndexSpec, here: bool) -> Literal["float32", "float16", "uint8"]:
    if spec.code.format == "uint8" or (spec.code.format == "int8" and spec.metric == "l2"):
        return "uint8"
    # Qdrant adds up products of half floats in single precision on x86, but in half precision on
    # ARM, where the product of two int8 codes overflows.
    exact = here and platform.machine().lower() in ("x86_64", "amd64")
    if spec.code.format == "float16":
        return "float16" if exact or not here else "float32"
    return "float16" if spec.code.format == "int8" and exact else "float32"


def _quantization(spec: IndexSpec) -> Quantization | None:
    if spec.code.format == "binary":
        return Quantization("binary")
    if spec.code.format != "native":
        return None
    kind = spec.params.get("quantization", "scalar")
    options = spec.params.get("quantization_options", {})
    if kind not in _OPTIONS:
        raise InputError(f"parameter quantization must be one of {', '.join(_OPTIONS)}: {kind!r}")
    if not isinstance(options, Mapping):
        raise InputError(f"parameter quantization_options must be a mapping, not {options!r}")
    for name in options:
        if name not in _OPTIONS[kind]:
            raise InputError(
                f"{kind} quantization has no option {name!r}; it has: {', '.join(_OPTIONS[kind])}"
            )
    return Quantization(kind, options)

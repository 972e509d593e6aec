"""Which LanceDB index a spec becomes, and how it is searched."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import lancedb.index as indexes

from requant.adapters.guards import whole_number
from requant.adapters.protocol import IndexSpec, IndexType
from requant.quantizers.codes import CodeMetric, Format
from requant.quantizers.errors import InputError, UnsupportedError

METRICS: dict[CodeMetric, str] = {"ip": "dot", "l2": "l2", "hamming": "hamming"}
# More partitions than any table has: read all of them.
EVERY = 1 << 16
_NO_INDEX = "none"
_CLASSES = {
    "IVF_FLAT": "IvfFlat",
    "IVF_SQ": "IvfSq",
    "IVF_RQ": "IvfRq",
    "IVF_PQ": "IvfPq",
    "IVF_HNSW_FLAT": "HnswFlat",
    "IVF_HNSW_SQ": "HnswSq",
    "IVF_HNSW_PQ": "HnswPq",
}
_WHOLE: tuple[Format, ...] = ("int8", "uint8")
_LISTS: dict[Format, tuple[str, ...]] = {
    "int8": ("IVF_SQ", "IVF_FLAT"),
    "uint8": ("IVF_SQ", "IVF_FLAT"),
    "native": ("IVF_RQ", "IVF_SQ", "IVF_PQ", "IVF_FLAT"),
}
_GRAPHS: dict[Format, tuple[str, ...]] = {
    "int8": ("IVF_HNSW_SQ", "IVF_HNSW_FLAT"),
    "uint8": ("IVF_HNSW_SQ", "IVF_HNSW_FLAT"),
    "native": ("IVF_HNSW_SQ", "IVF_HNSW_PQ", "IVF_HNSW_FLAT"),
}


@dataclass(frozen=True)
class Plan:
    """The engine parameters of a spec, checked.

    `index` is LanceDB's name of the index, None where the table is scanned; `least` is the number
    of rows from which it is built.
    """

    spec: IndexSpec
    metric: str
    index: str | None
    options: Mapping[str, Any]
    least: int
    nprobes: int
    ef: int
    keep_seconds: int
    most_versions: int

    @property
    def approximate(self) -> bool:
        """Whether a search of the index may miss rows, so that fewer than there are come back."""
        return self.index is not None and self.spec.index_type != "flat"

    def config(self) -> Any:
        """Return the index as `create_index` takes it."""
        kind = _class_of(self.index or "")
        options = dict(self.options)
        # One partition is a scan of all rows in a compact form. A graph is one partition as well:
        # a walk through several small graphs is slower.
        if self.spec.index_type != "ivf":
            options.setdefault("num_partitions", 1)
        if self.spec.index_type == "hnsw":
            # LanceDB's own 300 takes half as long again and found no more.
            options.setdefault("ef_construction", 150)
        return kind(distance_type=self.metric, **options)


def plan_of(spec: IndexSpec) -> Plan:
    """Check the engine parameters of `spec`.

    Raises:
        UnsupportedError: an index that LanceDB does not have, or not for these codes.
        InputError: an option that the index does not have, or a number that cannot be.
    """
    index = _index_of(spec)
    return Plan(
        spec=spec,
        metric=METRICS[spec.metric],
        index=index,
        options=_options_of(spec, index),
        # LanceDB's quantizers need 256 rows to learn from.
        least=whole_number(spec, "index_from", 5000, least=256),
        nprobes=whole_number(spec, "nprobes", 20),
        ef=whole_number(spec, "ef", 128),
        keep_seconds=whole_number(spec, "keep_versions", 900),
        most_versions=whole_number(spec, "most_versions", 64),
    )


def choices(format: Format, index_type: IndexType) -> tuple[str, ...]:
    """Return the indexes that a row of the capability table can have, the usual one first."""
    if index_type == "hnsw":
        return _GRAPHS.get(format, ("IVF_HNSW_FLAT", "IVF_HNSW_SQ"))
    lists = _LISTS.get(format, ("IVF_FLAT",))
    return (*lists, _NO_INDEX) if index_type == "flat" else lists


def _index_of(spec: IndexSpec) -> str | None:
    format, have = spec.code.format, choices(spec.code.format, spec.index_type)
    wish = spec.params.get("index")
    if wish is None:
        # RaBitQ codes are whole bytes of bits.
        fits = have[0] != "IVF_RQ" or not spec.code.dim % 8
        return have[0] if fits else "IVF_SQ"
    if not isinstance(wish, str):
        raise InputError(f"parameter index must be a name, such as {have[0]}, not {wish!r}")
    known = wish in have or (format == "native" and _is_class(wish, spec.index_type))
    if not known:
        raise UnsupportedError(
            f"lancedb has no index {wish!r} for {format}/{spec.index_type}; it has: "
            + ", ".join(have)
        )
    if wish in ("IVF_RQ", "IvfRq") and spec.code.dim % 8:
        raise UnsupportedError(
            f"lancedb's {wish} needs a multiple of 8 dimensions, not {spec.code.dim}; "
            f"it has: {', '.join(name for name in have if name != 'IVF_RQ')}"
        )
    return None if wish == _NO_INDEX else wish


def _is_class(name: str, index_type: IndexType) -> bool:
    """Tell whether lancedb.index has a vector index of that class name, and of that kind."""
    kind = getattr(indexes, name, None)
    if not (isinstance(kind, type) and dataclasses.is_dataclass(kind)):
        return False
    vectors = "distance_type" in {field.name for field in dataclasses.fields(kind)}
    return vectors and ("hnsw" in name.lower()) == (index_type == "hnsw")


def _class_of(name: str) -> Any:
    return getattr(indexes, _CLASSES.get(name, name))


def _options_of(spec: IndexSpec, index: str | None) -> Mapping[str, Any]:
    options = spec.params.get("index_options", {})
    if not isinstance(options, Mapping):
        raise InputError(f"parameter index_options must be a dictionary, not {options!r}")
    if not options:
        return {}
    if index is None:
        raise InputError("parameter index_options has no meaning without an index")
    have = [field.name for field in dataclasses.fields(_class_of(index))]
    have.remove("distance_type")
    for name, value in options.items():
        if name not in have:
            raise InputError(f"lancedb's {index} has no option {name!r}; it has: {', '.join(have)}")
        number = isinstance(value, int) and not isinstance(value, bool) and value >= 1
        if not (number or name == "accelerator"):
            raise InputError(f"index option {name} must be a whole number from 1, not {value!r}")
    return dict(options)

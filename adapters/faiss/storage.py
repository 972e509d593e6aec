"""From a spec to its index: new, read from a file, or copied out of one."""

from __future__ import annotations

from typing import Any

import faiss
import numpy as np

from requant.adapters.errors import CorruptIndexError
from requant.adapters.faiss import factory, files, layers
from requant.adapters.faiss.compressed import CompressedIndex
from requant.adapters.faiss.flat import FlatIndex
from requant.adapters.faiss.graph import GraphIndex, new_graph
from requant.adapters.faiss.index_types import IndexTypes, types_for
from requant.adapters.faiss.lists import ListsIndex, new_lists
from requant.adapters.keys import KeyColumn
from requant.adapters.protocol import IndexSpec
from requant.quantizers.arrays import Codes
from requant.quantizers.errors import InputError

FaissStructure = FlatIndex | GraphIndex | ListsIndex | CompressedIndex


def new(spec: IndexSpec, sample: Codes | None) -> FaissStructure:
    """Return an empty index."""
    if spec.code.format == "native":
        return CompressedIndex(spec, factory.new_index(spec, sample), KeyColumn())
    if "factory" in spec.params:
        raise InputError(f"parameter factory is for native codes, not for {spec.code.format}")
    types = types_for(spec)
    return _structure(spec, types, _empty(spec, types, sample), KeyColumn())


def read(spec: IndexSpec, location: str, mmap: bool) -> FaissStructure:
    """Read or map a file; raises CorruptIndexError if it is not whole, or not of `spec`."""
    inner = files.read(location, spec.code.format == "binary", mmap)
    if spec.code.format == "native":
        inner, known = files.without_keys(inner, location)
        _compare(_layers(inner), _layers(factory.model(spec)), location)
        return CompressedIndex(spec, inner, KeyColumn(known))
    types, keys = types_for(spec), KeyColumn()
    if spec.index_type != "ivf":  # whose lists hold the keys
        inner, known = files.without_keys(inner, location)
        keys = KeyColumn(known)
    _check(spec, types, inner, location)
    return _structure(spec, types, inner, keys)


def private_copy(spec: IndexSpec, structure: FaissStructure) -> FaissStructure:
    """Return a copy in memory: FAISS kills the process when a mapped index is written to."""
    if isinstance(structure, CompressedIndex):
        return CompressedIndex(spec, files.copy(structure.inner), structure.keys)
    keys = KeyColumn() if isinstance(structure, ListsIndex) else structure.keys
    return _structure(spec, types_for(spec), files.copy(structure.inner), keys)


def _structure(spec: IndexSpec, types: IndexTypes, inner: Any, keys: KeyColumn) -> FaissStructure:
    if spec.index_type == "ivf":
        return ListsIndex(spec, types, inner)
    return (GraphIndex if spec.index_type == "hnsw" else FlatIndex)(spec, types, inner, keys)


def _empty(spec: IndexSpec, types: IndexTypes, sample: Codes | None) -> Any:
    if spec.index_type == "ivf":
        return new_lists(spec, types, sample)
    return new_graph(spec, types) if spec.index_type == "hnsw" else types.flat()


def _model(spec: IndexSpec, types: IndexTypes) -> Any:
    """Return what `spec` would become if it were new, with one list if it has any."""
    if spec.index_type != "ivf":
        return _empty(spec, types, None)
    one = np.zeros((1, spec.code.width), spec.code.dtype)
    return types.ivf(1, types.codec.vectors(one))


def _check(spec: IndexSpec, types: IndexTypes, inner: Any, location: str) -> None:
    model = _model(spec, types)
    if not isinstance(inner, type(model)):
        raise CorruptIndexError(
            f"{location} holds a {type(inner).__name__}, not a {type(model).__name__}"
        )
    _compare(_traits(inner), _traits(model), location)


def _compare(found: dict[str, Any], wanted: dict[str, Any], location: str) -> None:
    for trait, value in wanted.items():
        if found.get(trait) != value:
            raise CorruptIndexError(
                f"{location} does not fit: its {trait} is {found.get(trait)!r}, expected {value!r}"
            )


def _layers(index: Any) -> dict[str, Any]:
    """What must be equal in any two indexes of one factory string, however they were trained."""
    core = layers.core_of(index)
    graph = hasattr(core, "hnsw")
    codes = files.downcast(core.storage) if graph else core
    return {
        "class": type(index).__name__,
        "core": type(core).__name__,
        "dimension": (index.d, core.d),
        "metric": index.metric_type,
        "bytes of a row": getattr(codes, "code_size", None),
        "whole": not graph or core.ntotal == codes.ntotal,
    }


def _traits(index: Any) -> dict[str, Any]:
    """What must be equal in any two indexes of one spec."""
    traits: dict[str, Any] = {"dimension": index.d, "metric": index.metric_type}
    if hasattr(index, "storage"):
        storage = files.downcast(index.storage)
        return traits | _traits(storage) | {"whole": index.ntotal == storage.ntotal}
    traits["bytes of a row"] = index.code_size
    if hasattr(index, "sq"):
        traits["quantizer"] = index.sq.qtype
    if hasattr(index, "pq"):
        traits["block"] = index.bbs
        traits["levels"] = faiss.vector_to_array(index.pq.centroids).tobytes()
    if hasattr(index, "by_residual"):
        traits["residuals"] = index.by_residual
    return traits

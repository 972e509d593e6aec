"""From a spec to its index: new, read from a file, or copied out of one."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import faiss
import numpy as np

from requant.adapters.attached_files import FileState, state_of
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


class Origin(NamedTuple):
    """The file that an index maps, as it was when it was opened."""

    path: Path
    state: FileState


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


def in_memory(spec: IndexSpec, structure: FaissStructure, origin: Origin) -> FaissStructure:
    """Return a mapped index as one in memory: FAISS kills the process when it writes to a map.

    The file is read anew, since FAISS's own copies take four times the room. Where it is no longer
    the one that is mapped, the index is written to a temporary one.
    """
    with contextlib.suppress(CorruptIndexError):
        if state_of(origin.path) == origin.state:
            fresh = read(spec, str(origin.path), False)
            if state_of(origin.path) == origin.state:
                return fresh
    with tempfile.TemporaryDirectory(prefix="requant-") as folder:
        copy = str(Path(folder) / "index")
        structure.save(copy)
        return read(spec, copy, False)


def is_mapped(structure: FaissStructure) -> bool:
    """Whether the codes of an index that was opened as a map stay in its file."""
    # FAISS reads the blocks of fast scan into memory of its own, which is aligned.
    core = layers.core_of(structure.inner)
    return not isinstance(core, (faiss.IndexFastScan, faiss.IndexIVFFastScan))


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
        "quantizer": codes.sq.qtype if hasattr(codes, "sq") else None,
        "block": getattr(codes, "bbs", None),
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

"""Any index that FAISS's `index_factory` knows: made, trained, and tried before it is relied on."""

from __future__ import annotations

from typing import Any

import faiss
import numpy as np

from requant.adapters.faiss import child_process, files, layers
from requant.adapters.faiss.lists import lists_wanted
from requant.adapters.guards import whole_number
from requant.adapters.protocol import IndexSpec
from requant.quantizers.arrays import Codes, Float32s
from requant.quantizers.errors import InputError, UnsupportedError

# FAISS refuses to learn from fewer rows than it has centroids.
_MOST_ROWS = 1 << 17
_FEW_ROWS = 1 << 10  # it may complain in other words of so few
# Two bits a dimension are too few to tell the vectors of a large index apart below this.
_FEW_DIMS = 64
# How many vectors a new index is tried with.
_TRIED = 32
_MARKS = {"ivf": ("IVF", "IMI"), "hnsw": ("HNSW",)}


def new_index(spec: IndexSpec, sample: Codes | None) -> Any:
    """Return the empty index that the factory string of `spec` stands for, trained on `sample`.

    Raises:
        InputError: FAISS cannot make it, it is not of the index type of `spec`, or it learns from
            vectors and there is no sample.
        UnsupportedError: what FAISS makes cannot be written to or read back.
    """
    if child_process.is_needed():
        return child_process.make(spec, sample, train=True)
    rows = 0 if sample is None else len(sample)
    words = factory_string(spec, lists_wanted(spec, rows) if spec.index_type == "ivf" else 0)
    index = _made(spec, words)
    found = layers.kind_of(index)
    if found != spec.index_type:
        raise InputError(f"FAISS's {words!r} is of index type {found!r}, not {spec.index_type!r}")
    _refuse_wrong(spec, index, words)
    if not index.is_trained:
        if sample is None or not len(sample):
            raise InputError(f"FAISS's {words!r} learns from vectors: create it with a sample")
        index = _trained(spec, words, sample)
    _try(index, words, np.zeros((1, spec.code.dim), np.float32) if sample is None else sample)
    return index


def model(spec: IndexSpec) -> Any:
    """Return an untrained index of the same classes as any that `spec` stands for."""
    if child_process.is_needed():
        return child_process.make(spec, None, train=False)
    return _made(spec, factory_string(spec, 1))


def factory_string(spec: IndexSpec, nlist: int) -> str:
    """Return what FAISS's `index_factory` is asked for.

    The parameter `factory` says how vectors are kept; lists and graphs are put before its last
    part, unless it names its own.

    >>> from requant.quantizers.codes import CodeSpec
    >>> code, own = CodeSpec("native", 64), {"factory": "OPQ16,PQ16x4fs"}
    >>> factory_string(IndexSpec(code, "ip", "ivf", own), 100)
    'OPQ16,IVF100,PQ16x4fs'
    >>> factory_string(IndexSpec(code, "ip", "flat"), 0)
    'PQ32x4fs'
    """
    words = spec.params.get("factory", _default(spec))
    if not isinstance(words, str) or not words.strip():
        raise InputError(f"parameter factory must be an index_factory string, not {words!r}")
    marks = _MARKS.get(spec.index_type, ())
    if not marks or any(mark in words for mark in marks):
        return words
    links = whole_number(spec, "M", 16, least=2)
    structure = f"IVF{nlist}" if spec.index_type == "ivf" else f"HNSW{links}"
    before, comma, last = words.rpartition(",")
    return f"{before}{comma}{structure},{last}"


def _default(spec: IndexSpec) -> str:
    """Fast scan, two bits a dimension or, of few, four; SQ4 in graphs, which have no fast scan."""
    dim = spec.code.dim
    if spec.index_type == "hnsw":
        return "SQ4"
    if dim < _FEW_DIMS:
        return f"PQ{dim}x4fs"
    return f"PQ{dim // 2}x4fs" if dim % 2 == 0 else f"Pad{dim + 1},PQ{dim // 2 + 1}x4fs"


def _made(spec: IndexSpec, words: str) -> Any:
    try:
        index = faiss.index_factory(spec.code.dim, words, layers.METRICS[spec.metric])
    except (RuntimeError, AssertionError) as error:
        raise InputError(
            f"FAISS cannot make {words!r} of {spec.code.dim} dimensions: {error}"
        ) from error
    layers.hush(index)
    return index


def _trained(spec: IndexSpec, words: str, sample: Float32s) -> Any:
    """Train on `sample`, made longer where it is too short for FAISS."""
    rows = sample
    while True:
        index = _made(spec, words)
        try:
            index.train(rows)
        except RuntimeError as error:
            # Whoever creates an index of few items fits it again when there are more of them.
            enough = _MOST_ROWS if "training" in str(error) else _FEW_ROWS
            if len(rows) >= enough:
                raise InputError(f"FAISS cannot train {words!r}: {error}") from error
            rows = _longer(rows)
        else:
            return index


def _longer(rows: Float32s) -> Float32s:
    """Repeat rows, with noise, so that they are four times as many and all of them differ."""
    noise = np.random.default_rng(len(rows)).normal(size=(4 * len(rows), rows.shape[1]))
    scale = 0.1 * max(float(rows.std()), 1e-3)
    longer: Float32s = (np.tile(rows, (4, 1)) + scale * noise).astype(np.float32)
    return longer


def _refuse_wrong(spec: IndexSpec, index: Any, words: str) -> None:
    """Refuse what FAISS 1.15 gets wrong without a word."""
    core, wrong = layers.core_of(index), None
    if isinstance(core, (faiss.IndexFastScan, faiss.IndexIVFFastScan)) and core.bbs != 32:
        wrong = "FAISS removes and reads back wrong rows in blocks other than 32"
    elif isinstance(core, faiss.IndexIVFRaBitQFastScan):
        wrong = "FAISS reads back wrong vectors from such lists: RaBitQ has right ones"
    elif core.metric_type != layers.METRICS[spec.metric]:
        wrong = f"FAISS does not make it for {spec.metric}, and forgets to say so"
    if wrong is not None:
        raise UnsupportedError(f"faiss cannot serve {words!r}: {wrong}")


def _try(index: Any, words: str, vectors: Float32s) -> None:
    """Add, add again and read back, with a copy: not every index can."""
    tried, some = files.copy(index), vectors[:_TRIED]
    layers.mend(tried)
    try:
        tried.add(some)
        tried.add(some)
        layers.reconstructed(tried, 0, 2 * len(some))
    except RuntimeError as error:
        raise UnsupportedError(
            f"faiss cannot serve {words!r}, which must take vectors at any time and give back "
            f"what it made of them: {error}"
        ) from error

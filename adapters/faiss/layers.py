"""What stands inside an index that FAISS's factory made: transforms, lists, graphs, codes."""

from __future__ import annotations

from typing import Any

import faiss
import numpy as np

from requant.adapters.faiss.files import downcast
from requant.adapters.keys import Rows
from requant.adapters.protocol import IndexType
from requant.quantizers.arrays import Float32s

METRICS = {"ip": faiss.METRIC_INNER_PRODUCT, "l2": faiss.METRIC_L2}
_GRAPHS = (faiss.IndexHNSW, faiss.IndexNSG, faiss.IndexNNDescent)


def core_of(index: Any) -> Any:
    """Return the index below transforms and refinements, which is the one that searches."""
    if isinstance(index, faiss.IndexPreTransform):
        return core_of(downcast(index.index))
    if isinstance(index, faiss.IndexRefine):
        return core_of(downcast(index.base_index))
    return index


def kind_of(index: Any) -> IndexType:
    """Return the index type that an index is of; every graph counts as hnsw."""
    core = core_of(index)
    if isinstance(core, faiss.IndexIVF):
        return "ivf"
    return "hnsw" if isinstance(core, _GRAPHS) else "flat"


def hush(index: Any) -> None:
    """Keep training from printing a warning for every small sample."""
    core = core_of(index)
    quantizer = getattr(core, "pq", None)
    for owner in (core, quantizer):
        clustering = getattr(owner, "cp", None)
        if clustering is not None:
            clustering.min_points_per_centroid = 1
    if isinstance(index, faiss.IndexPreTransform) and quantizer is not None:
        for place in range(index.chain.size()):
            transform = faiss.downcast_VectorTransform(index.chain.at(place))
            shape = getattr(transform, "d_out", 0), getattr(transform, "M", 0)
            # Else OPQ learns by a quantizer of its own, of 256 centroids, many times slower.
            if isinstance(transform, faiss.OPQMatrix) and shape == (quantizer.d, quantizer.M):
                transform.pq = quantizer


def mend(index: Any) -> None:
    """Restore what FAISS forgets to read: without it, reading vectors back kills the process."""
    core = core_of(index)
    if isinstance(core, faiss.IndexIVFPQFastScan):
        core.fine_quantizer = core.pq


def parameters(index: Any, selector: Any, effort: int | None, probe: int) -> Any:
    """Return the parameters of one search, None where there is nothing to say.

    `probe` is how many lists are read; `effort` is efSearch of a graph.
    """
    if isinstance(index, faiss.IndexPreTransform):
        inner = parameters(downcast(index.index), selector, effort, probe)
        return None if inner is None else faiss.SearchParametersPreTransform(index_params=inner)
    if isinstance(index, faiss.IndexRefine):
        inner = parameters(downcast(index.base_index), selector, effort, probe)
        return None if inner is None else faiss.IndexRefineSearchParameters(
            base_index_params=inner, k_factor=index.k_factor
        )  # fmt: skip
    if isinstance(index, faiss.IndexIVF):
        return faiss.SearchParametersIVF(sel=selector, nprobe=probe)
    if isinstance(index, faiss.IndexHNSW):
        return faiss.SearchParametersHNSW(sel=selector, efSearch=effort or index.hnsw.efSearch)
    return None if selector is None else faiss.SearchParameters(sel=selector)


def reconstructed(index: Any, start: int, count: int) -> Float32s:
    """Return what FAISS makes of rows `start` to `start + count` again, `(count, d) float32`."""
    vectors: Float32s = np.empty((count, index.d), np.float32)
    if count:
        index.reconstruct_n(start, count, vectors)
    return vectors


def reconstructed_rows(index: Any, rows: Rows) -> Float32s:
    """Return what FAISS makes of `rows`, which ascend."""
    if not len(rows):
        return np.empty((0, index.d), np.float32)
    first, last = int(rows[0]), int(rows[-1]) + 1
    # Lists find a row only by a look at all of them, so that a whole range is as cheap as one.
    if isinstance(core_of(index), faiss.IndexIVF) or last - first < 2 * len(rows):
        return reconstructed(index, first, last - first)[rows - first]
    vectors: Float32s = index.reconstruct_batch(rows)
    return vectors

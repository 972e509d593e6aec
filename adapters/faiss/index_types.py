"""The FAISS index that each code format becomes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import faiss
import numpy as np
from numpy.typing import NDArray

from requant.adapters.faiss.codecs import Codec, LevelCodec, codec_for
from requant.adapters.protocol import IndexSpec
from requant.quantizers.codes import Format
from requant.quantizers.errors import UnsupportedError

# 64 rows a block scan 8 % faster than 32. FAISS's own remove_ids is right for 32 only (it moves
# the wrong nibbles), so lists, which rely on it, have 32.
FLAT_BLOCK = 64
LIST_BLOCK = 32


class IndexTypes(Protocol):
    """How FAISS keeps one code format; indexes are FAISS's own objects."""

    @property
    def codec(self) -> Codec:
        """Between our codes and FAISS's."""

    def flat(self) -> Any:
        """Return an empty flat index."""

    def hnsw(self, links: int) -> Any:
        """Return an empty graph."""

    def ivf(self, nlist: int, sample: NDArray[Any]) -> Any:
        """Return empty lists whose coarse quantizer is trained on `sample`, as FAISS takes it."""


@dataclass(frozen=True)
class FloatTypes:
    """float32 as it is."""

    codec: Codec
    metric: int

    def flat(self) -> Any:
        """Return an IndexFlat."""
        return faiss.IndexFlat(self.codec.dims, self.metric)

    def hnsw(self, links: int) -> Any:
        """Return an IndexHNSWFlat."""
        return faiss.IndexHNSWFlat(self.codec.dims, links, self.metric)

    def ivf(self, nlist: int, sample: NDArray[Any]) -> Any:
        """Return an IndexIVFFlat."""
        coarse = _coarse(sample, nlist, self.metric)
        index = faiss.IndexIVFFlat(coarse, self.codec.dims, nlist, self.metric)
        index.is_trained = True
        return index


@dataclass(frozen=True)
class ScalarTypes:
    """float16, int8 and uint8 as scalar quantizers that change nothing."""

    codec: Codec
    metric: int
    kind: int

    def flat(self) -> Any:
        """Return an IndexScalarQuantizer."""
        return faiss.IndexScalarQuantizer(self.codec.dims, self.kind, self.metric)

    def hnsw(self, links: int) -> Any:
        """Return an IndexHNSWSQ."""
        return faiss.IndexHNSWSQ(self.codec.dims, self.kind, links, self.metric)

    def ivf(self, nlist: int, sample: NDArray[Any]) -> Any:
        """Return an IndexIVFScalarQuantizer that keeps codes, not residuals."""
        coarse = _coarse(sample, nlist, self.metric)
        index = faiss.IndexIVFScalarQuantizer(
            coarse, self.codec.dims, nlist, self.kind, self.metric, False
        )
        index.is_trained = True
        return index


@dataclass(frozen=True)
class LevelTypes:
    """int4, int2 and int1 as fast-scan product quantizers whose centroids are levels or points."""

    codec: LevelCodec
    metric: int

    def flat(self) -> Any:
        """Return an IndexPQFastScan."""
        codec = self.codec
        return self._with_levels(
            faiss.IndexPQFastScan(codec.dims, codec.nibbles, 4, self.metric, FLAT_BLOCK)
        )

    def hnsw(self, links: int) -> Any:
        """Refuse: FAISS has no graph over these codes."""
        raise UnsupportedError(
            "faiss has no graph over int4, int2 and int1 codes: choose flat or ivf"
        )

    def ivf(self, nlist: int, sample: NDArray[Any]) -> Any:
        """Return an IndexIVFPQFastScan that keeps codes, not residuals."""
        codec, coarse = self.codec, _coarse(sample, nlist, self.metric)
        index = faiss.IndexIVFPQFastScan(
            coarse, codec.dims, nlist, codec.nibbles, 4, self.metric, LIST_BLOCK
        )
        index.by_residual = False
        return self._with_levels(index)

    def _with_levels(self, index: Any) -> Any:
        faiss.copy_array_to_vector(self.codec.centroids().ravel(), index.pq.centroids)
        index.is_trained = True
        return index


@dataclass(frozen=True)
class BitTypes:
    """binary under the Hamming distance."""

    codec: Codec

    def flat(self) -> Any:
        """Return an IndexBinaryFlat."""
        return faiss.IndexBinaryFlat(self.codec.dims)

    def hnsw(self, links: int) -> Any:
        """Return an IndexBinaryHNSW."""
        return faiss.IndexBinaryHNSW(self.codec.dims, links)

    def ivf(self, nlist: int, sample: NDArray[Any]) -> Any:
        """Return an IndexBinaryIVF."""
        coarse = faiss.IndexBinaryFlat(self.codec.dims)
        index = faiss.IndexBinaryIVF(coarse, self.codec.dims, nlist)
        index.cp.min_points_per_centroid = 1  # else it prints a warning
        index.train(sample)
        return index


def types_for(spec: IndexSpec) -> IndexTypes:
    """Return how FAISS keeps the codes of `spec`."""
    codec, metric = codec_for(spec.code), _METRICS.get(spec.metric, 0)
    if isinstance(codec, LevelCodec):
        return LevelTypes(codec, metric)
    if spec.code.format == "binary":
        return BitTypes(codec)
    kind = _SCALARS.get(spec.code.format)
    return FloatTypes(codec, metric) if kind is None else ScalarTypes(codec, metric, kind)


_METRICS = {"ip": faiss.METRIC_INNER_PRODUCT, "l2": faiss.METRIC_L2}
_SCALARS: dict[Format, int] = {
    "float16": faiss.ScalarQuantizer.QT_fp16,
    "int8": faiss.ScalarQuantizer.QT_8bit_direct_signed,
    "uint8": faiss.ScalarQuantizer.QT_8bit_direct,
}


def _coarse(sample: NDArray[Any], nlist: int, metric: int) -> Any:
    quantizer = faiss.IndexFlat(sample.shape[1], metric)
    clustering = faiss.Clustering(sample.shape[1], nlist)
    clustering.niter = 10  # as FAISS itself trains its lists
    clustering.min_points_per_centroid = 1  # else it prints a warning
    clustering.spherical = metric == faiss.METRIC_INNER_PRODUCT
    clustering.train(np.ascontiguousarray(sample, np.float32), quantizer)
    return quantizer

"""The layout of a collection in qdrant-edge's words."""

from __future__ import annotations

from functools import cache
from typing import Any

import qdrant_edge as edge

from requant.adapters.protocol import IndexSpec
from requant.adapters.qdrant.collection_layout import Layout, Quantization, choose
from requant.quantizers.errors import InputError


def config_of(spec: IndexSpec, layout: Layout) -> Any:
    """Return the configuration of a shard."""
    wal = spec.params.get("wal", True)
    if not isinstance(wal, bool):
        raise InputError(f"parameter wal must be True or False, not {wal!r}")
    vectors = edge.EdgeVectorParams(
        size=layout.size,
        distance=getattr(edge.Distance, layout.distance),
        datatype=getattr(edge.VectorStorageDatatype, layout.datatype.capitalize()),
        on_disk=layout.quantization is not None,
        quantization_config=_quantization(layout.quantization),
        hnsw_config=edge.HnswIndexConfig(
            m=layout.m,
            ef_construct=layout.ef_construct,
            full_scan_threshold=layout.full_scan_threshold,
        ),
    )
    optimizers = edge.EdgeOptimizersConfig(indexing_threshold=layout.indexing_threshold)
    return edge.EdgeConfig(
        vectors=vectors, optimizers=optimizers, on_disk_payload=True, wal_enabled=wal
    )


@cache
def params_of(exact: bool, effort: int | None) -> Any:
    """Return search parameters: compressed vectors decide alone, where there are any."""
    return edge.SearchParams(
        hnsw_ef=effort,
        exact=exact,
        quantization=edge.QuantizationSearchParams(rescore=False),
    )


def _quantization(wanted: Quantization | None) -> Any:
    if wanted is None:
        return None
    options = wanted.options
    if wanted.kind == "scalar":
        return edge.ScalarQuantizationConfig(
            type=edge.ScalarType.Int8, quantile=options.get("quantile"), always_ram=True
        )
    if wanted.kind == "binary":
        return edge.BinaryQuantizationConfig(
            always_ram=True,
            encoding=_pick(edge.BinaryQuantizationEncoding, options, "encoding"),
            query_encoding=_pick(edge.BinaryQuantizationQueryEncoding, options, "query_encoding"),
        )
    if wanted.kind == "turbo":
        return edge.TurboQuantQuantizationConfig(
            always_ram=True, bits=_pick(edge.TurboQuantBitSize, options, "bits")
        )
    return edge.ProductQuantizationConfig(
        compression=_pick(edge.CompressionRatio, options, "compression")
        or edge.CompressionRatio.X16,
        always_ram=True,
    )


def _pick(enum: Any, options: Any, option: str) -> Any:
    if option not in options:
        return None
    members = [(name, getattr(enum, name)) for name in dir(enum) if name[0].isupper()]
    return choose(members, options[option], option)

"""Collections in the words of qdrant-client: how one is made, and whether it fits a layout."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from qdrant_client import models

from requant.adapters.errors import CorruptIndexError
from requant.adapters.qdrant.collection_layout import Layout, Quantization, choose


def settings_of(layout: Layout) -> dict[str, Any]:
    """Return the arguments of `create_collection`."""
    return {
        "vectors_config": models.VectorParams(
            size=layout.size,
            distance=models.Distance(layout.distance),
            datatype=models.Datatype(layout.datatype),
            on_disk=layout.quantization is not None,
        ),
        "hnsw_config": models.HnswConfigDiff(
            m=layout.m,
            ef_construct=layout.ef_construct,
            full_scan_threshold=layout.full_scan_threshold,
        ),
        "optimizers_config": models.OptimizersConfigDiff(
            indexing_threshold=layout.indexing_threshold
        ),
        "quantization_config": _quantization(layout.quantization),
        "on_disk_payload": True,
    }


@cache
def params_of(exact: bool, effort: int | None) -> Any:
    """Return search parameters: compressed vectors decide alone, where there are any."""
    return models.SearchParams(
        hnsw_ef=effort,
        exact=exact,
        quantization=models.QuantizationSearchParams(rescore=False),
    )


def check_layout(info: Any, layout: Layout, where: str) -> None:
    """Raise CorruptIndexError unless the collection described by `info` has this layout."""
    vectors = info.config.params.vectors
    if not isinstance(vectors, models.VectorParams):
        raise CorruptIndexError(f"{where} does not fit: it has named vectors, expected one unnamed")
    quantization = vectors.quantization_config or info.config.quantization_config
    kind = quantization and next(iter(type(quantization).model_fields))
    expected = {
        "dimension": (vectors.size, layout.size),
        "distance": (vectors.distance.value, layout.distance),
        "datatype": ((vectors.datatype or models.Datatype.FLOAT32).value, layout.datatype),
        "quantization": (kind, layout.quantization and layout.quantization.kind),
    }
    for trait, (found, wanted) in expected.items():
        if found != wanted:
            raise CorruptIndexError(
                f"{where} does not fit: its {trait} is {found!r}, expected {wanted!r}"
            )


def _quantization(wanted: Quantization | None) -> Any:
    if wanted is None:
        return None
    options = wanted.options
    if wanted.kind == "scalar":
        return models.ScalarQuantization(
            scalar=models.ScalarQuantizationConfig(
                type=models.ScalarType.INT8, quantile=options.get("quantile"), always_ram=True
            )
        )
    if wanted.kind == "binary":
        return models.BinaryQuantization(
            binary=models.BinaryQuantizationConfig(
                always_ram=True,
                encoding=_pick(models.BinaryQuantizationEncoding, options, "encoding"),
                query_encoding=_pick(
                    models.BinaryQuantizationQueryEncoding, options, "query_encoding"
                ),
            )
        )
    if wanted.kind == "turbo":
        return models.TurboQuantization(
            turbo=models.TurboQuantQuantizationConfig(
                always_ram=True, bits=_pick(models.TurboQuantBitSize, options, "bits")
            )
        )
    compression = _pick(models.CompressionRatio, options, "compression")
    return models.ProductQuantization(
        product=models.ProductQuantizationConfig(
            compression=compression or models.CompressionRatio.X16, always_ram=True
        )
    )


def _pick(enum: Any, options: Mapping[str, Any], option: str) -> Any:
    if option not in options:
        return None
    return choose([(member.name, member) for member in enum], options[option], option)

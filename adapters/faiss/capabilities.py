"""What FAISS can do with our codes, as measured on faiss-cpu 1.15.1."""

from __future__ import annotations

from requant.adapters.protocol import Capabilities, IndexType, Support
from requant.quantizers.codes import CodeMetric, Format

_KINDS: tuple[IndexType, ...] = ("flat", "hnsw", "ivf")
_BOTH: tuple[CodeMetric, ...] = ("ip", "l2")
# Shifted codes under the inner product rank by the shift: uint8 has l2 only.
_NUMBERS: dict[Format, tuple[CodeMetric, ...]] = {
    "float32": _BOTH,
    "float16": _BOTH,
    "int8": _BOTH,
    "uint8": ("l2",),
}


def _number_rows(format: Format, metrics: tuple[CodeMetric, ...]) -> tuple[Support, ...]:
    return (
        Support(format, "flat", metrics, exact=True, key_sets=True, codes=True),
        Support(format, "hnsw", metrics, key_sets=True, codes=True, deletes="tombstones"),
        Support(format, "ivf", metrics, key_sets=True),
    )


def _level_rows(format: Format) -> tuple[Support, ...]:
    # Look-up tables are rounded to 8 bits, so the order is that of the codes within that rounding.
    return (
        Support(format, "flat", _BOTH, codes=True, mmap=False),
        Support(format, "ivf", _BOTH, key_sets=True, mmap=False),
    )


CAPABILITIES = Capabilities(
    engine="faiss",
    storage="file",
    places=("memory",),
    supports=(
        *(row for format, metrics in _NUMBERS.items() for row in _number_rows(format, metrics)),
        *_level_rows("int4"),
        *_level_rows("int2"),
        *_level_rows("int1"),
        Support("binary", "flat", ("hamming",), exact=True, key_sets=True, codes=True),
        Support("binary", "hnsw", ("hamming",), key_sets=True, codes=True, deletes="tombstones"),
        Support("binary", "ivf", ("hamming",)),
        *(
            Support(
                "native",
                kind,
                _BOTH,
                key_sets=True,
                lossy=True,
                deletes="tombstones",
                mmap=kind == "hnsw",  # by the usual factory: FAISS maps no blocks of fast scan
            )
            for kind in _KINDS
        ),
    ),
    learns_from_sample=True,  # ivf its lists, native its codes
    mmap=True,
    parallel=True,
    params={
        "factory": "native: FAISS's index_factory string of the codes (a fast-scan PQ of 2 bits a "
        "dimension; SQ4 in a graph)",
        "M": "hnsw: links of a node on each level, twice as many on the lowest (16)",
        "efConstruction": "hnsw: candidates looked at while a node is linked (100)",
        "efSearch": "hnsw: candidates looked at by a search without effort (128)",
        "nlist": "ivf: number of lists (2 * sqrt(items), at most one per 39 rows of the sample)",
        "nprobe": "ivf: lists read by a search without effort (4 * sqrt(nlist))",
    },
)

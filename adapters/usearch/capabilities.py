"""What usearch can do with our codes, as measured on usearch 2.26.6."""

from __future__ import annotations

from requant.adapters.protocol import Capabilities, Support
from requant.quantizers.codes import CodeMetric, Format

_METRICS: dict[Format, tuple[CodeMetric, ...]] = {
    "float32": ("ip", "l2"),
    "float16": ("ip", "l2"),
    "int8": ("ip", "l2"),
    "uint8": ("ip", "l2"),
    "binary": ("hamming",),
}
# Shifted codes have rows of large norm, to which every link of an ip graph leads: 0.6 to 0.7 of
# the code order, where l2 has 0.99.
_GRAPH_METRICS = _METRICS | {"uint8": ("l2",)}

CAPABILITIES = Capabilities(
    engine="usearch",
    storage="file",
    places=("memory",),
    supports=(
        # usearch knows no filter; its exact scan reads the rows that it is given.
        *(
            Support(format, "flat", metrics, exact=True, key_sets=True, codes=True)
            for format, metrics in _METRICS.items()
        ),
        *(
            Support(format, "hnsw", metrics, codes=True)
            for format, metrics in _GRAPH_METRICS.items()
        ),
        Support("native", "flat", ("ip", "l2"), lossy=True),
        Support("native", "hnsw", ("ip", "l2"), lossy=True),
    ),
    mmap=True,
    parallel=True,
    params={
        "dtype": "native: the number format, bf16, f16, e5m2 and whatever else usearch has (bf16)",
        "connectivity": "hnsw: links of a node (16)",
        "expansion_add": "hnsw: candidates looked at while a node is linked (128)",
        "expansion_search": "hnsw: candidates looked at by a search without effort (128)",
        "threads": (
            "threads of a search or an insertion (0: OMP_NUM_THREADS, else one for a query that is "
            "asked alone of a flat index, and every core)"
        ),
    },
)

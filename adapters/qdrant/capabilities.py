"""What Qdrant can do with our codes, as measured on qdrant-edge-py 0.9.0, qdrant-client 1.20.0."""

from __future__ import annotations

from requant.adapters.protocol import Capabilities, Support
from requant.quantizers.codes import CodeMetric, Format

# Codes in uint8 vectors are shifted, and an offset changes the order under the inner product:
# uint8 has l2 only, and int8 is kept as floats for ip, at two or four times the memory.
_METRICS: dict[Format, tuple[CodeMetric, ...]] = {
    "float32": ("ip", "l2"),
    "float16": ("ip", "l2"),
    "int8": ("l2", "ip"),
    "uint8": ("l2",),
    "binary": ("hamming",),
    "native": ("ip", "l2"),
}

CAPABILITIES = Capabilities(
    engine="qdrant",
    storage="live",
    places=("memory", "folder", "server"),
    read_only=("server",),  # the embedded engine locks its folder and writes to it
    supports=(
        *(
            # Qdrant keeps the float32 vectors beside its own compression, so nothing is lossy.
            Support(format, "flat", metrics, exact=format != "native", key_sets=True)
            for format, metrics in _METRICS.items()
        ),
        *(Support(format, "hnsw", metrics, key_sets=True) for format, metrics in _METRICS.items()),
    ),
    notes=True,
    params={
        "m": "hnsw: links of a node (16)",
        "ef_construct": "hnsw: candidates looked at while a node is linked (100)",
        "hnsw_ef": "hnsw: candidates looked at by a search without effort (ef_construct)",
        "full_scan_threshold": "hnsw: kilobytes of vectors that are compared without it (10000)",
        "indexing_threshold": "kilobytes of vectors from which a segment is optimized (10000)",
        "quantization": "native: scalar, binary, turbo or product (scalar)",
        "quantization_options": "native: quantile; encoding, query_encoding; bits; compression",
        "wal": "folder: log each write, so that a crash loses none, flushed or not (True)",
        "timeout": "server: seconds that a request may take (30)",
        "total_timeout": "server: seconds within which one that failed is begun again (60)",
        "retries": "server: how often a request is repeated that failed in passing (4)",
        "parallel": "server: requests of an upload under way at once (2)",
        "prefer_grpc": "server: gRPC instead of HTTP (False)",
        "grpc_port": "server: the port of gRPC (6334)",
        "ordering": "server: weak, medium or strong order of writes; medium behind a load balancer "
        "(the server's choice, weak)",
        "upsert_max_batchsize": "server: points in a write (what strict mode says, else 524288 "
        "values)",
        "search_max_batchsize": "server: queries in a request (what strict mode says, else 256)",
        "condition_max_size": "server: keys in a filter (what strict mode says, else 100000)",
        "shard_number": "server: shards of the collection (the server's choice); of several, each "
        "is asked for a share of 128 or more candidates, and an eighth more to make good for it",
        "replication_factor": "server: copies of each shard (the server's choice)",
    },
    secrets={"api_key": "server: the API key (REQUANT_QDRANT_API_KEY, else QDRANT_API_KEY)"},
    environment=dict.fromkeys(("REQUANT_QDRANT_API_KEY", "QDRANT_API_KEY"), ("http", "https")),
)

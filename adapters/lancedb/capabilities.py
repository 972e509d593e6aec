"""What LanceDB can do with our codes, as measured on lancedb 0.40.0."""

from __future__ import annotations

from requant.adapters.protocol import Capabilities, Support
from requant.quantizers.codes import CodeMetric, Format

# The better one first: compressed rows and halves are compared 2 to 8 times as fast by l2.
_BOTH: tuple[CodeMetric, ...] = ("l2", "ip")
# Shifted codes under the inner product rank by the shift: uint8 has l2 only.
_METRICS: dict[Format, tuple[CodeMetric, ...]] = {
    "float32": _BOTH,
    "float16": _BOTH,
    "int8": _BOTH,
    "uint8": ("l2",),
    "binary": ("hamming",),
    "native": _BOTH,
}
# LanceDB's scalar quantizer keeps a byte a value, stretched to the least and the largest one, and
# so moves integers by up to half a step: 0.997 of the order of the codes. IVF_FLAT moves nothing.
_EXACT: tuple[Format, ...] = ("float32", "float16", "binary")
# The codes of a few hundred bit rows cost as much as the search that found them.
_CODES: tuple[Format, ...] = ("float32", "float16", "int8", "uint8", "native")

CAPABILITIES = Capabilities(
    engine="lancedb",
    storage="live",
    places=("folder", "server"),
    supports=(
        *(
            Support(
                format,
                "flat",
                metrics,
                exact=format in _EXACT,
                key_sets=True,
                codes=format in _CODES,
            )
            for format, metrics in _METRICS.items()
        ),
        # A graph over bits is built and searched, but LanceDB crashes when the table is compacted.
        *(
            Support(format, "hnsw", metrics, key_sets=True, codes=True)
            for format, metrics in _METRICS.items()
            if format != "binary"
        ),
        *(
            Support(format, "ivf", metrics, key_sets=True, codes=format in _CODES)
            for format, metrics in _METRICS.items()
        ),
    ),
    parallel=True,
    read_only=("folder", "server"),
    # LanceDB restarts its threads in a forked child, but one in five children that opened a table
    # was seen to hang.
    survives_fork=False,
    notes=True,
    params={
        "index": "LanceDB's index by name, such as IVF_SQ, IVF_FLAT or IVF_HNSW_SQ (int8 and uint8:"
        " IVF_SQ, other flat and ivf: IVF_FLAT, hnsw: IVF_HNSW_SQ or IVF_HNSW_FLAT, native:"
        " IVF_RQ); none: scan the table, which is slow and exact",
        "index_options": "arguments of that index, such as num_partitions, m, ef_construction",
        "index_from": "rows from which flush builds the index; fewer are scanned (5000)",
        "nprobes": "ivf: partitions read by a search without effort (20)",
        "ef": "hnsw: candidates looked at by a search without effort (128)",
        "keep_versions": "seconds that a superseded version of the table stays readable (900)",
        "most_versions": "superseded versions that stay at most, however young; what another "
        "process reads of an older one ends in an EngineError (64)",
        "timeout": "seconds that a server may take to answer (30)",
        "region": "LanceDB Cloud: the region of the database (us-east-1)",
        "host_override": "LanceDB Enterprise: the URL of the server",
    },
    secrets={
        "storage_options": "object storage: endpoint, region and keys by LanceDB's names; or"
        " AWS_ACCESS_KEY_ID, AWS_ENDPOINT and so on in the environment",
        "api_key": "LanceDB Cloud, which was never tried: REQUANT_LANCEDB_API_KEY or"
        " LANCEDB_API_KEY",
    },
    environment={
        **dict.fromkeys(("REQUANT_LANCEDB_API_KEY", "LANCEDB_API_KEY"), ("db", "http", "https")),
        **dict.fromkeys(
            ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"),
            ("s3", "s3a", "s3+ddb"),
        ),
        **dict.fromkeys(
            (
                "AZURE_STORAGE_ACCOUNT_KEY",
                "AZURE_STORAGE_KEY",
                "AZURE_STORAGE_SAS_TOKEN",
                "AZURE_STORAGE_SAS_KEY",
                "AZURE_STORAGE_CLIENT_SECRET",
                "AZURE_STORAGE_TOKEN",
            ),
            ("az", "abfs", "abfss", "azure", "adl"),
        ),
        **dict.fromkeys(
            (
                "GOOGLE_SERVICE_ACCOUNT",
                "GOOGLE_SERVICE_ACCOUNT_KEY",
                "GOOGLE_APPLICATION_CREDENTIALS",
            ),
            ("gs",),
        ),
    },
    redirects={"host_override": ("db",)},
)

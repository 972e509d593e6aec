"""A backend filled with the corpus, or around an index that the caller holds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from requant.adapters import registry
from requant.adapters.protocol import Adopting, Backend, Candidates, IndexSpec
from requant.errors import UnsupportedError
from requant.integration.sentence_transformers import inputs
from requant.integration.sentence_transformers.quantize import quantize_embeddings, scalar_codes
from requant.integration.sentence_transformers.wish import Wish
from requant.quantizers import MinMaxQuantizer
from requant.quantizers.arrays import as_vectors
from requant.quantizers.codes import CodeMetric, CodeSpec
from requant.quantizers.dialect_codes import Scalar

Array = NDArray[Any]

_ROWS = 16384
# As sentence-transformers builds its FAISS graphs; usearch has its own default.
_LINKS: dict[str, dict[str, int]] = {"faiss": {"M": 16}, "usearch": {}}
# Hardly any graph: the index is there to be scanned.
_SCANNED = {"connectivity": 2, "expansion_add": 1}


class FirstPass:
    """A backend that holds the corpus, and how queries reach it."""

    def __init__(self, backend: Backend, wish: Wish) -> None:
        """Search `backend`."""
        self._backend = backend
        self._normalise = wish.precision == "float32" and wish.metric == "cosine"
        self._graph = not wish.exact
        self.spec: IndexSpec = backend.spec

    def __len__(self) -> int:
        """Return the number of codes."""
        return len(self._backend)

    @property
    def row_bytes(self) -> int:
        """Bytes of one candidate with its codes."""
        return 16 + self.spec.code.row_bytes

    @property
    def native(self) -> Any:
        """The engine's own index."""
        if not isinstance(self._backend, Adopting):
            raise UnsupportedError("this engine has no index object to hand out")
        return self._backend.native()

    def search(self, queries: Array, k: int, codes: bool) -> Candidates:
        """Return the candidates of encoded queries."""
        effort = max(64, 2 * k) if self._graph else None
        return self._backend.search(queries, k, effort=effort, codes=codes)

    def as_queries(self, queries: Array, quantizer: MinMaxQuantizer | None = None) -> Array:
        """Return float queries `(q, d)` as the backend takes them; int8 codes have them folded."""
        code = self.spec.code
        if quantizer is None:
            floats = as_vectors(queries, name="query_embeddings")
            if self._normalise:
                floats = _normalised(floats)
            return floats.astype(code.dtype, copy=False)
        if self.spec.metric == "l2":
            return quantizer.encode(queries).astype(code.dtype)
        if code.format == "int8":
            signed = MinMaxQuantizer(quantizer.ranges, "int8", quantizer.release)
            return signed.encode_query(queries, "ip")
        # uint8 codes that sentence-transformers keeps as floats need no rounded query.
        return as_vectors(queries, name="query_embeddings") * quantizer.steps

    def as_format(self, codes: Array, format: Scalar) -> Array:
        """Return candidates' codes as the int8 or uint8 that they were made as."""
        if codes.dtype == np.int8:
            return codes if format == "int8" else codes.view(np.uint8) ^ np.uint8(0x80)
        raw: Array = codes.astype(np.uint8)
        return raw if format == "uint8" else (raw ^ np.uint8(0x80)).view(np.int8)


def build(wish: Wish, rows: Array, quantizer: MinMaxQuantizer | None) -> FirstPass:
    """Quantize `rows (n, d)` unless they are codes, and hand them to the engine chunk by chunk."""
    kind = registry.load(wish.engine)
    spec = _spec(wish, rows)
    backend = kind.create(spec)
    whole = wish.engine == "usearch" and spec.index_type == "flat"
    start = 0
    pieces = _codes(wish, rows, quantizer, len(rows) if whole else _ROWS)
    for codes in pieces:
        backend.upsert(np.arange(start, start + len(codes)), codes)
        start += len(codes)
    if wish.exact and spec.index_type == "hnsw" and isinstance(backend, Adopting):
        backend = type(backend).adopt(backend.native(), exact=True)
    return FirstPass(backend, wish)


def adopt(wish: Wish, index: Any, queries: Array) -> FirstPass:
    """Search an index that the caller holds; raises InputError where it cannot be the right one."""
    kind = registry.load(wish.engine)
    if not issubclass(kind, Adopting):
        raise UnsupportedError(f"{wish.engine} takes no index that another program made")
    backend = kind.adopt(index, exact=wish.exact)
    spec = backend.spec
    inputs.check_index(spec.code, spec.metric, wish.precision, wish.dialect)
    inputs.check_index_width(spec.code, wish.precision, queries)
    return FirstPass(backend, wish)


def _spec(wish: Wish, rows: Array) -> IndexSpec:
    n, width = rows.shape
    coded = inputs.is_codes(rows)
    metric: CodeMetric = "ip"
    if wish.precision in ("binary", "ubinary"):
        metric, code = "hamming", CodeSpec("binary", width * 8 if coded else -(-width // 8) * 8)
    else:
        code = CodeSpec("float32" if wish.precision == "float32" else "int8", width)
    if wish.exact and wish.engine == "usearch" and wish.output_index:
        return IndexSpec(code, metric, "hnsw", _SCANNED, n)
    if wish.exact:
        return IndexSpec(code, metric, "flat", {}, n)
    graph_metric: CodeMetric = "l2" if wish.dialect == "5" and metric == "ip" else metric
    return IndexSpec(code, graph_metric, "hnsw", _LINKS[wish.engine], n)


def _codes(
    wish: Wish, rows: Array, quantizer: MinMaxQuantizer | None, step: int
) -> Iterator[Array]:
    """Yield the rows as the backend holds them: int8, bytes of bits, or float32."""
    for start in range(0, len(rows), max(1, step)):
        part = rows[start : start + step]
        if quantizer is not None:
            yield _signed(part, quantizer)
        elif wish.precision == "float32":
            floats = as_vectors(part, name="corpus_embeddings")
            yield _normalised(floats) if wish.metric == "cosine" else floats
        elif inputs.is_codes(part):
            yield part if wish.precision == "ubinary" else part.view(np.uint8) ^ np.uint8(0x80)
        else:
            yield quantize_embeddings(part, "ubinary")


def _signed(part: Array, quantizer: MinMaxQuantizer) -> Array:
    codes = (
        part
        if inputs.is_codes(part)
        else scalar_codes(part, quantizer.ranges, quantizer.format, quantizer.release)
    )
    if codes.dtype == np.int8:
        return codes
    shifted: Array = codes ^ np.uint8(0x80)
    return shifted.view(np.int8)


def _normalised(floats: Array) -> Array:
    lengths = np.sqrt(np.einsum("ij,ij->i", floats, floats, dtype=np.float64))
    lengths[lengths == 0] = 1
    unit: Array = (floats / lengths[:, None]).astype(np.float32)
    return unit

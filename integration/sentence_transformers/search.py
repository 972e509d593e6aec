"""The one search behind both engines: encode, first pass by a backend, rescore in blocks."""

from __future__ import annotations

import logging
import time
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from requant.adapters import registry
from requant.adapters.protocol import Candidates
from requant.errors import DimensionError, InputError
from requant.integration.sentence_transformers import inputs
from requant.integration.sentence_transformers.firstpass import adopt, build
from requant.integration.sentence_transformers.floats import Floats, opened
from requant.integration.sentence_transformers.quantize import (
    quantize_embeddings,
    resolve_ranges,
)
from requant.integration.sentence_transformers.scores import (
    Metric,
    Scores,
    low_ends,
    products,
    ranked,
    similarities,
    unit_signs,
)
from requant.integration.sentence_transformers.wish import Wish
from requant.quantizers import MinMaxQuantizer
from requant.quantizers.dialect_codes import Scalar

logger: logging.Logger = logging.getLogger(__name__)

Array = NDArray[Any]

_PRECISIONS = {
    "faiss": ("float32", "uint8", "ubinary"),
    "usearch": ("float32", "int8", "ubinary", "binary"),
}
# Float64 copies of candidates that are rescored together, and candidates asked for together.
_RESCORE_FLOATS = 1 << 19
_ASK_BYTES = 8 << 20


def run(wish: Wish, queries: Any, corpus: Any, index: Any, floats: Any) -> tuple[Any, ...]:
    """Check, search, and return results, seconds and, if asked for, the index."""
    _check(wish, corpus, index)
    registry.load(wish.engine)
    asked = inputs.read(queries, "query_embeddings", wish.precision)
    rows = None
    if corpus is not None:
        rows = inputs.read(corpus, "corpus_embeddings", wish.precision)
    as_floats = rows if rows is not None and not inputs.is_codes(rows) else None
    with opened(floats, as_floats) as source:
        _check_widths(wish, asked, rows, source)
        search = _Search(wish, asked, rows, index, source)
        start = time.time()
        results = search.results()
        seconds = time.time() - start
    if wish.output_index:
        return results, seconds, index if index is not None else search.first.native
    return results, seconds


def _check(wish: Wish, corpus: Any, index: Any) -> None:
    if corpus is not None and index is not None:
        raise InputError("Only corpus_embeddings or corpus_index should be used, not both.")
    if corpus is None and index is None:
        raise InputError("Either corpus_embeddings or corpus_index should be used.")
    if wish.precision not in _PRECISIONS[wish.engine]:
        *most, last = (f'"{name}"' for name in _PRECISIONS[wish.engine])
        raise InputError(f"corpus_precision must be {', '.join(most)}, or {last} for {wish.engine}")
    for name, value in (("top_k", wish.top_k), ("rescore_multiplier", wish.multiplier)):
        whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
        if not whole or value < 1:
            raise InputError(f"{name} must be a whole number from 1, not {value!r}")
    if wish.metric not in ("cosine", "ip"):
        raise InputError(f"unknown metric {wish.metric!r}: choose 'cosine' or 'ip'")
    if wish.dialect not in ("5", "6"):
        raise InputError(f"unknown dialect {wish.dialect!r}: choose '6' or '5'")


def _check_widths(wish: Wish, asked: Array, rows: Array | None, source: Floats | None) -> None:
    packed = wish.precision in ("binary", "ubinary") and inputs.is_codes(asked)
    if packed:
        if rows is not None and inputs.is_codes(rows) and rows.shape[1] != asked.shape[1]:
            raise DimensionError(
                f"corpus_embeddings have {rows.shape[1]} packed bytes, the queries {asked.shape[1]}"
            )
        if source is not None and -(-source.shape[1] // 8) != asked.shape[1]:
            raise DimensionError(
                f"the queries have {asked.shape[1]} packed bytes, the corpus {source.shape[1]} "
                "dimensions"
            )
        return
    if rows is not None:
        inputs.check_width(rows, "corpus_embeddings", wish.precision, asked.shape[1])
    if source is not None and source.shape[1] != asked.shape[1]:
        raise DimensionError(
            f"the float vectors have {source.shape[1]} dimensions, the queries {asked.shape[1]}"
        )
    if rows is not None and source is not None and source.shape[0] != len(rows):
        raise DimensionError(f"there are {source.shape[0]} float vectors for {len(rows)} codes")


class _Search:
    """One call."""

    def __init__(
        self, wish: Wish, asked: Array, rows: Array | None, index: Any, source: Floats | None
    ) -> None:
        self._wish = wish
        self._source = source
        self._packed = wish.precision in ("binary", "ubinary")
        self._scalar = wish.precision in ("int8", "uint8")
        self._coded = inputs.is_codes(asked)  # the queries are codes themselves
        self._rescored = wish.rescore and wish.precision != "float32" and not self._coded
        self._quantizer = self._fitted(asked, rows) if self._scalar else None
        self._say_so()
        self._asked = asked
        if index is None:
            assert rows is not None
            self.first = build(wish, rows, self._quantizer)
        else:
            self.first = adopt(wish, index, asked)

    def results(self) -> list[list[dict[str, int | float]]]:
        """Return what is found for each query."""
        if not len(self.first):
            return [[] for _ in self._asked]
        k = self._wish.top_k * (self._wish.multiplier if self._rescored else 1)
        k = min(k, len(self.first))
        codes = self._needs_codes
        row = self.first.row_bytes if codes else 16
        block = max(1, _ASK_BYTES // (k * row))
        found: list[list[dict[str, int | float]]] = []
        for start in range(0, len(self._asked), block):
            part = self._asked[start : start + block]
            answer = self.first.search(self._first_queries(part), k, codes)
            found += _listed(*self._ranked(part, answer))
        return found

    @property
    def _needs_codes(self) -> bool:
        if self._packed and (self._coded or not self._rescored):
            return False  # the Hamming distance says it all
        exact = self._source is not None and not self._coded
        return self._wish.compat or not exact or (self._scalar and not self._rescored)

    def _ranked(self, part: Array, answer: Candidates) -> tuple[Array, Scores]:
        """Score candidates, a bounded number at a time."""
        width, k = part.shape[1], answer.keys.shape[1]
        step = max(1, _RESCORE_FLOATS // (k * max(1, width)))
        scores = np.concatenate(
            [
                self._scores(
                    part[i : i + step],
                    answer.keys[i : i + step],
                    answer.distances[i : i + step],
                    None if answer.codes is None else answer.codes[i : i + step],
                )
                for i in range(0, len(part), step)
            ]
        )
        keys, scores = ranked(answer.keys, scores, self._wish.top_k)
        if self._wish.compat and self._falls:
            scores = -scores
        return keys, scores

    def _scores(self, part: Array, keys: Array, distances: Array, codes: Array | None) -> Scores:
        if self._wish.compat:
            return self._old_scores(part, keys, distances, codes)
        if self._packed and (self._coded or not self._rescored):
            bits = part.shape[1] * (8 if self._coded else 1)
            apart: Scores = distances.astype(np.float64)
            apart *= -2 / bits
            apart += 1
            return apart
        queries = self._float_queries(part)
        if codes is None:
            assert self._source is not None
            rows = self._source.take(np.maximum(keys, 0).reshape(-1))
            rows = rows.reshape(*keys.shape, -1)
        else:
            rows = self._meant(codes, queries.shape[1])
        return similarities(queries, rows, self._wish.metric)

    def _meant(self, codes: Array, dim: int) -> Array:
        """Return what candidates' codes `(q, k, w)` stand for, `(q, k, d)`."""
        if self._packed:
            return unit_signs(codes, dim)
        if self._quantizer is None:
            return codes
        return self._quantizer.decode(self.first.as_format(codes, self._quantizer.format))

    # sentence-transformers' own scores

    @property
    def _falls(self) -> bool:
        """Whether the old score is a distance."""
        if self._wish.precision == "float32" or not self._rescored:
            return self._wish.engine == "usearch" or self._packed
        return False

    def _old_scores(
        self, part: Array, keys: Array, distances: Array, codes: Array | None
    ) -> Scores:
        """Return the numbers of sentence-transformers 6, negated where they are distances."""
        if self._packed and (self._coded or not self._rescored):
            return -distances.astype(np.float64)
        assert codes is not None
        if self._packed:
            bits = np.unpackbits(codes, axis=-1, count=part.shape[1])
            return products(part, bits)
        if self._quantizer is None:
            metric: Metric = "cosine" if self._wish.engine == "usearch" else "ip"
            found = similarities(part, codes, metric)
        elif self._rescored:
            restored = low_ends(self.first.as_format(codes, "uint8"), self._quantizer.ranges)
            return products(part, restored)
        else:
            raw = part if self._coded else self._quantizer.encode(part)
            found = products(raw, self.first.as_format(codes, self._quantizer.format))
        return found - 1 if self._falls else found

    # Queries

    def _first_queries(self, part: Array) -> Array:
        """Return queries as the backend compares them."""
        if self._packed:
            if not self._coded:
                return cast("Array", quantize_embeddings(part, "ubinary"))
            flip = np.uint8(0x80 if self._wish.precision == "binary" else 0)
            raw: Array = part.view(np.uint8) ^ flip
            return raw
        queries = self._float_queries(part)
        if self._quantizer is None:
            return self.first.as_queries(queries)
        return self.first.as_queries(queries, self._quantizer)

    def _float_queries(self, part: Array) -> Array:
        if self._coded and self._quantizer is not None:
            return self._quantizer.decode(part)
        return part

    def _fitted(self, asked: Array, rows: Array | None) -> MinMaxQuantizer:
        """Return the quantizer of the codes, by whatever is there to take its ranges from."""
        wish = self._wish
        format: Scalar = wish.precision
        own = rows if rows is not None and not inputs.is_codes(rows) else None
        if self._coded and own is None and wish.ranges is None and wish.calibration is None:
            logger.warning(
                "The queries are %s codes and nothing says what they stand for: every dimension is "
                "taken to have the same range. Pass the `ranges` or `calibration_embeddings` that "
                "made the codes.",
                format,
            )
            ends = np.repeat(np.array([[-1], [1]], np.float32), asked.shape[1], axis=1)
        else:
            ends = resolve_ranges(
                asked if own is None else own, format, wish.ranges, wish.calibration
            )
        if ends.shape != (2, asked.shape[1]):
            raise DimensionError(
                f"the ranges have shape {ends.shape}, the queries need (2, {asked.shape[1]})"
            )
        return MinMaxQuantizer.from_ranges(ends, format, release=wish.dialect)

    def _say_so(self) -> None:
        """Log what sentence-transformers logs."""
        if not self._wish.rescore or self._rescored:
            return
        if self._coded:
            logger.warning(
                "Rescoring is enabled but the query embeddings are quantized. Either pass "
                "`rescore=False` or don't quantize the query embeddings."
            )
        else:
            logger.warning(
                "Rescoring is enabled but the corpus is not quantized. Either pass "
                "`rescore=False` or quantize the corpus embeddings with "
                '`quantize_embeddings(embeddings, precision="...") `and pass '
                '`corpus_precision="..."` to `semantic_search_%s`.',
                self._wish.engine,
            )


def _listed(keys: Array, scores: Scores) -> list[list[dict[str, int | float]]]:
    return [
        [
            {"corpus_id": key, "score": score}
            for key, score in zip(row, values, strict=True)
            if key >= 0
        ]
        for row, values in zip(keys.tolist(), scores.tolist(), strict=True)
    ]

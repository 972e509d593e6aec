"""`semantic_search_faiss` and `semantic_search_usearch`, as sentence-transformers declares them.

How to read a `score`: it is the similarity of the two embeddings, higher is better, on every path.
`metric="ip"` is the inner product, `metric="cosine"` the cosine similarity; for embeddings of
length 1, as most models give, both are the same number. It is exact where the float vectors of the
corpus are known, else the similarity with what the codes stand for (the middle of an int8 or uint8
cell; for bits, the unit vector of their signs).
"""

from __future__ import annotations

from typing import Any, Literal

from requant.integration.sentence_transformers.quantize import Ranges
from requant.integration.sentence_transformers.scores import Metric
from requant.integration.sentence_transformers.search import run
from requant.integration.sentence_transformers.wish import Wish
from requant.quantizers.dialect_codes import Release

Result = tuple[Any, ...]


def semantic_search_faiss(
    query_embeddings: Any,
    corpus_embeddings: Any = None,
    corpus_index: Any = None,
    corpus_precision: Literal["float32", "uint8", "ubinary"] = "float32",
    top_k: int = 10,
    ranges: Ranges | None = None,
    calibration_embeddings: Any = None,
    rescore: bool = True,
    rescore_multiplier: int = 2,
    exact: bool = True,
    output_index: bool = False,
    *,
    floats: Any = None,
    metric: Metric | None = None,
    score_compat: bool = False,
    dialect: Release = "6",
) -> Result:
    """Search with FAISS over codes, and rescore with float32 vectors where they are given.

    Args:
        query_embeddings: `(q, d)` floats, or codes of the corpus's precision (then nothing is
            rescored).
        corpus_embeddings: `(n, d)` floats, which are quantized here and rescored with, or codes;
            either this or `corpus_index`.
        corpus_index: a FAISS index: one that `output_index=True` returned, here or in
            sentence-transformers; its labels become the `corpus_id`s.
        corpus_precision: what the first pass compares: float32, uint8 (a byte a dimension) or
            ubinary (a bit).
        top_k: results a query; fewer come back only if the corpus is smaller.
        ranges: of uint8 codes, `(2, d)`: an array, a `Calibration` or the path of a saved one;
            else of `calibration_embeddings`, else of the corpus if it is given as floats, else,
            as in sentence-transformers and hardly ever right, of the queries.
        calibration_embeddings: `(m, d)` to take the ranges from.
        rescore: whether to score `top_k * rescore_multiplier` candidates of the first pass again.
        rescore_multiplier: candidates a result.
        exact: compare every code; else walk an HNSW graph.
        output_index: return the FAISS index as well.
        floats: the float vectors `(n, d)` to rescore codes or an index with: an array, or the
            path of a `.npy` file or of a requant database, which is filled from float
            `corpus_embeddings` if it does not exist.
        metric: what a score is, `ip` (default) or `cosine`. The first pass over int8 and uint8
            codes ranks by inner product either way: for `cosine`, normalise embeddings of unequal
            lengths, or ask for more candidates.
        score_compat: give the scores and the order of sentence-transformers 6 instead, computed
            from codes over the same candidates.
        dialect: "5" for codes and graphs (by L2) of sentence-transformers up to 5.1.

    Returns:
        `([[{"corpus_id": int, "score": float}, ...], ...], seconds)`, and the index if asked for.

    Raises:
        InputError, DimensionError, NonFiniteError: arguments that do not fit one another, codes
            of another precision, an index of another metric.
        EngineMissingError: FAISS is not installed.

    >>> corpus = [[1.0, 0.0, 0.1], [0.0, 1.0, 0.2], [0.7, 0.7, 0.1]]
    >>> hits, seconds = semantic_search_faiss(
    ...     [[0.6, 0.8, 0.0]], corpus, corpus_precision="ubinary", top_k=2
    ... )
    >>> [(hit["corpus_id"], round(hit["score"], 2)) for hit in hits[0]]
    [(2, 0.98), (1, 0.8)]
    """
    ranked_by = _metric(metric, "ip", score_compat)
    wish = Wish(
        "faiss", corpus_precision, top_k, ranges, calibration_embeddings, rescore,
        rescore_multiplier, exact, output_index, ranked_by, score_compat, dialect,
    )  # fmt: skip
    return run(wish, query_embeddings, corpus_embeddings, corpus_index, floats)


def semantic_search_usearch(
    query_embeddings: Any,
    corpus_embeddings: Any = None,
    corpus_index: Any = None,
    corpus_precision: Literal["float32", "int8", "ubinary", "binary"] = "float32",
    top_k: int = 10,
    ranges: Ranges | None = None,
    calibration_embeddings: Any = None,
    rescore: bool = True,
    rescore_multiplier: int = 2,
    exact: bool = True,
    output_index: bool = False,
    *,
    floats: Any = None,
    metric: Metric | None = None,
    score_compat: bool = False,
    dialect: Release = "6",
) -> Result:
    """Search with usearch over codes, and rescore with float32 vectors where they are given.

    Arguments, results and errors are those of `semantic_search_faiss`, but for these:
    `corpus_precision` is float32, int8, binary or ubinary; `metric` is `cosine` unless given, as
    sentence-transformers ranks float32 in usearch; exact searches scan arrays and build no graph,
    unless `output_index=True` asks for a usearch index: that one then holds the codes with so few
    links that it is good for exact searches alone.

    >>> corpus = [[1.0, 0.0, 0.1], [0.0, 1.0, 0.2], [0.7, 0.7, 0.1]]
    >>> hits, seconds = semantic_search_usearch(
    ...     [[0.6, 0.8, 0.0]], corpus, corpus_precision="binary", top_k=1
    ... )
    >>> [(hit["corpus_id"], round(hit["score"], 2)) for hit in hits[0]]
    [(2, 0.98)]
    """
    ranked_by = _metric(metric, "cosine", score_compat)
    wish = Wish(
        "usearch", corpus_precision, top_k, ranges, calibration_embeddings, rescore,
        rescore_multiplier, exact, output_index, ranked_by, score_compat, dialect,
    )  # fmt: skip
    return run(wish, query_embeddings, corpus_embeddings, corpus_index, floats)


def _metric(given: Metric | None, usual: Metric, compat: bool) -> Metric:
    """Return the metric; the old scores have the one that the engine's float32 search has."""
    return usual if given is None or compat else given

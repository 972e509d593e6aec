"""The guide's code runs from top to bottom, with a stand-in for the model."""

from __future__ import annotations

import re
import sys
import types
import zlib
from pathlib import Path

import numpy as np

GUIDE = Path(__file__).parent.parent / "docs" / "embeddings-int8.md"


class StandIn:
    """384 numbers of length 1 that depend on the text alone."""

    def __init__(self, name):
        """Take any name."""

    def encode(self, texts):
        """Return unit vectors."""
        rows = [np.random.default_rng(zlib.crc32(t.encode())).standard_normal(384) for t in texts]
        vectors = np.array(rows, np.float32) + 0.3
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_the_code_runs(tmp_path, monkeypatch, capsys):
    module = types.ModuleType("sentence_transformers")
    module.SentenceTransformer = StandIn
    monkeypatch.setitem(sys.modules, "sentence_transformers", module)
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 5
    names = {}
    for block in blocks:
        exec(compile(block, str(GUIDE), "exec"), names)
    assert capsys.readouterr().out
    assert len(names["later"]) == 2


def test_the_commands_exist():
    text = GUIDE.read_text(encoding="utf-8")
    for name in re.findall(r"python -m benchmarks\.(\w+)", text):
        assert (GUIDE.parent.parent / "benchmarks" / f"{name}.py").exists()
    assert "@@" not in text

"""examples/langchain: a store becomes one of requant, is moved in use, and goes back."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "examples" / "langchain" / "move.py"


@pytest.mark.parametrize("kind", ["faiss", "qdrant", "chroma"])
def test_move(kind: str) -> None:
    program = [sys.executable, str(SCRIPT), "--from", kind, "--texts", "1200", "--queries", "20"]
    done = subprocess.run(program, capture_output=True, text=True)
    assert not done.returncode, done.stderr
    before, after, migrated, back = map(json.loads, done.stdout.splitlines())
    assert (before["step"], before["store"], after["step"]) == ("before", kind, "after")
    assert after["recall"] >= max(0.999, before["recall"])
    assert {"ms", "resident_mb", "disk_mb"} <= before.keys() & after.keys()
    assert migrated["ok"]
    assert migrated["answers"] > 0
    assert migrated["wrong"] == 0
    assert (back["faiss"], back["same"], back["parquet"]) == (1200, True, 1200)

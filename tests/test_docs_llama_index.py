"""docs/llama-index.md: its examples run, and so does what it says to run."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "llama-index.md").read_text("utf-8")


def test_examples_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = {}
    for code in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(compile(code, "docs/llama-index.md", "exec"), names)
    for store in ("store", "moved"):
        names[store].close()
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("Cats sleep all day. ")
    assert said[-1] == "{'n': 1}"


@pytest.mark.parametrize("kind", ["simple", "qdrant"])
def test_a_store_moves_here_and_back(kind):
    program = ROOT / "examples" / "llama_index" / "move.py"
    options = ["--from", kind, "--nodes", "300", "--queries", "5"]
    done = subprocess.run(
        [sys.executable, str(program), *options], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    steps = {line["step"]: line for line in map(json.loads, done.stdout.splitlines())}
    assert steps["before"]["recall"] == steps["after"]["recall"] == 1.0
    assert steps["from_existing"]["nodes"] == 300
    migrated = steps["migrate"]
    assert migrated["ok"]
    assert migrated["answers_meanwhile"]
    assert not migrated["wrong"]
    assert steps["export"]["same_again"]

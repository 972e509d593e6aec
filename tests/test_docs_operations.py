"""docs/operations.md names every number, and its examples run."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from requant.metrics import CollectionMetrics, IndexMetrics

PAGE = (Path(__file__).parent.parent / "docs" / "operations.md").read_text("utf-8")


@pytest.mark.parametrize("kind", [CollectionMetrics, IndexMetrics])
def test_every_number_is_told_of(kind):
    for one in dataclasses.fields(kind):
        assert f"`{one.name}`" in PAGE, one.name


@pytest.mark.parametrize("code", re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL))
def test_examples_run(code, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "docs/operations.md", "exec"), {})

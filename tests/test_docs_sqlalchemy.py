"""The guide's code runs from top to bottom."""

from __future__ import annotations

import re
from pathlib import Path

GUIDE = Path(__file__).parent.parent / "docs" / "sqlalchemy.md"


def end(opened):
    """End what the guide has begun, as far as it has come."""
    for name in ("unbind", "dispose", "close"):
        if hasattr(opened, name):
            getattr(opened, name)()
            return


def test_the_code_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 10
    names = {"__name__": "guide"}
    try:
        for block in blocks:
            exec(compile(block, str(GUIDE), "exec", dont_inherit=True), names)
        printed = capsys.readouterr().out.splitlines()
        assert len(printed) == 2
        assert "night" in printed[0]
        with names["AppSession"]() as session:
            assert names["Article"].embedding.sync(session) == (0, 0)
    finally:
        for name in ("binding", "db", "engine"):
            end(names.get(name))


def test_the_names_exist():
    import requant.integration.sqlalchemy as package

    text = GUIDE.read_text(encoding="utf-8")
    for names in re.findall(r"from requant\.integration\.sqlalchemy import (.+)", text):
        for name in names.split(", "):
            assert name in package.__all__
            assert getattr(package, name)

"""The guide's code runs from top to bottom."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

import requant

DOCS = Path(__file__).parent.parent / "docs"
GUIDE = DOCS / "sqlalchemy.md"
CHAPTERS = [GUIDE, DOCS / "sqlalchemy-reading.md", DOCS / "sqlalchemy-tables.md"]


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


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.stem)
def test_the_names_and_links_exist(chapter):
    import requant.integration.sqlalchemy as package

    text = chapter.read_text(encoding="utf-8")
    for names in re.findall(r"from requant\.integration\.sqlalchemy import (\w.+)", text):
        for name in names.split(", "):
            name = name.partition(" as ")[0]
            assert name in package.__all__
            assert getattr(package, name)
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert links
    for link in links:
        assert (DOCS / link).is_file(), link


def test_the_guide_leads_to_every_chapter():
    text = GUIDE.read_text(encoding="utf-8")
    for chapter in CHAPTERS[1:]:
        assert f"]({chapter.name})" in text


def test_transactions_are_as_the_chapter_says(tmp_path):
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'application.db'}")
    article = sa.Table(
        "articles",
        sa.MetaData(),
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("author_id", sa.Integer),
        sa.Column("published", sa.Boolean),
    )
    article.create(engine)
    with requant.open(engine, folder=tmp_path / "indexes") as db:
        notes = db.create_collection("notes", 2)
        blocks = re.findall(r"```python\n(.*?)```", CHAPTERS[1].read_text("utf-8"), re.DOTALL)
        assert len(blocks) == 2
        names = {"Session": Session, "engine": engine, "notes": notes, "vector": [1, 2]}
        exec(blocks[0], names)
        assert len(notes) == 0  # nobody has committed
        with Session(engine) as session:
            notes.upsert(["a", "b"], [[1, 2], [2, 1]], connection=session)
            rows = [{"id": one, "author_id": 7, "published": one == "b"} for one in "ab"]
            session.execute(article.insert(), rows)
            session.commit()
            names |= {"select": sa.select, "Article": article.c, "session": session}
            names["user"] = SimpleNamespace(id=7)
            exec(blocks[1], names)
            hits = notes.search([1, 2], k=10, among=names["mine"], connection=session)
        assert [hit.id for hit in hits] == ["b"]
    engine.dispose()

"""Moving to another model: beside the old one, with all that is written meanwhile, and back."""

from __future__ import annotations

import json
import runpy
import threading
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa

import requant
from requant.errors import (
    ExistsError,
    InputError,
    ModelError,
    OtherModelError,
    UnknownCollectionError,
)
from requant.integration.sqlalchemy import aio
from tests.cli import refused, run
from tests.reembedding import NEW, OLD, content, definitions, filled, hashed, is_all_by

ROOT = Path(__file__).parents[1]
THIRD = requant.Model("acme/third", hashed(8, 9))


def test_told_before(any_db):
    notes = filled(any_db, 60)
    notes.upsert(["bare", "lost"], [None, np.ones(16)])
    plan = notes.plan_reembed(NEW)
    assert (plan.items, plan.to_embed, plan.without_document, plan.lost) == (62, 60, 2, 1)
    assert plan.characters == sum(map(len, definitions(60)))
    assert (plan.dim, plan.seconds > 0) == (24, True)
    assert any_db.collections() == ["notes"]


def test_moved_with_all_it_has_and_back(any_db):
    notes = filled(any_db, 60, full_text="porter", index_fields=["n"])
    notes.add_index("main", engine="faiss", precision="int8")
    notes.add_index("small", engine="faiss", precision="int4")
    notes.use_index("small")
    before = content(notes)
    seen = []
    report = notes.reembed(NEW, batch=16, progress=lambda done, total: seen.append((done, total)))
    assert (report.ok, report.state, report.embedded, report.items) == (True, "switched", 60, 60)
    assert report.queries_from == "stored documents"
    assert 0 <= report.overlap < 0.9
    assert (16, 60) in seen
    assert (notes.name, notes.dim, notes.model.name, notes.model.revision) == (
        "notes", 24, "acme/new", "r2",
    )  # fmt: skip
    assert is_all_by(notes, NEW)
    assert content(notes) == before
    assert {info.name: info.active for info in notes.indexes} == {"main": False, "small": True}
    assert [field.name for field in notes.fields] == ["n"]
    assert notes.search_documents("definition", 1) is not None
    assert notes.verify(deep=True).ok
    text = definitions(9)[8]
    assert notes.search_text(text, k=1)[0].id == 8
    # What is written since is not lost by going back.
    notes.upsert_texts([100, 8], ["brand new", "changed"])
    notes.delete([7])
    notes.update([9], metadata={"more": 1})
    after = content(notes)
    assert notes.reembedding.switched
    assert notes.reembedding.left == 4
    assert notes.rollback_reembed(OLD) == "acme/old"
    assert (notes.dim, content(notes)) == (16, after)
    assert is_all_by(notes, OLD)
    assert notes.reembed(NEW).state == "switched"  # nothing to embed: it has followed
    assert content(notes) == after
    assert is_all_by(notes, NEW)
    any_db.drop_collection("notes.before")
    assert (notes.reembedding, any_db.collections()) == (None, ["notes"])
    names = sa.inspect(any_db.engine).get_table_names()
    assert not [name for name in names if "moving" in name]


def test_both_are_searched_meanwhile_and_no_answer_mixes_them(any_db):
    notes = filled(any_db, 40)
    notes.reembed(NEW, switch=False)
    new = any_db.collection("notes.reembed")
    notes.upsert_texts([1], ["another text"])
    assert notes.search_text("another text", k=1)[0].id == 1
    assert new.search_text("another text", k=1, model=NEW)[0].score < 0.99  # not yet
    with pytest.raises(OtherModelError):
        new.search_text("another text", model=OLD)
    with pytest.raises(OtherModelError):
        notes.search_text("another text", model=NEW)
    assert notes.reembedding.left == 1
    notes.reembed(NEW, switch=False)
    assert new.search_text("another text", k=1)[0].id == 1
    assert is_all_by(new, NEW)
    assert is_all_by(notes, OLD)


def test_whoever_has_it_open_is_refused_after_the_switch(any_db, tmp_path):
    notes = filled(any_db, 20)
    url = any_db.engine.url.render_as_string(hide_password=False)
    with requant.open(url, folder=tmp_path / "more") as other:
        theirs = other.collection("notes")
        assert theirs.search_text(definitions(1)[0], k=1, model=OLD)[0].id == 0
        notes.reembed(NEW)
        one = np.ones((1, 16))
        for use in (
            lambda: theirs.search(one[0]), lambda: theirs.get([1]), lambda: theirs.get(limit=1),
            lambda: theirs.vectors([1]), lambda: len(theirs), lambda: list(theirs.iter()),
            lambda: theirs.upsert(["x"], one), lambda: theirs.upsert(["x", "y"], [one[0]] * 2),
            lambda: theirs.upsert([1], one, ["both"]), lambda: theirs.update([1], vectors=one),
            lambda: theirs.delete([1]), lambda: theirs.clear(), lambda: theirs.add_index("main"),
            lambda: theirs.index_text(), lambda: theirs.index_field("n"), lambda: theirs.model,
            lambda: theirs.set_model(OLD), lambda: theirs.search_text("x"),
            lambda: theirs.reembed(THIRD), lambda: theirs.delete(where={"n": 1}),
        ):  # fmt: skip
            with pytest.raises(UnknownCollectionError, match="ask the database for it again"):
                use()
        assert content(other.collection("notes")) == content(notes)
        assert len(notes) == 20


def test_writers_beside_it_lose_nothing(any_db):
    notes = filled(any_db, 60)
    stop, acknowledged, failed = threading.Event(), {}, []

    def write():
        mine, n = any_db.collection("notes"), 0
        while not stop.is_set():
            n += 1
            text = f"written {n}"
            try:
                mine.upsert([n % 80], documents=[text])
                acknowledged[n % 80] = text
                stop.wait(0.01)
            except UnknownCollectionError:  # the switch
                mine = any_db.collection("notes")
                if mine.dim != 24:
                    failed.append(n)
                    return

    # Items whose vectors nobody gave: the document is what is embedded.
    writer = threading.Thread(target=write)
    writer.start()
    slow = requant.Model("acme/new", lambda texts: (stop.wait(0.005), NEW.encoder(texts))[1], "r2")
    report = notes.reembed(slow, batch=8)
    stop.set()
    writer.join()
    assert (report.state, failed) == ("switched", [])
    held = content(notes)
    last = {id: text for id, text in acknowledged.items()}
    assert {id: held[id][0] for id in last} == last
    # What was written to the new one without a vector keeps the old vector, as `upsert` says.
    old = any_db.collection("notes.before")
    unchanged = [id for id, row in content(old).items() if held[id] == row]
    rows = NEW.encoder([held[id][0] for id in unchanged])
    np.testing.assert_array_equal(notes.vectors(unchanged), np.float32(rows))


def test_two_that_move_it_at_once(any_db):
    notes, reports, errors = filled(any_db, 80), [], []

    def go():
        try:
            reports.append(any_db.collection("notes").reembed(NEW, batch=4, switch=False))
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=go) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (errors, len(reports)) == ([], 2)
    assert is_all_by(any_db.collection("notes.reembed"), NEW)
    assert notes.reembed(NEW).state == "switched"


def test_a_model_that_fails_leaves_what_was_done_and_goes_on(any_db, monkeypatch):
    notes = filled(any_db, 60)
    monkeypatch.setattr("time.sleep", lambda _: None)
    calls = []

    def failing(texts):
        calls.append(len(texts))
        if sum(calls) > 40:
            raise ConnectionError("gone")
        return NEW.encoder(texts)

    with pytest.raises(ModelError, match="gone"):
        notes.reembed(requant.Model("acme/new", failing, "r2"), batch=10)
    assert 10 <= len(any_db.collection("notes.reembed")) < 60
    assert notes.search_text("x", model=OLD)
    for wrong in (
        lambda rows: rows[1:], lambda rows: rows * np.nan, lambda rows: rows[:, 1:],
        lambda rows: [*rows[1:], rows[0][1:]],
    ):  # fmt: skip
        done = len(any_db.collection("notes.reembed"))
        bad = requant.Model("acme/new", lambda texts, wrong=wrong: wrong(NEW.encoder(texts)), "r2")
        with pytest.raises(InputError, match=r"batch of 10 items from '.*' was not stored"):
            notes.reembed(bad, batch=10)
        assert len(any_db.collection("notes.reembed")) == done
    report = notes.reembed(NEW, batch=10)
    assert report.state == "switched"
    assert report.embedded < 60
    assert is_all_by(notes, NEW)


def test_items_without_a_document(db):
    notes = filled(db, 20)
    notes.upsert(["lost"], [np.ones(16)], metadata=[{"kept": True}])
    notes.upsert(["bare"])
    notes.upsert(["gains"], documents=["a text without a vector"])
    report = notes.reembed(NEW)
    assert (report.ok, report.state, report.lost) == (False, "building", 1)
    assert "missing='drop'" in report.problems[0]
    assert notes.dim == 16
    assert notes.reembed(NEW, missing="drop").state == "switched"
    assert notes.get(["lost"], vectors=True)[0][2:] == (None, {"kept": True}, None)
    assert notes.search_text("a text without a vector", k=1)[0].id == "gains"


def test_compared_by_queries(db):
    notes = filled(db, 40)
    texts = definitions(40)
    asked = {"queries": texts[:5], "relevant": [[n] for n in range(5)], "k": 3}
    report = notes.reembed(NEW, switch=False, **asked)
    assert "could not be asked" in report.notes[0]  # nobody knows the old one by its name here
    assert (report.overlap, report.relevance_before, report.relevance_after) == (None, None, 1.0)
    asked["old_model"] = OLD
    report = notes.reembed(NEW, switch=False, **asked)
    assert 1 / 3 <= report.overlap < 1
    assert report.relevance_before == report.relevance_after == 1.0
    asked["relevant"] = [notes.search_text(text, k=3, model=OLD)[1].id for text in texts[:5]]
    asked["relevant"] = [[one] for one in asked["relevant"]]
    report = notes.reembed(NEW, **asked)
    assert not report.ok
    assert "of the relevant items" in report.problems[0]
    with pytest.raises(InputError, match="relevant must hold"):
        notes.reembed(NEW, queries=texts[:5], relevant=[[1]])


def test_what_is_refused(db):
    empty = db.create_collection("empty", 16)
    with pytest.raises(InputError, match="no item of collection 'empty' has a document"):
        empty.reembed(NEW)
    notes = filled(db, 10)
    with pytest.raises(InputError, match="embedded by model 'acme/old' already"):
        notes.reembed(OLD)
    with pytest.raises(InputError, match="cannot be remembered"):
        notes.reembed(lambda texts: texts)
    with pytest.raises(UnknownCollectionError, match="was not moved"):
        notes.rollback_reembed()
    notes.reembed(NEW, switch=False)
    with pytest.raises(ExistsError, match="is being moved to model 'acme/new'"):
        notes.reembed(THIRD)
    with pytest.raises(InputError, match="is itself the new one"):
        db.collection("notes.reembed").reembed(NEW)
    notes.reembed(NEW)
    assert notes.reembed(NEW).state == "switched"  # again, by who does not know
    with pytest.raises(ExistsError, match="drop_collection"):
        notes.reembed(THIRD)
    notes.upsert([1], documents=["changed"])
    with pytest.raises(requant.errors.PackageMissingError):  # by its name it cannot be loaded
        notes.rollback_reembed()
    assert notes.dim == 24
    for wrong in ({"batch": 0}, {"k": 0}, {"tolerance": 2}, {"missing": "no"}):
        with pytest.raises(InputError):
            db.collection("notes.before").reembed(THIRD, **wrong)


def test_restored_in_the_middle_it_goes_on(any_db, tmp_path):
    notes = filled(any_db, 30)
    notes.reembed(NEW, switch=False)
    notes.upsert_texts([1, 99], ["changed", "new"])
    notes.delete([2])
    any_db.backup(tmp_path / "backup")
    requant.restore(tmp_path / "backup", tmp_path / "restored.db")
    with requant.open(tmp_path / "restored.db") as there:
        theirs = there.collection("notes")
        report = theirs.reembed(NEW)
        assert (report.state, report.embedded) == ("switched", 2)
        assert is_all_by(theirs, NEW)
        assert content(theirs) == content(notes)


def test_dropping_either_ends_it(any_db):
    notes = filled(any_db, 10)
    notes.reembed(NEW, switch=False)
    any_db.drop_collection("notes.reembed")
    assert notes.reembedding is None
    notes.upsert_texts([99], ["still written"])
    notes.reembed(NEW, switch=False)
    any_db.drop_collection("notes")
    rest = any_db.collection("notes.reembed")
    rest.upsert_texts([100], ["still written"], NEW)
    assert (rest.reembedding, len(rest)) == (None, 12)


def test_memory_is_that_of_a_batch(db):
    model = requant.Model("acme/wide", lambda texts: np.ones((len(texts), 256), np.float32))
    peaks = []
    for name, n in (("small", 500), ("large", 3000)):
        notes = db.create_collection(name, 4)
        notes.upsert(range(n), np.ones((n, 4)), [f"text {i}" * 20 for i in range(n)])
        tracemalloc.start()
        notes.reembed(model, batch=64, queries=[], switch=False)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # All vectors of the larger one alone would be 3 MB.
    assert peaks[1] < peaks[0] + (1 << 20)


def test_awaited(tmp_path):
    import asyncio

    async def go():
        db = await aio.open(tmp_path / "x.db")
        async with db:
            notes = await db.create_collection("notes", 16, model=OLD)
            await notes.upsert_texts([1, 2], ["one", "two"], OLD)
            assert (await notes.plan_reembed(NEW)).to_embed == 2
            assert (await notes.reembed(NEW)).state == "switched"
            assert notes.dim == 24
            assert (await notes.search_text("two", k=1))[0].id == 2
            assert await notes.rollback_reembed(OLD) == "acme/old"

    asyncio.run(go())


def test_by_the_command_line(tmp_path):
    requant.register_model("acme-move", lambda name: hashed(16 if name.endswith("1") else 24, 1))
    path = tmp_path / "x.db"
    with requant.open(path) as db:
        notes = db.create_collection("notes", 16, model="acme-move/1")
        notes.upsert_texts(range(20), definitions(20))
    command = ("reembed", path, "notes", "--model", "acme-move/2")
    plan = run(*command, "--dry-run", "--json").json
    assert (plan["to_embed"], plan["dim"]) == (20, 24)
    assert "20 of 20 items to embed" in run(*command, "--dry-run").out
    queries = tmp_path / "queries.jsonl"
    queries.write_text(json.dumps({"text": definitions(4)[3], "relevant": [3]}), "utf-8")
    ready = run(*command, "--no-switch", "--queries", queries, "--json").json
    assert (ready["state"], ready["relevance_before"], ready["relevance_after"]) == ("ready", 1, 1)
    told = run(*command).out
    assert "Searches use the new model" in told
    assert run("stats", path, "notes", "--json").json["collections"][0]["dim"] == 24
    assert run("reembed", path, "notes", "--rollback", "--json").json == {
        "collection": "notes", "model": "acme-move/1",
    }  # fmt: skip
    assert "give --model NAME" in refused("reembed", path, "notes")
    queries.write_text("nonsense", "utf-8")
    assert "--queries" in refused(*command, "--queries", queries)


def test_the_example_runs(capsys):
    runpy.run_path(str(ROOT / "examples" / "models" / "move.py"), run_name="__main__")
    out = capsys.readouterr().out
    assert "refused: the texts of collection 'notes' were embedded by model 'counting" in out
    assert "switched: 512 dimensions" in out
    assert "Written meanwhile" in out
    assert "back to counting/letters: 64 dimensions" in out

"""A collection remembers what embeds its texts, and refuses what another model has embedded."""

from __future__ import annotations

import json
import threading
from types import SimpleNamespace

import numpy as np
import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

import requant
from requant.embeddings import load_stored, named
from requant.embeddings.patience import WAITS, is_passing
from requant.errors import (
    CorruptDataError,
    DimensionError,
    InputError,
    ModelError,
    NonFiniteError,
    OtherModelError,
    UnsupportedError,
)
from tests.cli import refused, run
from tests.reembedding import NEW, OLD, filled, hashed

TEXTS = ["one", "two", "three"]
SAME_WIDTH = requant.Model("acme/other", hashed(16, 3))


def of_tests(texts):
    """A function that has a name, since it can be imported."""
    return hashed(16, 4)(texts)


def test_what_has_a_name():
    assert named(of_tests).name == "tests.test_models:of_tests"
    assert named(lambda texts: texts).name is None
    assert named(SimpleNamespace(encode=of_tests)).name is None
    card = SimpleNamespace(base_model="BAAI/bge-small", base_model_revision="abc")
    told = named(SimpleNamespace(encode=of_tests, model_card_data=card))
    assert (told.name, told.revision) == ("BAAI/bge-small", "abc")
    langchain = SimpleNamespace(embed_documents=of_tests, embed_query=None, model="text-3-small")
    assert named(langchain).name == "text-3-small"
    for wrong in ("", "x" * 201, 7):
        with pytest.raises(InputError, match="a model's name"):
            requant.Model(wrong, of_tests)


def test_learnt_at_the_first_texts_and_another_is_refused(any_db):
    notes = any_db.create_collection("notes", 16)
    assert notes.model is None
    notes.upsert_texts(["a"], ["one"], OLD)
    assert notes.model == requant.ModelInfo("acme/old", None, 16, None, False)
    again = any_db.collection("notes")
    for model in (SAME_WIDTH, NEW, lambda texts: np.ones((len(texts), 16))):
        name = "acme" if isinstance(model, requant.Model) else "without a name"
        for refuse in (
            lambda model=model: again.upsert_texts(["b"], ["two"], model),
            lambda model=model: again.upsert_texts(range(99), ["two"] * 99, model),
            lambda model=model: again.search_text("two", model=model),
        ):
            with pytest.raises(OtherModelError, match=rf"'acme/old'.*{name}.*reembed") as caught:
                refuse()
            assert "set_model" in str(caught.value) or "requant.Model(" in str(caught.value)
    assert len(notes) == 1
    assert notes.search_text("one", model=OLD)[0].id == "a"
    notes.set_model(SAME_WIDTH)
    assert again.search_text("two", model=SAME_WIDTH)[0].id == "a"
    notes.set_model(None)
    assert notes.model is None


def test_a_model_that_was_named_elsewhere_meanwhile_is_seen(tmp_path):
    path = tmp_path / "x.db"
    with requant.open(path) as one, requant.open(path) as other:
        notes = one.create_collection("notes", 16, full_text=True)
        notes.upsert_texts(["a"], ["one"], lambda texts: np.ones((len(texts), 16)))
        theirs = other.collection("notes")
        theirs.search_text("one", model=SAME_WIDTH)
        notes.set_model(OLD)
        for search in (theirs.search_text, theirs.search_hybrid):
            with pytest.raises(OtherModelError):
                search("one")
        assert theirs.search_hybrid("one", np.ones(16))[0].id == "a"  # by a vector: nobody knows


def test_two_that_write_first_at_once_do_not_both_come_in(any_db):
    notes = any_db.create_collection("notes", 16)
    gate, came, refused_ = threading.Barrier(2), [], []

    def write(model):
        mine = any_db.collection("notes")

        def slow(texts):
            gate.wait(20)
            return model.encoder(texts)

        try:
            mine.upsert_texts([model.name], ["text"], requant.Model(model.name, slow))
            came.append(model.name)
        except OtherModelError:
            refused_.append(model.name)

    threads = [threading.Thread(target=write, args=(model,)) for model in (OLD, SAME_WIDTH)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(came), len(refused_)) == (1, 1)
    assert notes.ids() == came
    assert notes.model.name == came[0]


def test_named_at_creation(any_db):
    notes = any_db.create_collection("notes", 16, model="acme/old@r1")
    assert (notes.model.name, notes.model.revision) == ("acme/old", "r1")
    assert notes.model.normalised is None
    notes.upsert_texts(["a"], ["one"], OLD)  # which tells no revision
    assert notes.model.normalised is False
    with pytest.raises(OtherModelError, match="revision 'r1'"):
        notes.search_text("x", model=requant.Model("acme/old", OLD.encoder, "r2"))
    any_db.create_collection("notes", 16, exist_ok=True, model=OLD)
    with pytest.raises(OtherModelError):
        any_db.create_collection("notes", 16, exist_ok=True, model=SAME_WIDTH)
    with pytest.raises(InputError, match="cannot be remembered"):
        any_db.create_collection("more", 16, model=lambda texts: texts)
    any_db.drop_collection("notes")
    assert any_db.create_collection("notes", 16).model is None


def test_prompts_and_lengths_are_a_part_of_it(db):
    def prompted(texts, prompt=None, normalize=False):
        rows = hashed(16, 1)([f"{prompt}{text}" for text in texts])
        return rows / np.linalg.norm(rows, axis=1, keepdims=True) if normalize else rows

    model = requant.Model("acme/prompted", prompted)
    notes = db.create_collection("notes", 16, "ip")
    notes.upsert_texts(["a"], ["one"], model, encode={"prompt": "doc: ", "normalize": True})
    assert notes.model == requant.ModelInfo("acme/prompted", None, 16, "doc: ", True)
    with pytest.raises(OtherModelError, match="prompt 'doc: '"):
        notes.upsert_texts(["b"], ["two"], model, encode={"normalize": True})
    with pytest.raises(OtherModelError, match="have length 1"):
        notes.upsert_texts(["b"], ["two"], model, encode={"prompt": "doc: "})
    assert notes.ids() == ["a"]
    assert notes.search_text("one", encode={"prompt": "query: "})


def test_within_a_transaction_of_the_callers(any_db):
    any_db.create_collection("notes", 16)
    notes = any_db.collection("notes")
    with Session(any_db.engine) as session:
        notes.upsert_texts(["a"], ["one"], OLD, connection=session)
        with pytest.raises(OtherModelError):
            notes.upsert_texts(["b"], ["two"], SAME_WIDTH, connection=session)
        session.rollback()
    assert (notes.model, len(notes)) == (None, 0)


def test_a_name_is_enough_for_others(any_db):
    requant.register_model("acme-tests", lambda name: hashed(16, len(name)))
    notes = any_db.create_collection("notes", 16, model="acme-tests/small")
    notes.upsert_texts(["a"], ["one"])
    assert any_db.collection("notes").search_text("one", k=1)[0].score == pytest.approx(1, abs=1e-6)


def test_a_stored_name_loads_nothing_that_a_stranger_could_mean():
    for name in ("/etc/model", "../model", "a/../b", "os:system", "https://x", ".hidden", "~/x"):
        with pytest.raises(UnsupportedError, match="pass it as model="):
            load_stored(requant.ModelInfo(name, None, 16))


def test_what_is_noted_may_be_nonsense(db):
    notes = filled(db, 3)
    update = sa.text("UPDATE requant_meta SET value = :text WHERE name LIKE 'model of %'")
    for text in ("{", '{"name": 7}', json.dumps({**notes.model.as_json(), "dim": 17})):
        with db.engine.begin() as connection:
            connection.execute(update, {"text": text})
        with pytest.raises(CorruptDataError, match="model of collection 'notes'"):
            _ = notes.model


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        (lambda rows: rows[:-1], InputError),
        (lambda rows: [*rows[1:], rows[0][1:]], InputError),
        (lambda rows: rows[:, :5], DimensionError),
        (lambda rows: np.where(rows == rows[-1], np.nan, rows), NonFiniteError),
    ],
)
def test_a_batch_that_is_wrong_is_named_and_nothing_is_written(db, wrong, error):
    notes = db.create_collection("notes", 16)

    def encode(texts, batch_size):
        rows = hashed(16, 1)(texts)
        return wrong(rows) if "t40" in texts else rows

    texts = [f"t{n}" for n in range(70)]
    with pytest.raises(error, match="texts 32 to 63"):
        notes.upsert_texts(range(70), texts, encode, encode={"batch_size": 1})
    assert (len(notes), notes.model) == (0, None)
    with pytest.raises(error, match="rows 30 to 59 was refused, 30 rows before it") as caught:
        notes.upsert_texts(range(70), texts, encode, encode={"batch_size": 1}, batch=30)
    assert caught.value.stored == len(notes) == 30
    notes.upsert_texts(range(30, 70), texts[30:], lambda texts: hashed(16, 1)(texts), batch=30)
    assert notes.ids() == list(range(70))


class HttpError(Exception):
    """As clients of HTTP raise."""

    def __init__(self, status):
        super().__init__(f"status {status}")
        self.response = SimpleNamespace(status_code=status, headers={"retry-after": "0"})


def test_what_may_pass_is_tried_again_and_the_rest_is_not(db, monkeypatch):
    slept, calls = [], []
    monkeypatch.setattr("time.sleep", slept.append)
    notes = db.create_collection("notes", 16)

    def failing(errors):
        def encode(texts):
            calls.append(len(texts))
            if errors:
                raise errors.pop(0)
            return hashed(16, 1)(texts)

        return encode

    wrapped = RuntimeError("from a client")
    wrapped.__cause__ = ConnectionResetError()
    assert notes.upsert_texts(["a"], ["x"], failing([HttpError(429), TimeoutError(), wrapped])) == 1
    assert (len(calls), len(slept)) == (4, 3)
    for error in (HttpError(401), ValueError("no"), KeyError("code")):
        calls.clear()
        with pytest.raises(type(error)):
            notes.upsert_texts(["b"], ["x"], failing([error]))
        assert len(calls) == 1
    slept.clear()
    with pytest.raises(ModelError, match=rf"texts 0 to 0: .* {len(WAITS) + 1} times.*503"):
        notes.upsert_texts(["b"], ["x"], failing([HttpError(503) for _ in range(9)]))
    assert len(slept) == len(WAITS)
    assert notes.ids() == ["a"]
    assert not is_passing(HttpError(400))


def test_langchain_embeddings(db):
    from langchain_core.embeddings import DeterministicFakeEmbedding

    notes = db.create_collection("notes", 16)
    notes.upsert_texts(["a", "b"], ["one", "two"], DeterministicFakeEmbedding(size=16))
    assert notes.search_text("two", k=1)[0].id == "b"


@pytest.mark.parametrize("target", ["sqlite", "postgresql"])
def test_backup_restore_export_import_and_migrate_keep_it(any_db, tmp_path, target, request):
    notes = filled(any_db, 20)
    remembered = notes.model
    notes.migrate("main", engine="faiss", precision="int8")
    assert notes.model == remembered
    any_db.backup(tmp_path / "backup")
    notes.export(tmp_path / "export", format="parquet")
    if target == "postgresql":
        if any_db.engine.dialect.name == "postgresql":
            pytest.skip("one server: it is restored to SQLite")
        restored = request.getfixturevalue("empty_postgres")
    else:
        restored = tmp_path / "restored.db"
    requant.restore(tmp_path / "backup", restored, folder=tmp_path / "restored")
    with requant.open(restored, folder=tmp_path / "restored") as there:
        assert there.collection("notes").model == remembered
        requant.import_items(tmp_path / "export", there, "more")
        assert there.collection("more").model == remembered
        there.create_collection("other", 16, model=SAME_WIDTH)
        with pytest.raises(OtherModelError):
            requant.import_items(tmp_path / "export", there, "other")


def test_the_command_line_asks_the_collections_model(tmp_path):
    requant.register_model("acme-cli", lambda name: hashed(16, 5))
    path = tmp_path / "x.db"
    with requant.open(path) as db:
        notes = db.create_collection("notes", 16, model="acme-cli/m", full_text=True)
        notes.upsert_texts(range(3), TEXTS)
        db.create_collection("bare", 16)
    assert (
        run("search", path, "notes", "--text", "two", "-k", 1, "--json").json["hits"][0]["id"] == 1
    )
    found = run("search", path, "notes", "--hybrid", "three", "--json").json["hits"][0]
    assert (found["id"], found["ranks"]) == (2, {"text": 1, "vector": 1})
    assert "--text needs --model" in refused("search", path, "bare", "--text", "x")
    told = run("stats", path, "notes", "--json").json["collections"][0]["model"]
    assert (told["name"], told["dim"]) == ("acme-cli/m", 16)
    assert "texts by model 'acme-cli/m'" in run("stats", path).out

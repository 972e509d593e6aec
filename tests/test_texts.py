"""Texts straight into a collection, by whatever model there is."""

from __future__ import annotations

import numpy as np
import pytest

from requant import DimensionError, DuplicateIdError, InputError, PackageMissingError
from tests.st_model import LETTERS, Model

IDS = ["a", "b", "c"]
TEXTS = ["an apple a day", "boats on the sea", "zebras in a zoo"]


@pytest.fixture
def notes(db):
    """An empty collection."""
    return db.create_collection("notes", dim=len(LETTERS))


def test_texts_in_and_out(notes):
    model = Model()
    assert notes.upsert_texts(IDS, TEXTS, model, metadata=[{"n": i} for i in range(3)]) == 3
    np.testing.assert_array_equal(notes.vectors(IDS), model.encode(TEXTS))
    assert [item.document for item in notes.get(IDS)] == TEXTS
    hit = notes.search_text("zoo zebra", k=1)[0]  # by the model of the last call
    assert (hit.id, hit.document, hit.metadata) == ("c", TEXTS[2], {"n": 2})
    assert notes.search_text("zoo zebra", k=3, where={"n": 1})[0].id == "b"
    assert notes.upsert_texts(["a"], ["an answer"]) == 0


def test_prompts_and_options_are_passed_through(notes):
    model = Model()
    notes.upsert_texts(IDS, TEXTS, model, encode={"prompt": "text: ", "batch_size": 8})
    notes.search_text("sea", encode={"prompt_name": "query"})
    assert model.calls == [
        ("encode", {"prompt": "text: ", "batch_size": 8}),
        ("encode_query", {"prompt_name": "query"}),
    ]


def test_progress_and_slices(notes):
    seen, sizes = [], []

    def model(texts, batch_size):
        sizes.append(len(texts))
        return np.ones((len(texts), len(LETTERS)))

    notes.upsert_texts(
        range(70),
        ["text"] * 70,
        model,
        encode={"batch_size": 1},
        progress=lambda done, total: seen.append((done, total)),
    )
    assert sizes == [32, 32, 6]
    assert seen == [(32, 70), (64, 70), (70, 70)]


def test_a_bar_where_there_is_a_terminal(notes, monkeypatch, capsys):
    import sys

    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    model = lambda texts, batch_size: np.ones((len(texts), len(LETTERS)))  # noqa: E731
    notes.upsert_texts(range(70), ["text"] * 70, model, encode={"batch_size": 1})
    assert "embedding" in capsys.readouterr().err
    notes.search_text("text", encode={"batch_size": 1})
    assert capsys.readouterr().err == ""


def test_bad_rows_are_refused_before_the_model_works(notes):
    model = Model()
    with pytest.raises(DuplicateIdError):
        notes.upsert_texts(["a", "a"], TEXTS[:2], model)
    with pytest.raises(InputError):
        notes.upsert_texts(["a"], TEXTS, model)
    with pytest.raises(InputError, match="text"):
        notes.upsert_texts(["a"], [7], model)
    with pytest.raises(InputError, match="row 1 is NoneType"):
        notes.upsert_texts(["a", "b"], ["x", None], model)
    for ids, texts in (("abc", TEXTS), (IDS, "abc")):
        with pytest.raises(InputError, match="list"):
            notes.upsert_texts(ids, texts, model)
    assert model.calls == []
    assert len(notes) == 0


@pytest.mark.parametrize(
    ("model", "error", "text"),
    [
        (None, InputError, "pass model="),
        ("all-MiniLM-L6-v2", PackageMissingError, "needs sentence-transformers"),
        (42, InputError, "no model"),
        (lambda texts: np.ones((len(texts), 3)), DimensionError, "3 dimensions"),
        (lambda texts: np.ones((1, 27)), InputError, "for 3 texts"),
        (lambda texts: np.ones((len(texts), 27), np.int8), InputError, "codes"),
    ],
)
def test_what_is_no_model(notes, model, error, text):
    with pytest.raises(error, match=text):
        notes.upsert_texts(IDS, TEXTS, model)
    assert len(notes) == 0

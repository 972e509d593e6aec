"""Haystack's FAISS store and in-memory store, and its points in Qdrant."""

from __future__ import annotations

import json

import faiss
import numpy as np
import pytest

from requant.integration.errors import SourceError
from requant.integration.readers import Wanted
from requant.integration.readers.foreign.haystack import from_payload, is_haystack, open_haystack
from tests.foreign_cases import check, check_import, unpack


def opened(path):
    return open_haystack(str(path), Wanted())


def change(path, edit):
    """Edit a JSON file in place."""
    value = json.loads(path.read_text())
    edit(value)
    path.write_text(json.dumps(value))


@pytest.mark.parametrize(
    ("case", "file", "metric"),
    [("haystack_faiss", "index.json", "l2"), ("haystack_memory", "store.json", "cosine")],
)
def test_every_value(tmp_path, case, file, metric):
    store, expected = unpack(case, tmp_path)
    assert is_haystack(str(store))
    assert not is_haystack(str(tmp_path))
    for path in (store, store / file):
        source = opened(path)
        assert (source.metric, source.fidelity) == (metric, "exact")
        assert source.notes == [
            "binary contents (blob) are left out",
            "sparse embeddings are left out",
            "2 of 18 items have no vector",
        ]
        check(source, expected)
    check_import(store, expected, tmp_path)


def test_other_json_is_not_haystack(tmp_path):
    (tmp_path / "a.json").write_text('{"documents": []}')
    (tmp_path / "b.json").write_text("[1, 2")
    assert not is_haystack(str(tmp_path))
    with pytest.raises(SourceError, match="holds no store of Haystack"):
        opened(tmp_path)


def test_two_stores_in_a_folder(tmp_path):
    store, _ = unpack("haystack_memory", tmp_path)
    (store / "other.json").write_bytes((store / "store.json").read_bytes())
    with pytest.raises(SourceError, match=r"holds 2 stores, name one: .*other.json, .*store.json"):
        opened(store)


def test_a_pair_that_was_not_saved_together(tmp_path):
    store, _ = unpack("haystack_faiss", tmp_path)
    path = store / "index.faiss"
    index = faiss.read_index(str(path))
    index.remove_ids(np.array([1], np.int64))
    faiss.write_index(index, str(path))
    message = r"document 'id-1' has a vector here and none in index.faiss"
    with pytest.raises(SourceError, match=message):
        opened(store)
    path.unlink()
    with pytest.raises(SourceError, match=r"index.faiss does not exist: the vectors are in it"):
        opened(store)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda v: v["documents"][3].pop("id"), "document 3: it has no id"),
        (lambda v: v.pop("documents"), "a NoneType where a list is expected"),
        (lambda v: v["documents"].append(7), "document 18: a int where a JSON object"),
        (lambda v: v.update(documents=3), "a int where a list is expected"),
        (lambda v: v["documents"][3].update(embedding=[1, 2]), "'ключ-4': the vector has 2 dim"),
        (lambda v: v["documents"][3].update(embedding="x"), "the vector is 'x', not a list"),
        (lambda v: [one.update(embedding=None) for one in v["documents"]], "none of its 18 docu"),
    ],
)
def test_damage_is_told(tmp_path, edit, message):
    store, _ = unpack("haystack_memory", tmp_path)
    change(store / "store.json", edit)
    with pytest.raises(SourceError, match=message):
        opened(store)


def test_points_of_qdrant():
    at = "b987297a-0d7c-5c6a-8f1a-05c5f9a066a6"
    payload = {"id": "a", "content": None, "meta": {"id": 1}, "blob": None, "score": None}
    assert from_payload(at, payload) == ("a", None, {"id": 1})
    assert from_payload(at, {"id": "a", "content": "x", "meta": {}}) == ("a", "x", None)
    assert from_payload(at, {"id": 7, "content": "x", "meta": {}}) is None
    assert from_payload(at, {"id": "a", "text": "x"}) is None
    assert from_payload(7, payload) is None

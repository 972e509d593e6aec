"""LlamaIndex's persist folders: its own vector store, FAISS by position, FAISS by id."""

from __future__ import annotations

import json

import faiss
import numpy as np
import pytest

from requant.integration.errors import SourceError
from requant.integration.readers import Wanted
from requant.integration.readers.foreign.llama_index import is_llama_index, open_llama_index
from tests.foreign_cases import check, check_import, everything, unpack

DOCSTORE = "docstore.json"
STORE = "default__vector_store.json"


def opened(path):
    return open_llama_index(str(path), Wanted())


def change(path, edit):
    """Edit a JSON file in place."""
    value = json.loads(path.read_text())
    edit(value)
    path.write_text(json.dumps(value))


@pytest.mark.parametrize(
    ("case", "metric", "kind"),
    [
        ("llama_index_simple", "cosine", "SimpleVectorStore"),
        ("llama_index_faiss", "ip", "FaissVectorStore"),
        ("llama_index_map", "l2", "FaissMapVectorStore"),
    ],
)
def test_every_value(tmp_path, case, metric, kind):
    store, expected = unpack(case, tmp_path)
    assert is_llama_index(str(store))
    assert not is_llama_index(str(tmp_path))
    source = opened(store)
    assert (source.metric, source.fidelity) == (metric, "exact")
    assert kind in source.kind
    assert [note for note in source.notes if "relationships between nodes" in note]
    check(source, expected)
    check(opened(store / STORE), expected)
    check_import(store, expected, tmp_path)


def test_ids_that_collided_are_refused_by_name(tmp_path):
    store, _ = unpack("llama_index_collided", tmp_path)
    message = r"2 vectors have the id 19 \(nodes 'id-19', 'id-21'\), and nothing tells them apart"
    with pytest.raises(SourceError, match=message):
        opened(store)


def test_the_map_as_releases_before_json_wrote_it(tmp_path):
    store, expected = unpack("llama_index_map", tmp_path)
    path = store / "id_map.json"
    held = json.loads(path.read_text())
    held["faiss_id_to_node_id_map"] = {
        int(key): node for key, node in held["faiss_id_to_node_id_map"].items()
    }
    path.write_text(str(held))
    check(opened(store), expected)
    path.write_text("__import__('os').abort()")
    with pytest.raises(SourceError, match="neither JSON nor a dict"):
        opened(store)


def test_a_node_with_two_vectors(tmp_path):
    store, _ = unpack("llama_index_map", tmp_path)
    change(store / "id_map.json", lambda v: v["faiss_id_to_node_id_map"].update({"3": "id-2"}))
    with pytest.raises(SourceError, match="node 'id-2' has two vectors, 2 and 3"):
        opened(store)


def test_a_vector_without_a_node(tmp_path):
    store, _ = unpack("llama_index_map", tmp_path)
    change(store / "id_map.json", lambda v: v["faiss_id_to_node_id_map"].pop("3"))
    with pytest.raises(SourceError, match=r"vector 3 belongs to no node in id_map.json"):
        opened(store)


def test_positions_need_the_index_store(tmp_path):
    store, _ = unpack("llama_index_faiss", tmp_path)
    path = store / "index_store.json"

    def two_owners(value):
        (data,) = value["index_store/data"].values()
        other = json.loads(data["__data__"])
        other["nodes_dict"]["4"] = "id-9"
        value["index_store/data"]["other"] = {**data, "__data__": json.dumps(other)}

    change(path, two_owners)
    with pytest.raises(SourceError, match=r"vector 4 belongs to nodes .* several indexes"):
        opened(store)
    path.write_text("{")
    with pytest.raises(SourceError, match=r"index_store.json cannot be read as JSON"):
        opened(store)
    path.unlink()
    with pytest.raises(SourceError, match=r"index_store.json does not exist: it tells which"):
        opened(store)


def test_a_vector_more_than_nodes(tmp_path):
    store, _ = unpack("llama_index_faiss", tmp_path)
    index = faiss.read_index(str(store / STORE))
    index.add(np.ones((1, 8), np.float32))
    faiss.write_index(index, str(store / STORE))
    with pytest.raises(SourceError, match=r"vector 20 belongs to no node in index_store.json"):
        opened(store)


def test_without_docstore_the_metadata_remain(tmp_path):
    store, expected = unpack("llama_index_simple", tmp_path)
    (store / "docstore.json").unlink()
    source = opened(store)
    assert source.notes == ["18 of 18 nodes have no text in docstore.json"]
    found = everything(source)
    assert found["metadata"] == expected["metadata"]
    assert found["documents"] == [None] * 18


def test_nodes_written_as_text_and_by_media(tmp_path):
    store, expected = unpack("llama_index_simple", tmp_path)

    def edit(value):
        for node in value["docstore/data"].values():
            fields = node["__data__"]
            fields["text_resource"] = {"text": fields.pop("text")}
            node["__data__"] = json.dumps(fields)

    change(store / "docstore.json", edit)
    check(opened(store), expected)


@pytest.mark.parametrize(
    ("file", "edit", "message"),
    [
        (STORE, lambda v: v["embedding_dict"].update({"id-1": [1.0]}), "'id-1': the vector has 1"),
        (STORE, lambda v: v["embedding_dict"].update({"id-3": ["x"] * 8}), "'id-3': the vector ho"),
        (STORE, lambda v: v.update(embedding_dict={}), "holds no vectors"),
        (STORE, lambda v: v.update(embedding_dict=[1]), "a list where a JSON object"),
        (DOCSTORE, lambda v: v["docstore/data"].update({"q": 3}), "node 'q': a int where"),
        (DOCSTORE, lambda v: v["docstore/data"].update({"q": {"__data__": "{"}}), "not JSON"),
    ],
)
def test_damage_is_told(tmp_path, file, edit, message):
    store, _ = unpack("llama_index_simple", tmp_path)
    change(store / file, edit)
    with pytest.raises(SourceError, match=message):
        opened(store)


def test_other_stores_of_the_folder_are_told(tmp_path):
    store, _ = unpack("llama_index_simple", tmp_path)
    (store / "image__vector_store.json").write_bytes((store / STORE).read_bytes())
    assert "other vector stores of the folder are left out: image__vector_store.json" in (
        opened(store).notes
    )
    with pytest.raises(SourceError, match="it is no folder of LlamaIndex"):
        opened(tmp_path)

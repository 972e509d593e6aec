"""Nodes are filled without their constructors, and are in all respects as these make them."""

import copy
import pickle

import pytest
from llama_index.core.schema import (
    MetadataMode,
    NodeRelationship,
    ObjectType,
    RelatedNodeInfo,
    TextNode,
)
from llama_index.core.vector_stores.types import VectorStoreQuery

from requant.errors import CorruptDataError
from requant.integration.llama_index import RequantVectorStore

INFO = {"node_id": "doc", "node_type": ObjectType.DOCUMENT.value, "hash": "0f"}
FIELDS = {
    "metadata": {"n": 1, "o": {"x": [1, None]}, "": "e"},
    "excluded_embed_metadata_keys": ["n"],
    "excluded_llm_metadata_keys": ["o", "n"],
    "metadata_template": "{key}={value}",
    "metadata_separator": " | ",
    "text": "a  text\n{braces} \U0001f600",
    "mimetype": "text/x",
    "start_char_idx": 0,
    "end_char_idx": 7,
    "text_template": "{content}--{metadata_str}",
}
ONE = [{name: value} for name, value in FIELDS.items()]
RELATED = [
    *({"relationships": {one.value: INFO}} for one in NodeRelationship),
    {"relationships": {NodeRelationship.CHILD.value: [INFO, {"node_id": "c", "metadata": INFO}]}},
    {"relationships": {one.value: {"node_id": one.name} for one in NodeRelationship}},
]


@pytest.mark.parametrize("given", [{}, *ONE, *RELATED, {**FIELDS, **RELATED[-1]}], ids=lambda _: "")
def test_a_node_is_as_its_constructor_makes_it(given):
    meant, stored = TextNode(id_="a", **given), TextNode(id_="a", embedding=[1.0], **given)
    store = RequantVectorStore(engine=None)
    store.add([stored])
    for found in (store.query(VectorStoreQuery([1.0])).nodes[0], *store.get_nodes()):
        _same(found, meant, {"id_", "text", "metadata", *given})
        for key, related in meant.relationships.items():
            both = (found.relationships[key], related)
            for mine, its in zip(*both, strict=True) if isinstance(related, list) else [both]:
                _same(mine, its, its.model_fields_set)
        assert {type(key) for key in found.relationships} <= {NodeRelationship}


def _same(found, meant, given):
    assert type(found) is type(meant)
    assert found == meant
    assert found.hash == meant.hash
    assert repr(found) == repr(meant)
    assert list(vars(found)) == list(vars(meant))  # in the order that is written
    assert found.model_fields_set == given
    assert found.__pydantic_extra__ == meant.__pydantic_extra__
    assert found.__pydantic_private__ == meant.__pydantic_private__
    assert found.model_dump() == meant.model_dump()
    assert found.model_dump(exclude_defaults=True) == meant.model_dump(exclude_defaults=True)
    assert found.to_json() == meant.to_json()
    assert type(found).from_dict(found.to_dict()) == meant
    for again in (_pickled(found), copy.copy(found), copy.deepcopy(found)):
        assert again == meant
    assert found.model_copy(update={"metadata": {}}) == meant.model_copy(update={"metadata": {}})


def _pickled(found):
    return pickle.loads(pickle.dumps(found))  # noqa: S301 - by the line itself


def test_a_node_can_be_changed_and_shares_nothing_with_the_next():
    store = RequantVectorStore(engine=None)
    store.add([TextNode(id_=name, embedding=[1.0]) for name in "ab"])
    first, second = store.get_nodes()
    with pytest.raises(ValueError, match="valid string"):
        first.text = None
    first.text, first.metadata["n"] = "changed", 1
    first.excluded_embed_metadata_keys.append("n")
    first.excluded_llm_metadata_keys.append("n")
    first.relationships[NodeRelationship.NEXT] = RelatedNodeInfo(node_id="b")
    assert first.get_content(MetadataMode.ALL) == "n: 1\n\nchanged"
    assert second == TextNode(id_="b")
    assert store.get_nodes() == [TextNode(id_="a"), second]


@pytest.mark.parametrize(
    "kept",
    [
        "server-1",
        7,
        {"relationships": {"1": "doc"}},
        {"relationships": ["doc"]},
        {"relationships": {"father": {"node_id": "doc"}}},
        {"start_char_idx": "first"},
        {"mimetype": None},
        {"type": "ImageNode", "data": ["x"]},
        {"type": ["TextNode"], "data": {}},
        {"type": "IndexNode", "data": {"text": "no index_id"}},
    ],
)
def test_what_is_no_node_is_told_by_its_id(db, kept):
    store = RequantVectorStore(db)
    db.create_collection("llama_index", dim=2).upsert(
        ["a"], [[1, 0]], metadata=[{"_node": kept}], documents=["text"]
    )
    with pytest.raises(CorruptDataError, match=r"id 'a'.*'_node'.*rename this key"):
        store.get_nodes()
    with pytest.raises(CorruptDataError, match="id 'a'"):
        store.query(VectorStoreQuery([1.0, 0.0]))

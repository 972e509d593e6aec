"""Filters of LlamaIndex mean here what they mean to LlamaIndex's own reference."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llama_index.core.vector_stores.types import (
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
    VectorStoreQuery,
)

from requant.errors import FilterError
from requant.integration.llama_index import RequantVectorStore
from requant.integration.llama_index.filters import to_where
from tests.llama_cases import CASES, QUERIES, expected, joined, nodes, one, reference

REFERENCE = reference()
QUERY = QUERIES[0]


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def store(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("llama")
    place = folder / "a.db"
    if request.param == "postgresql":
        place = request.getfixturevalue("postgres_url")
    made = RequantVectorStore(place, folder=folder / "indexes", collection_name="filters")
    made.add(nodes())
    for field in ("lang", "year"):  # of two the answers must not change
        made.collection.index_field(field)
    yield made
    made.client.drop_collection("filters")
    made.close()


def test_there_are_as_many_cases_as_operators_and_more():
    used = {leaf.operator for filters in CASES for leaf in filters.filters if hasattr(leaf, "key")}
    assert used == set(FilterOperator)
    assert len(CASES) >= 56


@pytest.mark.parametrize("filters", CASES, ids=[f"{place:02}" for place in range(len(CASES))])
def test_a_filter_means_what_the_reference_says(store, filters):
    meant = expected(filters, REFERENCE)
    assert {node.node_id for node in store.get_nodes(filters=filters)} == meant
    found = store.query(VectorStoreQuery(QUERY, similarity_top_k=50, filters=filters))
    assert set(found.ids) == meant


def test_the_cases_tell_right_from_wrong():
    sizes = [len(expected(filters, REFERENCE)) for filters in CASES]
    assert sum(0 < size < 13 for size in sizes) >= 50


KEYS = st.sampled_from(["lang", "year", "score", "tags", "open", "numbers", "note", "a.b", "no"])
WORDS = st.sampled_from(["en", "de", "EN", "", "red", "new", "1", "2005", "e", "100%", "x"])
NUMBERS = st.sampled_from([0, 1, 2, 1999, 2005, 2024, -5, 10**15])
FLOATS = st.sampled_from([0.0, 1.0, 0.5, 2005.0, -1.5, 1e300])
LISTS = st.lists(WORDS, max_size=3) | st.lists(NUMBERS, max_size=3) | st.lists(FLOATS, max_size=3)
SCALAR = WORDS | NUMBERS | FLOATS
OF_LISTS = ["in", "nin", "any", "all"]
OF_SCALARS = ["==", "!=", ">", ">=", "<", "<=", "contains"]
LEAVES = st.one_of(
    st.builds(lambda *a: (*a,), KEYS, st.sampled_from(OF_LISTS), LISTS),
    st.builds(lambda *a: (*a,), KEYS, st.sampled_from(OF_SCALARS), SCALAR),
    st.builds(lambda *a: (*a,), KEYS, st.sampled_from(["==", "!="]), LISTS | st.none()),
    st.builds(
        lambda *a: (*a,), KEYS, st.sampled_from(["text_match", "text_match_insensitive"]), WORDS
    ),
    st.builds(lambda key: (key, "is_empty", None), KEYS),
)
TREES = st.recursive(
    st.builds(lambda part: joined("and", part), LEAVES),
    lambda inner: st.builds(
        lambda condition, parts: joined(condition, *parts),
        st.sampled_from(["and", "or", "not"]),
        st.lists(inner | LEAVES, max_size=3),
    ),
    max_leaves=6,
)


@settings(deadline=None, max_examples=100)
@given(filters=TREES)
def test_any_filter_means_what_the_reference_says(store, filters):
    found = {node.node_id for node in store.get_nodes(filters=filters)}
    assert found == expected(filters, REFERENCE)


def test_ids_and_documents_restrict_and_empty_lists_do_not(store):
    def ids(**asked):
        return set(store.query(VectorStoreQuery(QUERY, similarity_top_k=50, **asked)).ids)

    everything = {node.node_id for node in nodes()}
    assert ids(node_ids=[]) == ids(doc_ids=[]) == ids() == everything
    assert ids(node_ids=["n3", "n4", "nowhere"]) == {"n3", "n4"}
    assert ids(doc_ids=["doc1"]) == {"n1", "n5", "n9"}
    assert ids(doc_ids=["doc1", "doc2"], node_ids=["n1", "n2", "n3"]) == {"n1", "n2"}
    assert ids(doc_ids=["doc1"], filters=one("year", ">", 2000)) == {"n1", "n9"}


@pytest.mark.parametrize(
    ("filters", "part"),
    [
        (one("year", "in", "2005"), "list"),
        (one("year", "any", 3), "list"),
        (one("year", ">", None), "order"),
        (one("year", ">", [1]), "order"),
        (one("year", "contains", [1]), "one value"),
        (one("lang", "text_match", 3), "text"),
        (one("lang", "text_match_insensitive", ["x"]), "text"),
        (one("$id", "==", "n1"), "id"),
        (one("_node", "is_empty"), "_node"),
        (one('a"b', "==", "n1"), "name"),
        (one("year", "==", float("nan")), "nan"),
        (one("lang", "==", "nul\0"), "NUL"),
        ({"lang": "en"}, "MetadataFilters"),
    ],
)
def test_a_filter_without_meaning_is_refused(store, filters, part):
    with pytest.raises(FilterError, match=part) as caught:
        store.get_nodes(filters=filters)
    assert isinstance(caught.value, ValueError)
    with pytest.raises(FilterError, match=part):
        store.query(VectorStoreQuery(QUERY, filters=filters))


def test_an_unknown_operator_is_refused(store):
    with pytest.raises(ValueError, match="operator"):
        MetadataFilter(key="lang", value="en", operator="near")
    bad = MetadataFilter(key="lang", value="en")
    bad.operator = "near"
    with pytest.raises(FilterError, match="near"):
        to_where(MetadataFilters(filters=[bad]))
    wrong = MetadataFilters(filters=[MetadataFilter(key="lang", value="en")])
    wrong.condition = "xor"
    with pytest.raises(FilterError, match="xor"):
        to_where(wrong)
    assert to_where(MetadataFilters(filters=[], condition=FilterCondition.NOT)) is None


def test_a_document_is_found_by_an_index(store):
    assert "_node.ref_doc_id" in [field.name for field in store.collection.fields if field.ready]

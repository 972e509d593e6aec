"""Documents found by their words: the syntax of queries, and what they are combined with."""

from __future__ import annotations

import random
import string

import numpy as np
import pytest

from requant.errors import InputError, UnsupportedError
from requant.store import read_query
from tests.databases import vectors

DOCUMENTS = {
    "a": "The black cat sat.",
    "b": "Black dogs, hot dogs; a catalogue",
    "c": "Café noir, and a BLACK-CAT tattoo",
    "d": "running config.py on /dev/null as root@example.com <b>bold</b>",
    "e": "“Curly” quotes… don't matter—much; under_score",
    "f": "Straße, ÉCOLE, İstanbul 3.14 2nd",
    "g": None,
    "h": "",
}
FOUND = {
    "cat": "ac",
    "CAT": "ac",
    "cat*": "abc",
    '"black cat"': "ac",
    '"cat black"': "",
    '"black ca"*': "ac",
    '"hot do"*': "b",
    "black AND cat": "ac",
    "black AND dogs OR noir": "bc",
    "black cat": "abc",
    "black OR cat": "abc",
    "black -cat": "b",
    "black NOT cat": "b",
    'black -"hot dogs"': "ac",
    "black AND NOT tattoo": "ab",
    "cafe": "c",
    "CAFÉ": "c",
    "black-cat": "ac",
    "config": "d",
    "config.py": "d",
    "dev": "d",
    "root": "d",
    "example.com": "d",
    "bold": "d",
    "curly": "e",
    "don't": "e",
    "much": "e",
    "score": "e",
    "ecole": "f",
    "straße": "f",
    "14": "f",
    "2nd": "f",
    "null*": "d",
    "run": "",
    "run*": "d",
    '"the black cat': "a",
    "AND": "c",  # it has a word "and"
    "cat AND": "ac",
    "OR OR cat": "ac",
    "-cat": "",
    "NOT cat": "",
    "nothing": "",
    "": "",
    " \n\t": "",
    "!!! ---": "",
    "*": "",
    '"': "",
    '""': "",
    '"!" cat': "ac",
    "cat ! AND tattoo": "c",
}


@pytest.fixture
def notes(any_db):
    return filled(any_db)


def filled(db, full_text=True, name="notes"):
    notes = db.create_collection(name, 8, full_text=full_text)
    facts = [{"first": key in "abc", "kind": "x" if key in "ab" else "y"} for key in DOCUMENTS]
    notes.upsert(list(DOCUMENTS), vectors(8), list(DOCUMENTS.values()), facts)
    return notes


def ids(hits):
    return "".join(sorted(hit.id for hit in hits))


def test_what_a_query_finds(notes):
    assert {query: ids(notes.search_documents(query)) for query in FOUND} == FOUND


@pytest.mark.parametrize("full_text", ["unicode", "porter"])
def test_plain_words_find_what_others_do(any_db, full_text):
    """PostgreSQL is asked in another way for words that need not be made plain first."""
    notes = filled(any_db, full_text)
    plain = ["cat", "black cat", "hot dog", "black AND cat OR noir", '"hot dogs"', '"black ca"*',
             "run*", "black -cat", "cat dogs -running", '"3 14"', "14", "null*"]  # fmt: skip
    for query in plain:
        others = " ".join(w if w.isupper() else w.title() for w in query.split())
        found, also = (notes.search_documents(one) for one in (query, others))
        assert [(hit.id, hit.score) for hit in found] == [(hit.id, hit.score) for hit in also]


def test_hits_are_whole_and_in_order(notes):
    found = notes.search_documents("black cat tattoo", vectors=True)
    assert found[0].id == "c"
    scores = [hit.score for hit in found]
    assert scores == sorted(scores, reverse=True)
    assert min(scores) > 0
    for hit in found:
        item = notes.get([hit.id], vectors=True)[0]
        assert (hit.document, hit.metadata) == (item.document, item.metadata)
        assert np.array_equal(hit.vector, item.vector)
        assert hit.ranks is None
    assert [hit.id for hit in notes.search_documents("black cat tattoo", 2)] == [
        hit.id for hit in found[:2]
    ]


HOSTILE = [
    "'; DROP TABLE requant_items; --", '"" OR ""', "a AND", "AND OR NOT", "NEAR(a b, 3)", "a:b",
    "document:cat", "{document rowid}: cat", "^cat", "+cat", "cat + black", "(((", ")))",
    "'", "''", "\\", "\\'", ":*", "cat:*", "cat & !black", "!cat", "<->", "a <-> b", "%s %b %%",
    "{text}", "\0", "a\0b", "\0cat", "\ud800", "cat\udfff", "\u202ecat", "\ufeffcat", "🙂", "½ ²",
    "*" * 1000, '"' * 1001, "(" * 100_000, "-" * 100_000, "x" * 1_000_000, "a " * 50_000,
    " " * 1_000_000, '"a" ' * 10_000, "cat AND " * 10_000, "é" * 5000, "x" * 3000 + "*",
    "١٢٣", "ªº", "a\u0301", "\u0301", '"cat \u0301"*', '"\u0301 a"*',
    "the of and to a in", "::regconfig", "$1", "?", "?1", ":a",
]  # fmt: skip


@pytest.mark.parametrize("full_text", ["unicode", "porter", "trigram"])
def test_a_hostile_query_is_data(any_db, full_text):
    notes = filled(any_db, full_text)
    for query in HOSTILE:
        for asked in (query, f"nowhere AND {query}"):
            if full_text == "trigram" and query[:9] in ("x" * 9, "é" * 9):
                with pytest.raises(InputError, match="at most 2000"):
                    notes.search_documents(asked)
            else:
                found = notes.search_documents(asked, where={"first": {"$exists": True}})
                assert all(hit.id in DOCUMENTS for hit in found)
    assert len(notes) == len(DOCUMENTS)


def test_any_text_is_a_query(any_db):
    notes, rng = filled(any_db), random.Random(0)
    for _ in range(200):
        letters = rng.choices(string.printable + 'éß東\0\ud800 ""  --**', k=rng.randint(1, 40))
        words = rng.choices(
            ["cat", "black", "AND", "OR", "NOT", '"', "-", "*"], k=rng.randint(0, 6)
        )
        notes.search_documents("".join(letters) + " ".join(words))


def test_a_query_of_too_many_words_is_refused_by_name(notes):
    words = [f"w{n}" for n in range(501)]
    assert notes.search_documents(" ".join(words[:500])) == []
    with pytest.raises(InputError, match=r"501 words.*at most 500"):
        notes.search_documents(" ".join(words))
    for wrong in (None, 7, b"cat", ["cat"]):
        with pytest.raises(InputError, match="text must be a str"):
            notes.search_documents(wrong)


def test_terms_of_a_query():
    query = read_query('a "b c"* AND d OR -e -"f g" NOT h* i AND j')
    groups = [[term.text + "*" * term.prefix for term in group] for group in query.groups]
    assert groups == [["a"], ["b c*", "d"], ["i", "j"]]
    assert [term.text + "*" * term.prefix for term in query.without] == ["e", "f g", "h*"]


def test_stems(any_db):
    notes = filled(any_db, "porter")
    assert ids(notes.search_documents("run")) == "d"
    assert ids(notes.search_documents("dog -running")) == "b"
    assert ids(notes.search_documents("the")) == "a"  # no word is left out
    assert ids(notes.search_documents('"hot dog"')) == "b"


def test_three_characters_or_fewer(any_db):
    notes = any_db.create_collection("notes", 8, full_text="trigram")
    notes.upsert(
        ["a", "b", "c", "d"],
        documents=["東京都の天気", "京都の寺と東京", "Straße nach KÖLN", 'it\'s a\\b "q" x.py'],
    )
    for query, found in {
        "東京都": "a", "の天気": "a", "京都": "ab", "天": "a", "東京 -天気": "b",
        "東京 AND 寺": "b", "東京都 OR 寺": "ab", "köln": "c", "raß": "c", "it's": "d",
        "a\\b": "d", '"a\\b "': "d", ".py": "d", "x": "d", "天気x": "", "b": "d", "京都の": "ab",
        "東京都の寺": "",
    }.items():  # fmt: skip
        assert ids(notes.search_documents(query)) == found, query
    notes.upsert(["a"], documents=["大阪"])
    assert ids(notes.search_documents("東京都")) == ""
    assert ids(notes.search_documents("大阪")) == "a"


# What it is combined with


def test_filters_ids_scores_and_groups(notes):
    assert ids(notes.search_documents("black", where={"kind": "x"})) == "ab"
    assert ids(notes.search_documents("black", among=["c", "d", "nobody"])) == "c"
    assert ids(notes.search_documents("black", where={"$id": {"$in": ["a", "d"]}})) == "a"
    assert ids(notes.search_documents("black", where={"kind": "x"}, among=["b", "c"])) == "b"
    best = notes.search_documents("black cat")
    least = best[0].score
    wanted = ids(hit for hit in best if hit.score >= least)
    assert ids(notes.search_documents("black cat", min_score=least)) == wanted
    assert notes.search_documents("black cat", min_score=least * 1.01) == []
    grouped = notes.search_documents("black cat tattoo", 5, group_by="kind")
    assert [hit.metadata["kind"] for hit in grouped] == ["y", "x"]
    assert len(notes.search_documents("black cat", 1, group_by="kind", group_size=2)) == 2


def test_a_narrow_filter_finds_all_there_is(any_db):
    notes = any_db.create_collection("notes", 8, full_text=True)
    notes.upsert(
        range(3000),
        documents=[f"same words {'rare' * (n % 100 == 0)}" for n in range(3000)],
        metadata=[{"n": n % 1000, "late": n >= 2990} for n in range(3000)],
    )
    assert [hit.id for hit in notes.search_documents("same", where={"n": 999})] == [999, 1999, 2999]
    assert len(notes.search_documents("same", 20, where={"late": True})) == 10
    assert len(notes.search_documents("same", 5000)) == 3000
    assert len(notes.search_documents("same OR rare", 40, where={"n": {"$gte": 0}})) == 40
    groups = notes.search_documents("same", 1000, group_by="n")
    assert sorted(hit.metadata["n"] for hit in groups) == list(range(1000))


def test_a_reranker_reads_the_text(notes):
    class Model:
        def predict(self, pairs):
            self.asked = pairs
            return [len(document) for _, document in pairs]

    model = Model()
    found = notes.search_documents("black", 1, rerank=model)
    assert {query for query, _ in model.asked} == {"black"}
    assert (found[0].id, found[0].score) == ("b", len(DOCUMENTS["b"]))


@pytest.mark.parametrize(
    "options",
    [{"mmr": 0.5}, {"exact": True}, {"index": "main"}, {"effort": 5}, {"oversample": 2.0}],
)
def test_options_of_vectors_are_refused(notes, options):
    with pytest.raises(InputError, match=f"{next(iter(options))}="):
        notes.search_documents("cat", **options)


def test_without_an_index_of_words(any_db):
    notes = any_db.create_collection("notes", 8)
    notes.upsert(["a"], vectors(1), ["cat"])
    assert not notes.full_text
    for search in (
        lambda: notes.search_documents("cat"),
        lambda: notes.search_hybrid("cat", vectors(1)[0]),
        notes.unindex_text,
    ):
        with pytest.raises(UnsupportedError, match="not indexed by words"):
            search()


# Words and vectors together


def test_a_hybrid_search_fuses_both(notes):
    query = vectors(1, seed=5)[0]
    near = [hit.id for hit in notes.search(query, k=10)]
    words = [hit.id for hit in notes.search_documents("black cat", k=10)]
    found = notes.search_hybrid("black cat", query, k=10, weights=(1.5, 1))
    for hit in found:
        by_words = words.index(hit.id) + 1 if hit.id in words else None
        assert hit.ranks == (by_words, near.index(hit.id) + 1)
        score = 1 / (2 + hit.ranks.vector) + (1.5 / (2 + by_words) if by_words else 0)
        assert hit.score == np.float32(score)
    assert {hit.id for hit in found} == {*near, *words}
    assert [hit.score for hit in found] == sorted((hit.score for hit in found), reverse=True)
    assert [hit.id for hit in notes.search_hybrid("black cat", query, weights=(0, 1))] == near
    alone = notes.search_hybrid("black cat", query, weights=(1, 0))
    assert [hit.id for hit in alone] == words
    assert alone[0].ranks == (1, None)


def test_a_hybrid_search_with_everything(notes):
    notes.add_index("main", engine="usearch")
    query = vectors(1, seed=5)[0]

    def found(**options):
        return notes.search_hybrid("black cat", query, **options)

    assert {hit.id for hit in found(where={"kind": "x"})} == {"a", "b"}
    assert {hit.id for hit in found(among=["c", "d"])} == {"c", "d"}
    assert len(found(k=3)) == 3
    least = found()[2].score
    assert len(found(min_score=least)) == 3
    groups = found(k=5, group_by="kind", group_size=2)
    assert sorted(hit.metadata["kind"] for hit in groups) == ["x", "x", "y", "y"]
    assert all(hit.ranks.vector for hit in groups)
    assert all(hit.vector is not None for hit in found(vectors=True))
    assert found(index="main", oversample=4.0)[0].id == found(exact=True)[0].id
    with pytest.raises(InputError, match="mmr="):
        found(mmr=0.5)


def test_a_group_found_late_has_the_ranks_that_all_have(any_db):
    notes = any_db.create_collection("notes", 8, full_text=True)
    rows = vectors(3000)
    notes.upsert(
        range(3000),
        rows,
        [f"same {'more' * (n % 3 == 0)}" for n in range(3000)],
        [{"kind": "rare" if n in (7, 2999) else "often"} for n in range(3000)],
    )
    query = -rows[2999]  # which is as far away as can be
    every = {hit.id: hit for hit in notes.search_hybrid("same", query, 3000)}
    found = notes.search_hybrid("same", query, 5, group_by="kind", group_size=3)
    assert [hit.metadata["kind"] for hit in found].count("rare") == 2
    for hit in found:
        assert (hit.score, hit.ranks) == (every[hit.id].score, every[hit.id].ranks)
        ranks = hit.ranks
        assert hit.score == np.float32(1 / (2 + ranks.text) + 3 / (2 + ranks.vector))


def test_a_hybrid_search_embeds_its_text(notes):
    asked = []

    def model(texts):
        asked.extend(texts)
        return vectors(1, seed=5)

    by_model = notes.search_hybrid("black cat", model=model)
    assert by_model == notes.search_hybrid("black cat", vectors(1, seed=5)[0])
    assert asked == ["black cat"]


def test_a_hybrid_search_needs_a_vector_or_a_model(notes):
    with pytest.raises(InputError, match="model="):
        notes.search_hybrid("black cat")


@pytest.mark.parametrize(
    "weights",
    [(0, 0), (1,), (1, -1), (float("nan"), 1), "ab", None, 3, (10**400, 1), (1e30, 1), (0, 1e-30)],
)
def test_weights_that_are_none(notes, weights):
    with pytest.raises(InputError, match="weights must be two numbers"):
        notes.search_hybrid("cat", vectors(1)[0], weights=weights)


def test_items_without_a_vector_are_found_by_their_words(any_db):
    notes = any_db.create_collection("notes", 8, full_text=True)
    notes.upsert(["a", "b"], [None, vectors(1)[0]], ["cat", "dog"])
    found = notes.search_hybrid("cat", vectors(1)[0], vectors=True)
    assert {hit.id: hit.ranks for hit in found} == {"a": (1, None), "b": (None, 1)}
    assert {hit.id: hit.vector is None for hit in found} == {"a": True, "b": False}


def test_searches_by_words_are_counted(any_db, notes):
    notes.search_documents("black cat")
    found = any_db.metrics().collections["notes"]
    assert (found.searches.count, found.words.count, found.exact_searches) == (1, 1, 0)
    notes.search_hybrid("black cat", vectors(1)[0])
    found = any_db.metrics().collections["notes"]
    assert (found.searches.count, found.words.count, found.exact_searches) == (2, 2, 1)

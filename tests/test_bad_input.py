"""Everything that must not be stored is refused whole, by name, before anything is written."""

from __future__ import annotations

import datetime
import types

import numpy as np
import pytest

import requant
from requant.errors import (
    DimensionError,
    DuplicateIdError,
    ExistsError,
    FilterError,
    InputError,
    NonFiniteError,
    RequantError,
    StoreError,
    UnknownCollectionError,
    UnsupportedError,
)
from tests.databases import dump, vectors

DIM = 4
GOOD = vectors(3, DIM)


def damaged(value, row=1, dim=2, dtype=np.float64):
    """Three good rows with one value that is not."""
    rows = GOOD.astype(dtype)
    rows[row, dim] = value
    return rows


def deep(levels):
    """Metadata nested so many levels deep."""
    value = {}
    for _ in range(levels):
        value = {"in": value}
    return value


RING = {}
RING["self"] = RING
LONE = "half a pair \ud800"

VECTORS = {
    "NaN": (damaged(np.nan), NonFiniteError, "vectors row 1 holds nan in dimension 2"),
    "infinity": (damaged(np.inf), NonFiniteError, "row 1 holds inf"),
    "minus infinity": (damaged(-np.inf, row=2), NonFiniteError, "row 2 holds -inf"),
    "beyond float32": (damaged(1e39, row=0), NonFiniteError, "row 0 holds inf"),
    "NaN in float32": (damaged(np.nan, dtype=np.float32), NonFiniteError, "row 1"),
    "NaN in float16": (damaged(np.nan, dtype=np.float16), NonFiniteError, "row 1"),
    "NaN in a list": ([[1, 2, 3, 4], [1, 2, 3, 4], [1, 2, float("nan"), 4]], NonFiniteError,
                      "row 2"),
    "too wide": (vectors(3, 5), DimensionError, "5 dimensions, expected 4"),
    "too narrow": (vectors(3, 3), DimensionError, "3 dimensions, expected 4"),
    "no width": (np.empty((3, 0)), InputError, "no dimensions"),
    "one dimension": (GOOD[0], InputError, "wrap one vector in a list"),
    "three dimensions": (GOOD[None], InputError, r"\(1, 3, 4\)"),
    "ragged": ([[1, 2, 3, 4], [1, 2, 3], [1, 2, 3, 4]], InputError, "cannot be read"),
    "objects": (GOOD.astype(object), InputError, "object"),
    "None inside": ([[1, 2, 3, None]] * 3, InputError, "object"),
    "text": ([["a", "b", "c", "d"]] * 3, InputError, "dtype <U1"),
    "bytes": (b"1234" * 12, InputError, "vectors must hold real numbers"),
    "complex": (GOOD.astype(complex), InputError, "complex128"),
    "bools": (GOOD > 0, InputError, "bool"),
    "dates": (np.zeros((3, 4), "M8[s]"), InputError, "datetime64"),
    "records": (np.zeros(3, [("x", "f4", 4)]), InputError, "dtype"),
    "a number": (7, InputError, "shape"),
    "a dict": ({"a": [1, 2, 3, 4]}, InputError, "object"),
    "too few": (GOOD[:2], InputError, "vectors has 2 rows, ids has 3"),
    "too many": (vectors(4, DIM), InputError, "vectors has 4 rows, ids has 3"),
    "none for three ids": ([], InputError, "vectors"),
}  # fmt: skip
IDS = {
    "twice": (["a", "b", "a"], DuplicateIdError, "'a' occurs twice in one batch: rows 0 and 2"),
    "twice as text and number": (["7", "b", 7], DuplicateIdError, "'7' occurs twice"),
    "empty": (["a", "", "c"], InputError, "ids row 1 has 0 characters"),
    "a million characters": (["a", "b", "x" * 10**6], InputError, "row 2 has 1000000 characters"),
    "one too many": (["a", "b", "x" * 1025], InputError, "row 2 has 1025"),
    "None": (["a", None, "c"], InputError, "row 1 is a NoneType"),
    "a float": (["a", 1.5, "c"], InputError, "row 1 is a float"),
    "NaN": (["a", float("nan"), "c"], InputError, "row 1 is a float"),
    "a bool": (["a", True, "c"], InputError, "row 1 is a bool"),
    "a NumPy bool": (["a", np.True_, "c"], InputError, "row 1 is a bool"),
    "bytes inside": (["a", b"b", "c"], InputError, "row 1 is a bytes"),
    "a list inside": (["a", ["b"], "c"], InputError, "row 1 is a list"),
    "a date": (["a", datetime.date(2024, 1, 1), "c"], InputError, "row 1 is a date"),
    "NUL": (["a", "b\0", "c"], InputError, "row 1 holds a NUL"),
    "half a surrogate pair": (["a", "b", LONE], InputError, "row 2 is not valid Unicode"),
    "an endless number": (["a", "b", 10**5000], InputError, "row 2"),
    "one text": ("abc", InputError, "wrap one in a list"),
    "bytes": (b"abc", InputError, "wrap one in a list"),
    "a number": (7, InputError, "wrap one in a list"),
    "nothing": (None, InputError, "not NoneType"),
    "a single array value": (np.array(7), InputError, "list of ids"),
}
DOCUMENTS = {
    "a number": (["a", 7, None], InputError, "documents row 1 is a int"),
    "bytes": (["a", None, b"x"], InputError, "documents row 2 is a bytes"),
    "NUL": (["a", "b\0", None], InputError, "documents row 1 holds a NUL"),
    "half a surrogate pair": ([LONE, None, None], InputError, "documents row 0"),
    "one text": ("abc", InputError, "documents must be a list"),
    "too few": (["a"], InputError, "documents has 1 rows, ids has 3"),
    "a generator": ((x for x in "abc"), InputError, "not generator"),
    "a dict": ({"a": "b"}, InputError, "not dict"),
}
METADATA = {
    "NaN": ([{}, {"x": float("nan")}, None], InputError, "metadata row 1 is not JSON"),
    "infinity": ([{}, {"x": [float("inf")]}, None], InputError, "row 1"),
    "a date": ([{}, None, {"x": datetime.date(2024, 1, 1)}], InputError, "row 2 .*date"),
    "a NumPy value": ([{"x": np.float32(1)}, None, None], InputError, "row 0 .*float32"),
    "an array": ([{"x": np.zeros(2)}, None, None], InputError, "row 0 .*ndarray"),
    "bytes": ([{"x": b"y"}, None, None], InputError, "row 0 .*bytes"),
    "a set": ([{"x": {1}}, None, None], InputError, "row 0 .*set"),
    "a nested mapping": ([{"x": types.MappingProxyType({})}, None, None], InputError, "row 0"),
    "a key that is a number": ([{}, {7: "x"}, None], InputError, "row 1 has the key 7"),
    "a key inside": ([{}, {"x": [{None: 1}]}, None], InputError, "row 1 has the key None"),
    "itself": ([None, None, RING], InputError, "row 2 is nested more than 100"),
    "too deep": ([None, None, deep(150)], InputError, "row 2 is nested more than 100"),
    "NUL": ([None, {"x": "a\0b"}, None], InputError, "row 1 holds a NUL"),
    "NUL in a key": ([None, {"a\0b": 1}, None], InputError, "row 1 holds a NUL"),
    "half a surrogate pair": ([None, {"x": LONE}, None], InputError, "row 1 is not valid"),
    "text": ([None, "{}", None], InputError, "row 1 is a str"),
    "a list": ([None, [1], None], InputError, "row 1 is a list"),
    "one dict": ({"x": 1}, InputError, "metadata must be a list"),
    "too many": ([None] * 4, InputError, "metadata has 4 rows, ids has 3"),
}
COLUMNS = [
    (column, case, *given)
    for column, table in {
        "vectors": VECTORS, "ids": IDS, "documents": DOCUMENTS, "metadata": METADATA
    }.items()
    for case, given in table.items()
]  # fmt: skip


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """One database for all cases: each of them must leave it as it is."""
    with requant.open(tmp_path_factory.mktemp("db") / "x") as db:
        notes = db.create_collection("notes", DIM)
        notes.upsert(["old"], GOOD[:1], ["text"], [{"n": 1}])
        notes.add_index("main", engine="usearch")
        yield db, notes, dump(db)


@pytest.mark.parametrize("method", ["upsert", "add"])
@pytest.mark.parametrize(
    ("column", "value", "error", "text"),
    [pytest.param(c[0], *c[2:], id=f"{c[0]}: {c[1]}") for c in COLUMNS],
)
def test_a_batch_is_refused_whole(shared, method, column, value, error, text):
    db, notes, before = shared
    rows = {"ids": ["a", "b", "c"], "vectors": GOOD, "documents": ["x"] * 3, "metadata": [{}] * 3}
    with pytest.raises(error, match=text):
        getattr(notes, method)(**rows | {column: value})
    assert dump(db) == before


QUERIES = {
    "NaN": ([1, 2, float("nan"), 4], NonFiniteError, "row 0 holds nan"),
    "infinity": ([1, 2, float("inf"), 4], NonFiniteError, "row 0 holds inf"),
    "too wide": ([1, 2, 3, 4, 5], DimensionError, "5 dimensions, expected 4"),
    "two": (GOOD[:2], InputError, "one vector of 4 numbers"),
    "a number": (1.0, InputError, "shape"),
    "text": ("1234", InputError, "dtype"),
    "None": (None, InputError, "object"),
    "nothing": ([], InputError, "no dimensions|dimensions"),
}


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("case", QUERIES)
def test_queries(shared, case, exact):
    _, notes, _ = shared
    query, error, text = QUERIES[case]
    with pytest.raises(error, match=text):
        notes.search(query, exact=exact)
    if case not in ("two", "nothing"):
        with pytest.raises(error, match=text):
            notes.search_many([query] if case != "a number" else query, exact=exact)


def test_the_row_of_a_bad_query_is_named(shared):
    _, notes, _ = shared
    with pytest.raises(NonFiniteError, match="queries row 2 holds nan"):
        notes.search_many(damaged(np.nan, row=2))


WHERE = {
    "SQL": "1=1; DROP TABLE requant_items",
    "SQL as a field": {"n' OR '1'='1 --\"": 1},
    "an unknown operator": {"n": {"$where": "1=1"}},
    "a list": [{"n": 1}],
    "a bare operator": {"$eq": 1},
    "NaN": {"n": float("nan")},
    "a date": {"n": datetime.date(2024, 1, 1)},
    "an object": {"n": object()},
}


@pytest.mark.parametrize("case", WHERE)
def test_filters(shared, case):
    db, notes, before = shared
    for call in (
        lambda where: notes.search(GOOD[0], where=where),
        lambda where: notes.search_many(GOOD, where=where),
        lambda where: notes.delete(where=where),
    ):
        with pytest.raises(FilterError):
            call(WHERE[case])
    assert dump(db) == before


def test_values_that_try_to_be_sql_match_nothing(db):
    notes = db.create_collection("notes", DIM)
    notes.upsert(["old"], GOOD[:1], ["text"], [{"n": 1}])
    before = dump(db)
    for hostile in ("' OR '1'='1", "1); DROP TABLE requant_items; --", "%", "*"):
        assert notes.delete(where={"n": hostile}) == 0
        assert notes.delete([hostile]) == 0
        assert notes.search(GOOD[0], where={"n": hostile}) == []
    after = dump(db)
    assert after.keys() == before.keys()
    changed = {name for name in before if after[name] != before[name]}
    assert changed == {"requant_collections"}  # which counts the writes


@pytest.mark.parametrize(
    "arguments",
    [{}, {"where": {}}, {"ids": None}, {"ids": ["old"], "where": {"n": 1}}],
    ids=str,
)
def test_deletes_that_say_too_little_or_too_much(shared, arguments):
    db, notes, before = shared
    with pytest.raises(InputError, match="either ids or a non-empty where"):
        notes.delete(**arguments)
    assert dump(db) == before


@pytest.mark.parametrize("call", ["get", "delete", "vectors"])
@pytest.mark.parametrize("case", [name for name in IDS if not name.startswith("twice")])
def test_ids_to_look_up(shared, call, case):
    db, notes, before = shared
    ids, _, text = IDS[case]
    if call == "get" and ids is None:
        assert [item.id for item in notes.get(ids)] == notes.ids()  # everything
        return
    if call == "delete" and ids is None:
        text = "either ids"
    with pytest.raises(InputError, match=text):
        getattr(notes, call)(ids)
    assert dump(db) == before


NAMES = [
    "", ".", "..", "../x", "a/b", "a\\b", "/etc/passwd", "a..b", ".hidden", "-rf", "a b", "a\0b",
    "a\nb", "naïve", "x" * 129, "a;b", "a'b", 'a"b', "%", "notes\n", None, 7, b"notes", ["notes"],
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES, ids=repr)
def test_names(shared, name):
    db, notes, before = shared
    with pytest.raises(InputError, match=r"collection name .* is not allowed"):
        db.create_collection(name, dim=4)
    with pytest.raises(InputError, match=r"index name .* is not allowed"):
        notes.add_index(name, engine="usearch")
    assert dump(db) == before


@pytest.mark.parametrize("name", ["a", "notes-2024.v1", "_", "x" * 128, "0"])
def test_names_that_are_allowed(db, name):
    assert db.create_collection(name, dim=2).name == name


@pytest.mark.parametrize("dim", [0, -1, 65_537, 1.5, "4", None, True, [4]], ids=repr)
def test_dimensions(shared, dim):
    db, _, before = shared
    with pytest.raises(InputError, match="dim must be an integer from 1 to 65536"):
        db.create_collection("other", dim=dim)
    assert dump(db) == before


def test_a_dimension_may_be_a_numpy_integer(db):
    assert db.create_collection("other", dim=np.int64(4)).dim == 4


@pytest.mark.parametrize("metric", ["dot", "", "COSINE", None, 1, ["ip"]], ids=repr)
def test_metrics(shared, metric):
    db, _, before = shared
    with pytest.raises(InputError, match=r"unknown metric .*cosine"):
        db.create_collection("other", dim=4, metric=metric)
    assert dump(db) == before


def test_collections_that_are_not_there(shared):
    db, _, before = shared
    for call in (db.collection, db.drop_collection):
        with pytest.raises(UnknownCollectionError, match=r"no collection 'x' here; .*'notes'"):
            call("x")
    with pytest.raises(ExistsError, match="'notes' already exists"):
        db.create_collection("notes", dim=7)
    assert dump(db) == before


TARGETS = {
    "a folder that is not there": ("{}/none/x.requant", StoreError, "none does not exist"),
    "a folder": ("{}", StoreError, "cannot open"),
    "an unknown scheme": ("nosuchdb://host/x", StoreError, "nosuchdb"),
    "another database": ("mysql+pymysql://host/x", (StoreError, UnsupportedError), "mysql|pymysql"),
    "SQLite in memory by URL": ("sqlite://", InputError, ":memory:"),
    "SQLite in memory by name": ("sqlite:///:memory:", InputError, ":memory:"),
    "PostgreSQL without a folder": ("postgresql+psycopg://host/x", InputError, "folder="),
    "nothing": (None, InputError, "path"),
    "a number": (7, InputError, "path"),
    "bytes": (b"x.requant", InputError, "path"),
    "no name": ("", InputError, "path"),
}


@pytest.mark.parametrize("case", TARGETS)
def test_databases_that_cannot_be_opened(tmp_path, case, monkeypatch):
    monkeypatch.chdir(tmp_path)
    target, error, text = TARGETS[case]
    if isinstance(target, str):
        target = target.format(tmp_path)
    with pytest.raises(error, match=text):
        requant.open(target)
    assert list(tmp_path.iterdir()) == []


def test_a_password_is_not_shown(tmp_path):
    for url in ("postgresql+nodriver://me:secret@host/x", "nosuchdb://me:secret@host/x"):
        with pytest.raises(RequantError) as raised:
            requant.open(url, folder=tmp_path)
        assert "secret" not in str(raised.value)


MASKED = np.ma.masked_array(GOOD, mask=np.eye(3, DIM, k=1) * np.array([[0], [1], [0]]))


@pytest.mark.parametrize("given", [MASKED, list(MASKED)], ids=["array", "list of rows"])
def test_masked_vectors_are_refused_by_row(db, given):
    notes = db.create_collection("notes", DIM)
    with pytest.raises(InputError, match="vectors row 1 has masked entries"):
        notes.upsert(range(3), given)
    with pytest.raises(InputError, match="queries row 1 has masked entries"):
        notes.search_many(given)
    with pytest.raises(InputError, match="vector row 0 has masked entries"):
        notes.search(MASKED[1])
    with pytest.raises(InputError, match="row 1 has masked entries"):
        requant.Calibration.fit(given)
    assert len(notes) == 0
    whole = np.ma.masked_array(GOOD, mask=False)
    assert notes.upsert(range(3), whole) == 3
    assert (notes.vectors(range(3)) == GOOD).all()


def test_an_id_is_bounded_in_bytes_on_both_databases(any_db):
    rng = np.random.default_rng(0)

    def letters(count):  # such as no compression makes shorter
        return "".join(map(chr, rng.integers(0x4E00, 0x9FFF, count)))

    notes = any_db.create_collection("notes", DIM)
    with pytest.raises(InputError, match="row 1 has 3072 bytes in UTF-8: an id has at most 2560"):
        notes.upsert(["a", letters(1024)], GOOD[:2])
    longest = letters(853) + "x"
    assert len(longest.encode()) == 2560
    notes.upsert([longest, "y" * 1024], GOOD[:2])
    assert {item.id for item in notes.iter()} == {longest, "y" * 1024}

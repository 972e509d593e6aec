"""Tables of pandas, Polars and Arrow: every type is told rightly, or refused by name."""

from __future__ import annotations

import datetime as dt
import decimal
import uuid

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import requant
from requant import DuplicateIdError, InputError
from tests.cli import floats

N, DIM = 40, 4
ROWS = floats(N, DIM)
UTC = dt.timezone.utc
MOMENT = dt.datetime(2024, 2, 29, 12, 30, 1, 500, tzinfo=UTC)


@pytest.fixture
def notes():
    with requant.open(":memory:") as db:
        yield db.create_collection("notes", DIM)


def items(notes):
    return {item.id: item for item in notes.iter()}


def lists(dtype=None):
    return pa.array(ROWS.tolist(), pa.list_(dtype or pa.float32()))


def base(**columns):
    """A table of ids and vectors and some columns of one value in each row."""
    told = {name: pa.array([value] * N, kind) for name, (value, kind) in columns.items()}
    return pa.table({"id": [f"k{n}" for n in range(N)], "vector": lists(), **told})


TOLD = [
    (True, pa.bool_(), True),
    (7, pa.uint8(), 7),
    (2**63 - 1, pa.int64(), 2**63 - 1),
    (2**64 - 1, pa.uint64(), 2**64 - 1),
    (0.5, pa.float16(), 0.5),
    (0.1, pa.float64(), 0.1),
    ("日本", pa.string(), "日本"),
    ("x", pa.large_string(), "x"),
    ("a view of a long text", pa.string_view(), "a view of a long text"),
    (None, pa.null(), None),
    (None, pa.int32(), None),
    (dt.date(2024, 2, 29), pa.date32(), "2024-02-29"),
    (dt.date(1900, 1, 1), pa.date64(), "1900-01-01"),
    (dt.time(1, 2, 3, 4), pa.time64("us"), "01:02:03.000004"),
    (3_723_000_000_005, pa.time64("ns"), "01:02:03.000000005"),
    (MOMENT, pa.timestamp("us", tz="UTC"), "2024-02-29T12:30:01.000500+00:00"),
    (MOMENT, pa.timestamp("ms", tz="Europe/Berlin"), "2024-02-29T13:30:01+01:00"),
    (dt.datetime(2024, 1, 1), pa.timestamp("s"), "2024-01-01T00:00:00"),
    (1_700_000_000_123_456_789, pa.timestamp("ns"), "2023-11-14T22:13:20.123456789"),
    (-1, pa.timestamp("ns", tz="UTC"), "1969-12-31T23:59:59.999999999+00:00"),
    (decimal.Decimal("-12.30"), pa.decimal128(10, 2), "-12.30"),
    (decimal.Decimal(10**40), pa.decimal256(60, 0), str(10**40)),
    ([1, None, 3], pa.list_(pa.int8()), [1, None, 3]),
    ([], pa.large_list(pa.string()), []),
    ([1.5, 2.5], pa.list_(pa.float64(), 2), [1.5, 2.5]),
    ([[1], [], None], pa.list_(pa.list_(pa.int64())), [[1], [], None]),
    ([dt.date(2024, 1, 1)], pa.list_view(pa.date32()), ["2024-01-01"]),
    ({"a": 1, "b": {"c": [MOMENT]}}, pa.struct([
        ("a", pa.int64()), ("b", pa.struct([("c", pa.list_(pa.timestamp("us", tz="UTC")))]))
    ]), {"a": 1, "b": {"c": ["2024-02-29T12:30:01.000500+00:00"]}}),
    ([("k", decimal.Decimal("1.5")), ("l", None)], pa.map_(pa.string(), pa.decimal128(5, 1)),
     {"k": "1.5", "l": None}),
    (uuid.UUID(int=5).bytes, pa.uuid(), str(uuid.UUID(int=5))),
]  # fmt: skip


def of_type(value, kind):
    if kind == pa.uuid():
        return pa.ExtensionArray.from_storage(kind, pa.array([value] * N, pa.binary(16)))
    return pa.array([value] * N, kind)


@pytest.mark.parametrize(("value", "kind", "told"), TOLD, ids=lambda x: str(x)[:40])
def test_every_type_is_told_rightly(notes, value, kind, told):
    table = base().append_column("x", of_type(value, kind))
    assert notes.upsert_table(table, batch=7) == N
    assert all(item.metadata == {"x": told} for item in items(notes).values())
    assert type(next(iter(items(notes).values())).metadata["x"]) is type(told)
    # A null beside it, in a slice that begins in the middle of a row group.
    mixed = pa.concat_arrays([of_type(value, kind)[:5], pa.nulls(N - 5, kind)])
    assert notes.upsert_table(base().append_column("x", mixed).slice(3), batch=3) == 0
    stored = items(notes)
    assert [stored[f"k{n}"].metadata["x"] for n in (3, 4, 5, 39)] == [told, told, None, None]


@pytest.mark.parametrize("value", ["north", None])
@pytest.mark.parametrize("encode", [pa.Array.dictionary_encode, pa.compute.run_end_encode])
def test_categories_are_what_they_stand_for(notes, value, encode):
    column = pa.array([value, "south"] * (N // 2))
    notes.upsert_table(base().append_column("x", encode(column)), batch=7)
    assert items(notes)["k4"].metadata == {"x": value}


@pytest.mark.parametrize(
    ("value", "kind", "told"),
    [
        (b"x", pa.binary(), "binary"),
        (b"xx", pa.binary(2), "fixed_size_binary"),
        (dt.timedelta(1), pa.duration("s"), "duration"),
        ([{"deep": b"x"}], pa.list_(pa.struct([("deep", pa.large_binary())])), "large_binary"),
        ([(1, 2)], pa.map_(pa.int64(), pa.int64()), "map<int64"),
        ((1, 2, 3), pa.month_day_nano_interval(), "month_day_nano"),
    ],
)
def test_types_that_json_has_not_are_refused_by_name(notes, value, kind, told):
    table = base(fine=(1, pa.int64()), odd=(value, kind))
    with pytest.raises(InputError, match=rf"column 'odd' is {told}.*nothing was written"):
        notes.upsert_table(table)
    assert len(notes) == 0
    assert notes.upsert_table(table, metadata=["fine"]) == N


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("deep", [False, True])
def test_numbers_that_json_has_not_are_named_by_row_and_column(notes, number, deep):
    values = [1.0] * N
    values[33] = number
    column = pa.array([[{"y": v}] for v in values]) if deep else pa.array(values)
    with pytest.raises(InputError, match=r"^row 33, column 'x': it holds (nan|-?inf), which JSON"):
        notes.upsert_table(base().append_column("x", column), batch=10)
    assert len(notes) == 0


@pytest.mark.parametrize(
    "vectors",
    [
        lists(pa.float64()), lists(pa.float16()),
        pa.array(ROWS.tolist(), pa.large_list(pa.float32())),
        pa.FixedSizeListArray.from_arrays(pa.array(ROWS.ravel()), DIM),
        pa.array(ROWS.tolist(), pa.list_view(pa.float32())),
        pa.FixedShapeTensorArray.from_numpy_ndarray(ROWS),
    ],
    ids=lambda array: str(array.type)[:30],
)  # fmt: skip
def test_vectors_of_every_kind_of_list(notes, vectors):
    table = base().set_column(1, "vector", vectors)
    assert notes.upsert_table(table, batch=9) == N
    exact = vectors.type != pa.list_(pa.float16())
    found = notes.vectors([f"k{n}" for n in range(N)])
    assert (found == (ROWS if exact else ROWS.astype(np.float16))).all()


def test_vectors_of_bytes_and_vectors_that_are_not_there(notes):
    bits = [[1, 2, 3, 255], None] * (N // 2)
    table = base().set_column(1, "vector", pa.array(bits, pa.list_(pa.uint8(), DIM)))
    assert notes.upsert_table(table, batch=9) == N
    stored = items(notes)
    assert stored["k2"].vector.tolist() == [1, 2, 3, 255]
    assert stored["k3"].vector is None


def test_what_is_not_named_stays_as_it_was(notes):
    notes.upsert([f"k{n}" for n in range(N)], ROWS, ["old"] * N, [{"old": True}] * N)
    table = pa.table({"id": [f"k{n}" for n in range(N)], "year": [2024] * N})
    assert notes.upsert_table(table, vector=None, metadata=()) == 0
    assert notes.upsert_table(table, vector=None) == 0
    item = items(notes)["k3"]
    assert (item.document, item.metadata) == ("old", {"year": 2024})
    assert (item.vector == ROWS[3]).all()


IDS = [
    (pa.array(range(N)), 3, int),
    (pa.array(range(2**63, 2**63 + N), pa.uint64()), 2**63 + 3, int),
    (pa.array([f"k{n}" for n in range(N)]).dictionary_encode(), "k3", str),
    (pa.ExtensionArray.from_storage(
        pa.uuid(), pa.array([uuid.UUID(int=n).bytes for n in range(N)], pa.binary(16))
    ), uuid.UUID(int=3), uuid.UUID),
]  # fmt: skip


@pytest.mark.parametrize(("column", "third", "kind"), IDS, ids=lambda x: str(x)[:20])
def test_ids_come_back_as_what_they_were(notes, column, third, kind):
    notes.upsert_table(base().set_column(0, "id", column))
    assert type([*items(notes)][3]) is kind
    assert [*items(notes)][3] == third


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"id": pa.array([0.5] * N)}, "column 'id' is double: ids are text"),
        ({"id": pa.array([True] * N)}, "column 'id' is bool"),
        (
            {"id": pa.array([*"abcdefghijklmnopqrstuvwxyzABCD", *[None] * 10])},
            "row 30: no id in column 'id'",
        ),
        ({"id": pa.array([f"k{n % 35}" for n in range(N)])}, "row 35: id 'k0' occurs a second"),
        ({"id": pa.array(["k"] * 38 + ["", "x"])}, "row"),
        ({"vector": pa.array(["x"] * N)}, "column 'vector' is string: a vector is a list"),
        ({"vector": pa.array([[1.0] * 4] * 30 + [[1.0]] * 10)}, "row 30, column 'vector': the"),
        ({"vector": pa.array([[1.0, None, 1.0, 1.0]] * N)}, "row 0, column 'vector': the vector"),
        ({"vector": pa.array([[1.0] * 4] * 30 + [[np.nan] * 4] * 10)}, "row 30, column 'vector'"),
        ({"text": pa.array([1] * N)}, "column 'text' is int64: a document is text"),
        ({"text": pa.array(["a\0b"] * N)}, "row 0, column 'text': holds a NUL"),
    ],
)
def test_bad_input_is_named_and_nothing_is_written(notes, change, reason):
    table = base(text=("text", pa.string()))
    for name, column in change.items():
        table = table.set_column(table.schema.get_field_index(name), name, column)
    with pytest.raises(InputError, match=reason):
        notes.upsert_table(table, document="text", batch=10)
    assert len(notes) == 0


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"id": "key"}, r"no column 'key' \(id=\); the columns are: 'id', 'vector'"),
        ({"vector": "x"}, r"no column 'x' \(vector=\)"),
        ({"document": "x"}, r"no column 'x' \(document=\)"),
        ({"metadata": ["x"]}, r"no column 'x' \(metadata=\)"),
        ({"metadata": "vector"}, "must be a list of names"),
        ({"batch": 0}, "batch must be a whole number"),
        ({"on_conflict": "ignore"}, "on_conflict must be"),
        ({"duplicates": "first"}, "duplicates must be"),
    ],
)
def test_options_that_make_no_sense(notes, options, reason):
    with pytest.raises(InputError, match=reason):
        notes.upsert_table(base(), **options)
    assert len(notes) == 0


@pytest.mark.parametrize("table", [{"id": [1]}, [{"id": 1}], None, ROWS, pl.LazyFrame({"id": [1]})])
def test_what_is_no_table(notes, table):
    with pytest.raises(InputError, match="a table is a DataFrame"):
        notes.upsert_table(table)


def test_a_reader_is_read_once_and_says_what_is_stored(notes):
    def batches():
        yield from base().to_batches(max_chunksize=10)
        raise OSError("the line is cut")

    reader = pa.RecordBatchReader.from_batches(base().schema, batches())
    with pytest.raises(OSError, match="the line is cut") as caught:
        notes.upsert_table(reader, batch=8)
    assert caught.value.stored == len(notes) == N
    bad = base().set_column(0, "id", pa.array([f"n{n % 30}" for n in range(N)]))
    with pytest.raises(
        DuplicateIdError, match=r"'n0' occurs a second.*; 30 rows before it"
    ) as error:
        notes.upsert_table(bad.to_reader(max_chunksize=10), batch=10)
    assert error.value.stored == 30
    assert len(notes) == N + 30


def test_conflicts_duplicates_progress_and_a_transaction_of_ones_own(notes):
    seen = []
    assert notes.upsert_table(base(), batch=15, progress=lambda *told: seen.append(told)) == N
    assert seen == [(15, N), (30, N), (40, N)]
    assert notes.upsert_table(base(x=(1, pa.int8())), on_conflict="skip") == 0
    assert items(notes)["k1"].metadata is None
    with pytest.raises(DuplicateIdError):
        notes.upsert_table(base(), on_conflict="error")
    twice = pa.concat_tables([base(x=(1, pa.int8())), base(x=(2, pa.int8()))])
    assert notes.upsert_table(twice, duplicates="last", batch=30) == 0
    assert {item.metadata["x"] for item in items(notes).values()} == {2}


def frame(**columns):
    return pd.DataFrame({"id": [f"k{n}" for n in range(N)], "vector": [*ROWS], **columns})


def test_pandas(notes):
    data = frame(
        text=pd.Series([None, "text"] * (N // 2), dtype="string"),
        day=pd.Timestamp("2024-02-29T01:02:03.000000004", tz="UTC"),
        cat=pd.Categorical(["a", None] * (N // 2)),
        missing=[np.nan, 1.5] * (N // 2),
        maybe=pd.array([1, None] * (N // 2), "Int64"),
        mixed=[{"a": [1]}, None] * (N // 2),
        words=[np.nan, "x"] * (N // 2),
        cost=[decimal.Decimal("1.10")] * N,
    )
    data.loc[3, "vector"] = None
    assert notes.upsert_table(data, document="text", batch=7) == N
    even, odd = items(notes)["k2"], items(notes)["k3"]
    day = "2024-02-29T01:02:03.000000004+00:00"
    assert even.metadata == {
        "day": day, "cat": "a", "missing": None, "maybe": 1, "mixed": {"a": [1]}, "words": None,
        "cost": "1.10",
    }  # fmt: skip
    assert (even.document, odd.document) == (None, "text")
    assert odd.metadata == {
        "day": day, "cat": None, "missing": 1.5, "maybe": None, "mixed": None, "words": "x",
        "cost": "1.10",
    }  # fmt: skip
    assert odd.vector is None
    assert (even.vector == ROWS[2]).all()


def test_an_index_of_pandas_is_a_column_if_it_has_a_name(notes):
    data = frame(x=range(N)).set_index("id")
    assert notes.upsert_table(data, batch=9) == N
    assert items(notes)["k39"].metadata == {"x": 39}
    with pytest.raises(InputError, match=r"no column 'id' \(id=\)"):
        notes.upsert_table(data.rename_axis(None))
    deep = frame(x=range(N), year=2024).set_index(["id", "year"])
    notes.upsert_table(deep[deep.x > 30])
    assert items(notes)["k39"].metadata == {"x": 39, "year": 2024}
    filtered = frame(x=range(N))
    assert notes.upsert_table(filtered[filtered.x % 2 == 1], batch=3) == 0  # rows 1, 3, 5...
    with pytest.raises(InputError, match="index and a column are both called 'id'"):
        notes.upsert_table(frame().set_index("id", drop=False))


def test_ids_of_pandas_are_python_objects(notes):
    names = [uuid.UUID(int=n) if n % 2 else n for n in range(N)]
    notes.upsert_table(frame().assign(id=names))
    assert [*items(notes)] == names
    with pytest.raises(InputError, match="row 1: no id in column 'id'"):
        notes.upsert_table(frame().assign(id=[1.0, np.nan] * (N // 2)))
    with pytest.raises(InputError, match="row 0, column 'id': is a float"):
        notes.upsert_table(frame().assign(id=[float(n) for n in range(N)]))


@pytest.mark.parametrize(
    ("column", "reason"),
    [
        ([1, "x"] * (N // 2), "column 'x': its values have no type in common"),
        ([object()] * N, "column 'x': its values have no type in common"),
        ([1 + 2j] * N, "column 'x'"),
        ([b"x"] * N, "column 'x' is binary"),
        ([pd.Timedelta(1, "s")] * N, "column 'x' is duration"),
    ],
)
def test_columns_of_pandas_that_cannot_be_stored(notes, column, reason):
    with pytest.raises(InputError, match=reason):
        notes.upsert_table(frame(x=column))
    assert len(notes) == 0


def test_names_of_columns_that_are_no_text_or_stand_twice(notes):
    with pytest.raises(InputError, match="column 7: the name of a column is text"):
        notes.upsert_table(frame().assign(x=1).rename(columns={"x": 7}))
    with pytest.raises(InputError, match="two columns called 'vector'"):
        notes.upsert_table(frame(x=[*ROWS]).rename(columns={"x": "vector"}))
    with pytest.raises(InputError, match="two columns called 'x'"):
        notes.upsert_table(pa.table([[1], [[1.0] * 4], [1], [2]], ["id", "vector", "x", "x"]))


def test_hostile_names_of_columns_are_data(notes):
    names = ["a\"'; DROP TABLE items;--", "$where", "a.b", "", "日本"]
    notes.upsert_table(base().append_column(names[0], pa.array(range(N))))
    table = base()
    for name in names:
        table = table.append_column(name, pa.array(range(N)))
    notes.upsert_table(table)
    assert items(notes)["k3"].metadata == dict.fromkeys(names, 3)


def test_polars(notes):
    data = pl.DataFrame(
        {
            "id": range(N),
            "vector": pl.Series(ROWS.tolist(), dtype=pl.Array(pl.Float32, DIM)),
            "text": [None, "text"] * (N // 2),
            "day": [dt.date(2024, 2, 29)] * N,
            "at": [MOMENT] * N,
            "time": [dt.time(1, 2, 3)] * N,
            "cat": pl.Series(["a", None] * (N // 2), dtype=pl.Categorical),
            "choice": pl.Series(["a", "b"] * (N // 2), dtype=pl.Enum(["a", "b"])),
            "cost": pl.Series([decimal.Decimal("1.10")] * N, dtype=pl.Decimal(10, 2)),
            "deep": [{"a": [1, 2], "b": None}] * N,
        }
    )
    assert notes.upsert_table(data, document="text", batch=7) == N
    item = items(notes)[2]
    assert item.metadata == {
        "day": "2024-02-29", "at": "2024-02-29T12:30:01.000500+00:00", "time": "01:02:03",
        "cat": "a", "choice": "a", "cost": "1.10", "deep": {"a": [1, 2], "b": None},
    }  # fmt: skip
    assert (item.vector == ROWS[2]).all()
    with pytest.raises(InputError, match="column 'x' is duration"):
        notes.upsert_table(data.with_columns(x=dt.timedelta(1)))
    with pytest.raises(InputError, match="row 0, column 'x': it holds nan"):
        notes.upsert_table(data.with_columns(x=float("nan")))
    objects = data.with_columns(x=pl.Series([object()] * N, dtype=pl.Object))
    with pytest.raises(InputError):
        notes.upsert_table(objects)


def test_without_pyarrow_the_extra_is_named(notes, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow.compute", None)
    with pytest.raises(requant.PackageMissingError, match=r"pip install 'requant\[arrow\]'"):
        notes.upsert_table(base())


@pytest.mark.parametrize(
    "table",
    [pd.Series([1, 2], name="id"), pl.Series("id", [1, 2]), pa.chunked_array([[1, 2]])],
    ids=["pandas", "polars", "arrow"],
)
def test_a_single_column_is_no_table(notes, table):
    with pytest.raises(InputError):
        notes.upsert_table(table, vector=None)
    assert len(notes) == 0


@pytest.mark.parametrize("kind", [pa.timestamp("s"), pa.timestamp("s", "UTC"), pa.date32()])
@pytest.mark.parametrize("value", [10**13, -(10**13), None])
def test_times_beyond_those_of_iso_8601_are_refused_with_their_row(notes, kind, value):
    whole = value if pa.types.is_timestamp(kind) or value is None else value // 10**5 * 2
    column = pa.array([0, whole], pa.int32() if pa.types.is_date(kind) else pa.int64()).cast(kind)
    table = pa.table({"id": ["a", "b"], "when": column})
    if value is None:
        assert notes.upsert_table(table, vector=None) == 2
        return
    with pytest.raises(InputError, match=r"row 1, column 'when': it holds a time outside of the"):
        notes.upsert_table(table, vector=None)
    assert len(notes) == 0


@pytest.mark.parametrize("make", [pa.table, pd.DataFrame, pl.DataFrame])
def test_one_column_for_two_purposes_is_refused(notes, make):
    table = make({"id": ["a", "b"], "vector": [[1.0, 0, 0, 0]] * 2, "text": ["x", "y"]})
    with pytest.raises(InputError, match=r"column 'id' cannot be both id= and document="):
        notes.upsert_table(table, document="id")
    with pytest.raises(InputError, match=r"column 'vector' cannot be both vector= and document="):
        notes.upsert_table(table, document="vector")
    for name in ("id", "vector"):
        with pytest.raises(InputError, match="it cannot be metadata"):
            notes.upsert_table(table, metadata=["text", name])
    assert len(notes) == 0


@pytest.mark.parametrize(
    ("vectors", "reason"),
    [
        ([[1.0] * 4, [1.0]], r"row 1, column 'v': has 1 dimensions, expected 4"),
        ([[1.0] * 4, 2.0], r"row 1, column 'v': is a float: a vector is a list of numbers"),
        ([[1.0] * 4, "1,2,3,4"], r"row 1, column 'v': is a str: a vector is a list of numbers"),
        ([[1.0] * 4, [1.0, None, 1.0, 1.0]], r"column 'v', from row 0 on: the vectors must hold"),
    ],
)
def test_vectors_of_pandas_that_are_none_are_told_by_their_column(notes, vectors, reason):
    frame = pd.DataFrame({"id": ["a", "b"], "v": pd.Series(vectors, dtype=object)})
    with pytest.raises(InputError, match=reason):
        notes.upsert_table(frame, vector="v")
    assert len(notes) == 0

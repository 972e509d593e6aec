"""VDF folders: every row of every file, once."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from requant.integration.errors import SourceError
from requant.integration.readers import Wanted
from requant.integration.readers.foreign.vdf import is_vdf, open_vdf
from tests.foreign_cases import check, check_import, everything, unpack


def opened(path, **wanted):
    return open_vdf(str(path), Wanted(**wanted))


def change(store, edit):
    """Edit VDF_META.json in place; `edit` gets it and what it tells of `notes`."""
    path = store / "VDF_META.json"
    meta = json.loads(path.read_text())
    edit(meta, meta["indexes"]["notes"][0])
    path.write_text(json.dumps(meta))


def test_every_value_of_three_files(tmp_path):
    store, expected = unpack("vdf", tmp_path)
    assert is_vdf(str(store))
    assert is_vdf(str(store / "notes"))
    assert not is_vdf(str(tmp_path))
    source = opened(store / "notes")
    assert (source.metric, source.fidelity, source.rows) == ("cosine", "exact", 25)
    check(source, expected)
    check_import(store / "notes", expected, tmp_path)


def test_columns_can_be_chosen(tmp_path):
    store, expected = unpack("vdf", tmp_path)
    source = opened(store / "notes", documents="id", metadata=("big",))
    found = everything(source)
    assert found["documents"] == expected["ids"]
    assert found["metadata"] == [{"big": row["big"]} for row in expected["metadata"]]
    found = everything(opened(store / "notes", documents="text", metadata=("all",)))
    assert list(found["metadata"][0]) == ["big", "holes", "deep", "tags"]
    for option in ("ids", "vector", "documents"):
        with pytest.raises(SourceError, match=rf"no column 'x' \(--{option}\); its columns are"):
            opened(store / "notes", **{option: "x"})
    with pytest.raises(SourceError, match=r"no column 'x' \(--metadata\)"):
        opened(store / "notes", metadata=("x",))


def test_several_indexes_ask_which(tmp_path):
    store, _ = unpack("vdf", tmp_path)
    with pytest.raises(SourceError, match=r"holds 2 indexes, name one as .*/NAME: notes, other"):
        opened(store)
    with pytest.raises(SourceError, match="no index 'x'; it has: notes, other"):
        opened(store / "x")
    with pytest.raises(SourceError, match="it is no VDF folder"):
        opened(tmp_path)


def test_vdf_io_counts_on_from_one_table_to_the_next(tmp_path):
    store, expected = unpack("vdf", tmp_path)
    meta = json.loads((store / "VDF_META.json").read_text())
    # Two rows, of which it says there are 27.
    assert meta["indexes"]["other"][0]["exported_vector_count"] == 27
    assert everything(opened(store / "other"))["ids"] == expected["ids"][:2]


@pytest.mark.parametrize("lost", ["0.parquet", "1.parquet", "2.parquet"])
def test_a_file_that_is_missing_is_missed(tmp_path, lost):
    store, _ = unpack("vdf", tmp_path)
    (store / "notes" / lost).unlink()
    with pytest.raises(SourceError, match=r"announces 25 rows, its 2 files hold (15|20): some are"):
        opened(store / "notes")


def test_an_id_in_two_files(tmp_path):
    store, expected = unpack("vdf", tmp_path)
    path = store / "notes" / "2.parquet"
    table = pq.read_table(path)
    ids = [expected["ids"][3], *table.column("id").to_pylist()[1:]]
    pq.write_table(table.set_column(0, "id", pa.array(ids)), path)
    with pytest.raises(SourceError, match=r"2.parquet row 0: id 'id-3' occurs a second time"):
        everything(opened(store / "notes"))


def test_files_in_the_order_of_their_numbers(tmp_path):
    store, expected = unpack("vdf", tmp_path)
    (store / "notes" / "2.parquet").rename(store / "notes" / "10.parquet")
    check(opened(store / "notes"), expected)


def test_the_index_of_pandas_is_no_column(tmp_path):
    store, expected = unpack("vdf", tmp_path)
    path = store / "notes" / "1.parquet"
    table = pq.read_table(path)
    pq.write_table(table.append_column("__index_level_0__", pa.array(range(10))), path)
    check(opened(store / "notes"), expected)


def test_a_namespace_and_a_normalising_engine(tmp_path):
    store, expected = unpack("vdf", tmp_path)

    def edit(meta, part):
        meta["exported_from"] = "qdrant"
        part["namespace"] = "en"

    change(store, edit)
    source = opened(store / "notes" / "en")
    assert source.fidelity == "normalised"
    check(source, expected)


def edit_twice(meta, part):
    part["vector_columns"] = ["vector", "other"]


def edit_path(meta, part):
    part["data_path"] = "../../.."


def edit_gone(meta, part):
    part["data_path"] = "gone"


def edit_indexes(meta, part):
    meta["indexes"] = []


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (edit_twice, "2 columns of vectors, choose one with --vector .*: vector, other"),
        (edit_path, "leads out of the folder"),
        (edit_gone, "holds no Parquet file: the index 'notes' is not there"),
        (edit_indexes, "a list where a JSON object is expected"),
    ],
)
def test_damage_is_told(tmp_path, edit, message):
    store, _ = unpack("vdf", tmp_path)
    change(store, edit)
    with pytest.raises(SourceError, match=message):
        opened(store / "notes")


def test_a_damaged_file(tmp_path):
    store, _ = unpack("vdf", tmp_path)
    (store / "notes" / "1.parquet").write_bytes(b"PAR1")
    with pytest.raises(SourceError, match=r"1.parquet cannot be read"):
        opened(store / "notes")

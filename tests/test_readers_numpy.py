"""The readers of .npy and .npz."""

from __future__ import annotations

import io
import tracemalloc
import zipfile

import numpy as np
import pytest

import requant
from requant.integration.errors import SourceError
from requant.integration.importing import open_import
from requant.integration.readers import Wanted, open_source
from tests.cli import floats, npy, refused, run


def everything(path, wanted=None, size=4, items=None):
    return list(open_import(path, wanted or Wanted(), items).batches(size))


@pytest.mark.parametrize("dtype", ["<f2", "<f4", "<f8", ">f4", "<i2", "u1"])
@pytest.mark.parametrize("name", ["v.npy", "v.npz", "packed.npz"])
def test_every_dtype_and_order_of_bytes(tmp_path, dtype, name):
    array = (floats(11, 3) * 50).astype(dtype)
    path = tmp_path / name
    if name == "v.npy":
        np.save(path, array)
    else:
        (np.savez_compressed if name == "packed.npz" else np.savez)(path, vectors=array)
    batches = everything(path)
    assert [len(batch) for batch in batches] == [4, 4, 3]
    assert np.concatenate([batch.vectors for batch in batches]).tolist() == array.tolist()
    assert [i for batch in batches for i in batch.ids] == list(range(11))


def test_what_is_stored_is_what_was_in_the_file(tmp_path):
    array = floats(9, 5)
    run("import", npy(tmp_path / "v.npy", array), tmp_path / "db", "notes", "--batch", "2")
    with requant.open(tmp_path / "db") as db:
        assert db.collection("notes").vectors(range(9)).tobytes() == array.tobytes()


def test_npz_with_ids_documents_and_metadata(tmp_path):
    np.savez(
        tmp_path / "a.npz",
        ids=np.array(["ä", "b", "c"]),
        x=floats(3),
        text=np.array(["eins", "zwei", ""]),
        big=np.array([2**53 + 1, -(2**62), 0]),
        pair=np.array([[1, 2], [3, 4], [5, 6]]),
        day=np.array(["2024-02-29", "1999-01-01", "2000-01-01"], "datetime64[D]"),
    )
    wanted = Wanted(vector="x", documents="text", metadata=("all",))
    (first, second) = everything(tmp_path / "a.npz", wanted, size=2)
    assert first.ids + second.ids == ["ä", "b", "c"]
    assert first.documents == ["eins", "zwei"]
    assert first.metadata[0] == {"big": 2**53 + 1, "pair": [1, 2], "day": "2024-02-29"}
    assert second.metadata == [{"big": 0, "pair": [5, 6], "day": "2000-01-01"}]


def test_npz_with_two_matrices_asks_which(tmp_path):
    np.savez(tmp_path / "a.npz", left=floats(3), right=floats(3))
    with pytest.raises(SourceError, match=r"Choose one with --vector .*: left, right"):
        everything(tmp_path / "a.npz")
    run("import", tmp_path / "a.npz", tmp_path / "db", "n", "--vectors-key", "right")


def test_npz_in_column_order(tmp_path):
    array = np.asfortranarray(floats(7, 3))
    np.savez(tmp_path / "a.npz", array)
    found = np.concatenate([batch.vectors for batch in everything(tmp_path / "a.npz")])
    assert found.tolist() == array.tolist()


def test_npy_in_column_order(tmp_path):
    array = np.asfortranarray(floats(7, 3))
    found = np.concatenate([b.vectors for b in everything(npy(tmp_path / "a.npy", array))])
    assert found.tolist() == array.tolist()


@pytest.mark.parametrize("name", ["v.npy", "v.npz"])
def test_memory_is_bounded_by_the_batch(tmp_path, name):
    array = np.zeros((20_000, 256), np.float32)  # 20 MB
    path = tmp_path / name
    np.save(path, array) if name == "v.npy" else np.savez_compressed(path, vectors=array)
    del array
    tracemalloc.start()
    rows = sum(len(batch) for batch in open_source(path, Wanted()).batches(500))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert rows == 20_000
    assert peak < 4e6


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (floats(3)[0], r"shape \(4,\)"),
        (np.zeros((2, 2, 2)), r"shape \(2, 2, 2\)"),
        (np.zeros((3, 0)), r"shape \(3, 0\)"),
        (np.array([["a", "b"]]), "dtype <U1"),
        (np.array([[1 + 2j]]), "dtype complex128"),
        (np.array([[True]]), "dtype bool"),
        (np.array([[None]]), "Python objects"),
    ],
)
def test_arrays_that_are_no_vectors(tmp_path, array, reason):
    with pytest.raises(SourceError, match=rf"v\.npy.*{reason}"):
        everything(npy(tmp_path / "v.npy", array))


def test_truncated_and_foreign_files(tmp_path):
    path = npy(tmp_path / "v.npy", floats(100))
    whole = path.read_bytes()
    for part in (whole[:-5], whole[:60], b"", b"GIF89a" * 40):
        path.write_bytes(part)
        assert f"{path} cannot be read: " in refused("import", path, tmp_path / "db", "n")
    path = tmp_path / "v.npz"
    np.savez(path, vectors=floats(100))
    whole = path.read_bytes()
    for part in (whole[:-5], b"", b"GIF89a" * 40):
        path.write_bytes(part)
        assert f"{path} cannot be read: " in refused("import", path, tmp_path / "db", "n")
    assert not (tmp_path / "db").exists()


def test_a_flipped_bit_in_an_npz_is_noticed_by_its_checksum(tmp_path):
    path = tmp_path / "v.npz"
    np.savez(path, vectors=np.ones((100, 4), np.float32))
    content = bytearray(path.read_bytes())
    content[1500] ^= 1
    path.write_bytes(content)
    with pytest.raises(SourceError, match="CRC"):
        everything(path, size=1000)


def test_arrays_of_objects_and_of_another_length_are_refused(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, ids=np.array(["a", None, 3], object), vectors=floats(3))
    with pytest.raises(SourceError, match="'ids' holds Python objects, which only pickle"):
        everything(path)
    np.savez(path, ids=np.array(["a", "b"]), vectors=floats(3))
    with pytest.raises(SourceError, match=r"'ids' has shape \(2,\), there are 3 vectors"):
        everything(path)
    np.savez(path, vectors=floats(3)[0])
    with pytest.raises(SourceError, match="no column of vectors; its columns are: vectors"):
        everything(path)
    with pytest.raises(SourceError, match=r"array 'vectors' has shape \(4,\)"):
        everything(path, Wanted(vector="vectors"))


def test_a_zip_that_holds_other_things(tmp_path):
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(SourceError, match="cannot be read"):
        everything(path)


def test_an_empty_array_holds_no_rows(tmp_path):
    for name in ("v.npy", "v.npz"):
        path = tmp_path / name
        stream = io.BytesIO()
        (np.save if name == "v.npy" else np.savez)(stream, np.empty((0, 4), np.float32))
        path.write_bytes(stream.getvalue())
        assert f"{path} holds no rows" in refused("import", path, tmp_path / "db", "n")

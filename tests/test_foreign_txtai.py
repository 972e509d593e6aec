"""txtai's indexes: folders and archives, with content or ids, of floats or of bits."""

from __future__ import annotations

import json
import pickle
import shutil
import sqlite3
import tarfile
import zipfile

import numpy as np
import pytest

from requant.integration.errors import SourceError
from requant.integration.readers import Wanted
from requant.integration.readers.foreign.messagepack import unpack_list
from requant.integration.readers.foreign.txtai import is_txtai, open_txtai
from tests.foreign_cases import check, check_import, everything, unpack


def opened(path):
    return open_txtai(str(path), Wanted())


@pytest.mark.parametrize(
    ("case", "fidelity"),
    [
        ("txtai_content", "normalised"),
        ("txtai_ids", "normalised"),
        ("txtai_pickled_ids", "normalised"),
        ("txtai_numpy", "normalised"),
        ("txtai_bits1", "codes-only"),
        ("txtai_bits4", "lossy"),
    ],
)
def test_every_value(tmp_path, case, fidelity):
    store, expected = unpack(case, tmp_path)
    assert is_txtai(str(store))
    assert not is_txtai(str(tmp_path))
    source = opened(store)
    assert (source.metric, source.fidelity) == ("cosine", fidelity)
    assert "the lengths are gone" in source.notes[0]
    check(source, expected)
    check_import(store, expected, tmp_path)


def test_an_archive(tmp_path):
    store, expected = unpack("txtai_archive", tmp_path)
    assert is_txtai(str(store / "index.tar.gz"))
    check(opened(store / "index.tar.gz"), expected)
    check_import(store / "index.tar.gz", expected, tmp_path)


def test_a_zip(tmp_path):
    store, expected = unpack("txtai_content", tmp_path)
    path = shutil.make_archive(str(tmp_path / "packed"), "zip", store)
    assert is_txtai(path)
    check(opened(path), expected)


def test_nothing_in_an_archive_chooses_where_it_goes(tmp_path):
    store, _ = unpack("txtai_ids", tmp_path)
    path = tmp_path / "evil.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        archive.add(store / "config.json", "config.json")
        archive.add(store / "embeddings", "embeddings")
        archive.add(store / "embeddings", "../ids")
        link = tarfile.TarInfo("ids")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    with pytest.raises(SourceError, match="ids cannot be read"):
        opened(path)
    assert not (tmp_path.parent / "ids").exists()


def test_a_damaged_archive(tmp_path):
    store, _ = unpack("txtai_archive", tmp_path)
    path = store / "index.tar.gz"
    path.write_bytes(path.read_bytes()[:900])
    with pytest.raises(SourceError, match="cannot be unpacked"):
        opened(path)


def test_a_pickled_configuration_is_refused(tmp_path):
    store, _ = unpack("txtai_ids", tmp_path)
    (store / "config.json").rename(store / "config")
    assert is_txtai(str(store))
    with pytest.raises(SourceError, match=r"a pickle, which is not loaded: open the index with"):
        opened(store)


class Evil:
    def __reduce__(self):
        return (print, ("this pickle ran",))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (pickle.dumps([Evil()]), r"asks for (builtins|__builtin__)\.print, which may run code"),
        (pickle.dumps({"a": 1}), "holds a dict, not a list of ids"),
        (b"\x93\x01", "no list of ids: it ends early"),
        (b"\x91\xc3", "neither text nor an integer"),
        (b"\x91\x01\x02", "1 bytes follow the list"),
        (b"", "does not begin with a list"),
        (b"\x92\x01\x02", "vector 2 has no id"),
    ],
)
def test_damaged_ids(tmp_path, capsys, data, message):
    store, _ = unpack("txtai_ids", tmp_path)
    (store / "ids").write_bytes(data)
    with pytest.raises(SourceError, match=message):
        opened(store)
    assert capsys.readouterr().out == ""


def configure(store, **options):
    path = store / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **options}))


def change(store, statement):
    database = sqlite3.connect(store / "documents")
    with database:
        database.execute(statement)
    database.close()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda s: configure(s, backend="hnsw"), "kept by 'hnsw', only faiss, numpy and torch"),
        (lambda s: configure(s, content="duckdb"), "kept by 'duckdb', only SQLite"),
        (lambda s: (s / "embeddings").unlink(), "its file embeddings is missing"),
        (lambda s: (s / "embeddings").write_bytes(b"x"), "does not begin as a FAISS file does"),
        (lambda s: (s / "documents").write_bytes(b"x" * 5000), "documents cannot be read"),
        (lambda s: change(s, "DELETE FROM sections WHERE indexid = 5"), "vector 5 has no id"),
        (lambda s: change(s, "UPDATE documents SET data = '{'"), "not JSON"),
        (
            lambda s: change(s, "UPDATE sections SET id = 'id-1' WHERE indexid = 2"),
            "id 'id-1' has several sections, 1 and 2: ids must be unique",
        ),
    ],
)
def test_damage_is_told(tmp_path, damage, message):
    store, _ = unpack("txtai_content", tmp_path)
    damage(store)
    with pytest.raises(SourceError, match=message):
        opened(store)


def test_a_pickled_array_is_refused(tmp_path):
    store, _ = unpack("txtai_numpy", tmp_path)
    np.save(store / "x.npy", np.array([Evil()], object), allow_pickle=True)
    (store / "x.npy").rename(store / "embeddings")
    with pytest.raises(SourceError, match="no NumPy array"):
        opened(store)


def test_without_ids_and_content_the_positions_remain(tmp_path):
    store, expected = unpack("txtai_ids", tmp_path)
    (store / "ids").unlink()
    for part in ("scoring", "graph"):
        (store / part).touch()
    source = opened(store)
    assert source.notes[1:] == [
        "the keyword index (scoring) is left out",
        "the graph is left out",
    ]
    found = everything(source)
    # 3 and 8 were deleted; what was added later got the next number.
    assert found["ids"] == [i for i in range(20) if i not in (3, 8)] + [20]
    assert len(expected["ids"]) == 19


def test_every_number_and_text_of_messagepack():
    numbers = b"\x00\x7f\xcc\xff\xcd\x01\x00\xce\xff\xff\xff\xff\xcf" + b"\xff" * 8
    signed = b"\xff\xe0\xd0\x80\xd1\x80\x00\xd2\x80\x00\x00\x00\xd3\x80" + b"\x00" * 7
    texts = b"\xc0\xa1a\xd9\x02" + "ü".encode() + b"\xda\x00\x01b\xdb\x00\x00\x00\x01c"
    listed = unpack_list(b"\xdc\x00\x11" + numbers + signed + texts)
    assert listed == [
        *(0, 127, 255, 256, 2**32 - 1, 2**64 - 1),
        *(-1, -32, -128, -(2**15), -(2**31), -(2**63)),
        *(None, "a", "ü", "b", "c"),
    ]
    assert unpack_list(b"\xdd\x00\x00\x00\x00") == []


def test_an_archive_with_an_index_deeper_in_it_is_none(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr("folder/embeddings", b"x")
    assert not is_txtai(str(path))

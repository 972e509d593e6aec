"""Folders of Chroma 1.5 and 0.5: vectors from segment and log, rows from SQLite."""

from __future__ import annotations

import pickle
import sqlite3
import struct

import numpy as np
import pytest

from requant.integration.errors import SourceError
from requant.integration.readers import Wanted
from requant.integration.readers.foreign.chroma import is_chroma, open_chroma
from tests.foreign_cases import check, check_import, everything, unpack

CASES = [
    ("chroma", "notes-l2", "l2", "exact"),
    ("chroma", "notes-ip", "ip", "exact"),
    ("chroma", "notes-cosine", "cosine", "normalised"),
    ("chroma", "log-cosine", "cosine", "exact"),
    ("chroma05", "log-l2", "l2", "exact"),
    ("chroma05", "notes-cosine", "cosine", "normalised"),
]


def opened(store, name="", wanted=None):
    return open_chroma(str(store / name), wanted or Wanted())


def bits(row):
    return np.array(row, np.float32).tobytes()


@pytest.mark.parametrize(("case", "name", "metric", "fidelity"), CASES)
def test_every_value(tmp_path, case, name, metric, fidelity):
    store, expected = unpack(case, tmp_path)
    source, held = opened(store, name), expected[name]
    assert (source.metric, source.fidelity, source.dim) == (metric, fidelity, 8)
    found = everything(source)
    restored = 0
    for mine, answered, given in zip(found["vectors"], held["vectors"], held["given"], strict=True):
        # What Chroma answers, bit by bit; or, from its log, what was handed in, which is better.
        assert mine.tobytes() in (bits(answered), bits(given))
        restored += mine.tobytes() != bits(given)
        np.testing.assert_allclose(mine, given, rtol=3e-7)
    assert bool(restored) == (fidelity == "normalised") == bool(source.notes)
    held["vectors"] = [row.tolist() for row in found["vectors"]]
    check(source, held)
    check_import(store / name, held, tmp_path)


def test_several_collections_ask_which(tmp_path):
    store, _ = unpack("chroma", tmp_path)
    assert is_chroma(str(store))
    assert not is_chroma(str(tmp_path))
    with pytest.raises(SourceError, match="/NAME: log-cosine, notes-cosine, notes-ip"):
        opened(store)
    with pytest.raises(SourceError, match="no collection 'other'; it has: log-cosine"):
        opened(store, "other")
    with pytest.raises(SourceError, match=r"Chroma tells itself .* leave out --ids and --metadata"):
        opened(store, "notes-ip", Wanted(ids="id", metadata=("all",)))
    with pytest.raises(SourceError, match="it is no folder of Chroma"):
        opened(tmp_path)


def segment(store, name):
    """Return the folder of a collection's vectors."""
    database = sqlite3.connect(store / "chroma.sqlite3")
    (found,) = database.execute(
        "SELECT s.id FROM segments s JOIN collections c ON c.id = s.collection "
        "WHERE s.scope = 'VECTOR' AND c.name = ?",
        (name,),
    ).fetchone()
    database.close()
    return store / found


def change(store, statement):
    database = sqlite3.connect(store / "chroma.sqlite3")
    with database:
        database.execute(statement)
    database.close()


class Evil:
    def __reduce__(self):
        return (print, ("this pickle ran",))


def break_pickle(store, folder):
    (folder / "index_metadata.pickle").write_bytes(pickle.dumps({"id_to_label": Evil()}))


def break_map(store, folder):
    (folder / "index_metadata.pickle").write_bytes(pickle.dumps({"labels": {}}))


def cut_vectors(store, folder):
    path = folder / "data_level0.bin"
    path.write_bytes(path.read_bytes()[:1000])


def cut_lengths(store, folder):
    (folder / "length.bin").write_bytes(b"1234")


def cut_header(store, folder):
    (folder / "header.bin").write_bytes(b"1234")


def new_version(store, folder):
    path = folder / "header.bin"
    path.write_bytes(struct.pack("<i", 2) + path.read_bytes()[4:])


def mark_deleted(store, folder):
    path = folder / "data_level0.bin"
    data = bytearray(path.read_bytes())
    data[2::172] = b"\x01" * len(data[2::172])
    path.write_bytes(data)


def lose_rows(store, folder):
    change(store, "DELETE FROM embeddings WHERE embedding_id = 'id-7'")


def lose_log(store, folder):
    change(store, "DELETE FROM embeddings_queue WHERE id = 'bare'")


def bad_log(store, folder):
    change(store, "UPDATE embeddings_queue SET vector = x'00' WHERE id = 'bare'")


def unknown_operation(store, folder):
    change(store, "UPDATE embeddings_queue SET operation = 9 WHERE id = 'bare'")


def lagging(store, folder):
    change(store, "UPDATE max_seq_id SET seq_id = 3")


def no_database(store, folder):
    (store / "chroma.sqlite3").write_bytes(b"nothing" * 1000)


def no_tables(store, folder):
    change(store, "DROP TABLE embeddings_queue")


def no_collections(store, folder):
    change(store, "DELETE FROM collections")


BROKEN = [
    (break_pickle, r"asks for (builtins|__builtin__)\.print, which may run code"),
    (break_map, "holds no map from ids to labels"),
    (cut_vectors, "too short for the 33 vectors"),
    (cut_lengths, "too short: 1 lengths"),
    (cut_header, "header.bin cannot be read"),
    (new_version, "version 2 of the format is not known"),
    (mark_deleted, "has no vector with label"),
    (lose_rows, "have a vector but no row"),
    (lose_log, "id 'bare' and 0 more have no vector"),
    (bad_log, r"log entry \d+ \(id 'bare'\): 1 bytes of FLOAT32"),
    (unknown_operation, "unknown operation 9"),
    (lagging, "writes are in its log only: open the folder once with Chroma"),
    (no_database, "not a database"),
    (no_tables, "no such table"),
    (no_collections, "holds no collection"),
]


@pytest.mark.parametrize(
    ("damage", "message"), BROKEN, ids=lambda case: getattr(case, "__name__", "")
)
def test_damage_is_told(tmp_path, capsys, damage, message):
    store, _ = unpack("chroma", tmp_path)
    damage(store, segment(store, "notes-cosine"))
    with pytest.raises(SourceError, match=message):
        opened(store, "notes-cosine")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("configuration", "metric"),
    [
        ('{"hnsw": {"space": "ip"}, "embedding_function": {"space": "x"}}', "ip"),
        ('{"hnsw": null}', "cosine"),
        ("{}", "cosine"),
        ("{", "cosine"),
        # Of 0.5, which says l2 whatever the space is.
        ('{"hnsw_configuration": {"space": "l2"}}', "cosine"),
    ],
)
def test_each_version_keeps_the_space_elsewhere(tmp_path, configuration, metric):
    store, _ = unpack("chroma", tmp_path)
    change(store, f"UPDATE collections SET schema_str = NULL, config_json_str = '{configuration}'")
    assert opened(store, "log-cosine").metric == metric
    change(store, "DELETE FROM collection_metadata")
    # Nothing else tells it, and then it is l2.
    assert opened(store, "log-cosine").metric == ("ip" if metric == "ip" else "l2")


def test_the_folder_is_only_read(tmp_path):
    store, _ = unpack("chroma", tmp_path)
    before = {path: path.stat().st_mtime_ns for path in store.rglob("*")}
    everything(opened(store, "notes-l2"))
    assert {path: path.stat().st_mtime_ns for path in store.rglob("*")} == before

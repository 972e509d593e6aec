"""Qdrant's folders and files: whose they are, who has them open, and what a crash leaves."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import qdrant_edge as edge

from requant.adapters.errors import CorruptIndexError, EngineError, ForkedError, LocationTakenError
from requant.adapters.protocol import IndexSpec
from requant.adapters.qdrant import QdrantBackend
from requant.testing.data import code_spec, make_codes, make_keys, make_queries
from requant.testing.judge import Judge

SPEC = IndexSpec(code_spec("int8", 64), "l2")


def filled(where, spec=SPEC, n=100):
    index = QdrantBackend.create(spec, str(where))
    index.upsert(make_keys(n), make_codes(spec.code, n))
    return index, Judge(spec, make_keys(n), make_codes(spec.code, n))


def test_a_folder_is_open_in_one_place_at_a_time(tmp_path):
    index, judge = filled(tmp_path / "index")
    for call in (
        lambda: QdrantBackend.open(SPEC, str(tmp_path / "index")),
        lambda: QdrantBackend.drop(SPEC, str(tmp_path / "index")),
        lambda: QdrantBackend.create(SPEC, str(tmp_path / "index"), overwrite=True),
    ):
        with pytest.raises(EngineError, match=f"process {os.getpid()} has .*index"):
            call()
    judge.holds(index)
    index.close()
    QdrantBackend.open(SPEC, str(tmp_path / "index")).close()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs the full disk of Linux")
def test_a_folder_whose_lock_cannot_be_written(tmp_path):
    where = str(tmp_path / "index")
    index, judge = filled(where)
    index.flush()
    index.close()
    lock = tmp_path / "index" / "requant.lock"
    lock.unlink()
    lock.symlink_to("/dev/full")
    with pytest.raises(EngineError, match=r"cannot lock .*index"):
        QdrantBackend.open(SPEC, where)
    lock.unlink()
    index = QdrantBackend.open(SPEC, where)
    judge.holds(index)
    index.close()


def test_a_shard_that_another_program_has_open(tmp_path):
    filled(tmp_path / "index")[0].close()
    shard = edge.EdgeShard.load(str(tmp_path / "index" / "shard"))
    with pytest.raises(EngineError, match="another program"):
        QdrantBackend.open(SPEC, str(tmp_path / "index"))
    shard.close()
    QdrantBackend.open(SPEC, str(tmp_path / "index")).close()


_WRITER = """
import sys
import numpy as np
from requant.adapters.qdrant import QdrantBackend
from requant.testing.data import make_codes, make_keys
from tests.conformance.test_qdrant_places import spec_with
spec = spec_with(sys.argv[2] == "True")
index = QdrantBackend.create(spec, sys.argv[1])
codes = make_codes(spec.code, 3000)
keys = make_keys(3000)
index.upsert(keys[:2000], codes[:2000])
index.delete(keys[:100])
index.flush()
index.upsert(keys[2000:2100], codes[2000:2100])
print("flushed", flush=True)
start = 2100
while True:
    index.upsert(keys[start:start + 10], codes[start:start + 10])
    start = start + 10 if start < 2900 else 2100
"""


def spec_with(wal):
    params = {"wal": wal, "indexing_threshold": 8, "m": 8}
    return IndexSpec(code_spec("int8", 64), "l2", "hnsw", params)


@pytest.mark.parametrize("wal", [True, False])
def test_a_killed_process_leaves_what_it_flushed(tmp_path, wal):
    where, spec = str(tmp_path / "index"), spec_with(wal)
    command = [sys.executable, "-c", _WRITER, where, str(wal)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "flushed\n"
        with pytest.raises(EngineError, match=f"process {process.pid} has"):
            QdrantBackend.open(spec, where)
        process.send_signal(signal.SIGKILL)
    index = QdrantBackend.open(spec, where)
    keys, codes = make_keys(3000), make_codes(spec.code, 3000)
    found = dict(zip(*map(np.concatenate, zip(*index.export(), strict=True)), strict=True))
    accepted = range(100, 2100 if wal else 2000)
    assert all(np.array_equal(found[keys[row]], codes[row]) for row in accepted)
    known = dict(zip(keys.tolist(), codes, strict=True))
    assert all(np.array_equal(known[key], code) for key, code in found.items())
    assert not set(keys[:100].tolist()) & set(found)
    assert len(index) == len(found)
    index.upsert(keys, codes)
    Judge(spec, keys, codes).holds(index)
    index.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_child_that_closes_leaves_the_parent_its_folder(tmp_path):
    index, judge = filled(tmp_path / "index")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        try:
            index.close()
        except BaseException:
            os._exit(2)
        try:
            QdrantBackend.open(SPEC, str(tmp_path / "index"))
        except (EngineError, ForkedError):
            os._exit(0)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    judge.holds(index)
    index.close()
    QdrantBackend.open(SPEC, str(tmp_path / "index")).close()


def _folder(path):
    path.mkdir()
    (path / "precious").write_text("mine")


def _file(path):
    path.write_text("mine")


def _shard(path):
    vectors = edge.EdgeVectorParams(size=4, distance=edge.Distance.Dot)
    edge.EdgeShard.create(str(path), edge.EdgeConfig(vectors=vectors)).close()


def _archive(path):
    np.savez(path.with_suffix(".npz"), keys=np.arange(3))
    path.with_suffix(".npz").rename(path)


@pytest.mark.parametrize("make", [_folder, _file, _shard, _archive], ids=lambda make: make.__name__)
@pytest.mark.parametrize("prefix", ["", "local:"], ids=["folder", "local"])
def test_what_is_not_ours_is_left_alone(tmp_path, make, prefix):
    path = tmp_path / "theirs"
    make(path)
    before = _image(path)
    where = f"{prefix}{path}"
    with pytest.raises(LocationTakenError, match="exists"):
        QdrantBackend.create(SPEC, where)
    with pytest.raises(LocationTakenError, match="not made by requant"):
        QdrantBackend.create(SPEC, where, overwrite=True)
    with pytest.raises(LocationTakenError, match="not made by requant"):
        QdrantBackend.drop(SPEC, where)
    with pytest.raises(CorruptIndexError, match="not an index that requant made"):
        QdrantBackend.open(SPEC, where)
    assert _image(path) == before
    assert [found.name for found in tmp_path.iterdir()] == ["theirs"]


def _image(path):
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    return [(file, file.read_bytes()) for file in files if file.is_file()]


def test_an_empty_folder_may_be_used(tmp_path):
    (tmp_path / "index").mkdir()
    index, judge = filled(tmp_path / "index")
    judge.holds(index)
    index.close()


@pytest.mark.parametrize("prefix", ["", "local:"], ids=["folder", "local"])
@pytest.mark.parametrize(
    "other",
    [
        IndexSpec(code_spec("int8", 64), "ip"),
        IndexSpec(code_spec("int8", 64), "l2", "hnsw"),
        IndexSpec(code_spec("uint8", 64), "l2"),
        IndexSpec(code_spec("int8", 65), "l2"),
        IndexSpec(code_spec("native", 64), "l2"),
    ],
    ids=lambda spec: f"{spec.code.format}-{spec.index_type}-{spec.metric}-{spec.code.dim}",
)
def test_another_kind_of_index_is_refused(tmp_path, prefix, other):
    where = f"{prefix}{tmp_path / 'index'}"
    index, judge = filled(where)
    index.flush()
    index.close()
    with pytest.raises(CorruptIndexError, match=r"its \w+ is .*, expected"):
        QdrantBackend.open(other, where)
    index = QdrantBackend.open(SPEC, where)
    judge.holds(index)
    index.close()


def test_a_creation_cut_short_can_be_dropped(tmp_path):
    where = tmp_path / "index"
    filled(where)[0].close()
    for shard in (where / "shard").rglob("*"):
        if shard.is_file():
            shard.unlink()
    with pytest.raises(CorruptIndexError, match="cannot read"):
        QdrantBackend.open(SPEC, str(where))
    QdrantBackend.drop(SPEC, str(where))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("text", ["", "{", "[]", '{"requant": "yes"}', "\xff"])
def test_a_damaged_mark_is_nobodys(tmp_path, text):
    filled(tmp_path / "index")[0].close()
    (tmp_path / "index" / "requant.json").write_text(text)
    with pytest.raises(CorruptIndexError):
        QdrantBackend.open(SPEC, str(tmp_path / "index"))
    with pytest.raises(LocationTakenError):
        QdrantBackend.drop(SPEC, str(tmp_path / "index"))


def test_the_mark_tells_what_is_inside(tmp_path):
    filled(tmp_path / "index")[0].close()
    mark = json.loads((tmp_path / "index" / "requant.json").read_text())
    assert mark.pop("requant") == 1
    told = {"format": "int8", "dim": 64, "metric": "l2", "index_type": "flat"}
    assert mark == told | {"quantization": None, "datatype": "uint8"}


@pytest.mark.parametrize("told", ["by the mark", "by the shard"])
def test_a_folder_of_a_machine_that_computes_otherwise_is_refused(tmp_path, monkeypatch, told):
    """ARM adds up halves in half precision, so that the same codes are kept as floats there."""
    spec = IndexSpec(code_spec("int8", 64), "ip")
    machines = iter(["aarch64", "x86_64", "aarch64"])
    monkeypatch.setattr("platform.machine", lambda: machine)
    machine = next(machines)
    index, judge = filled(tmp_path / "index", spec)
    index.close()
    mark = tmp_path / "index" / "requant.json"
    if told == "by the shard":
        known = json.loads(mark.read_text())
        assert known.pop("datatype") == "float32"
        mark.write_text(json.dumps(known))
    machine = next(machines)
    with pytest.raises(CorruptIndexError, match="datatype is 'float32', expected 'float16'"):
        QdrantBackend.open(spec, str(tmp_path / "index"))
    machine = next(machines)
    index = QdrantBackend.open(spec, str(tmp_path / "index"))
    judge.holds(index)
    index.close()


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(EngineError, match="cannot make"):
        QdrantBackend.create(SPEC, str(tmp_path / "file" / "index"))


def test_a_local_file_is_numpy(tmp_path):
    index, judge = filled(f"local:{tmp_path / 'index.npz'}")
    index.flush()
    index.close()
    with np.load(tmp_path / "index.npz", allow_pickle=False) as file:
        np.testing.assert_array_equal(file["keys"], judge.keys)
        np.testing.assert_array_equal(file["codes"], judge.codes)


def test_a_local_file_keeps_what_was_flushed_last(tmp_path):
    where = f"local:{tmp_path / 'index.npz'}"
    index, judge = filled(where)
    index.flush()
    index.delete(judge.keys)
    index.close()
    index = QdrantBackend.open(SPEC, where)
    judge.holds(index)
    judge.is_exact(index.search(judge.codes[:3], 9), judge.codes[:3], 9)
    index.close()


def test_damaged_local_files_are_refused(tmp_path):
    path = tmp_path / "index.npz"
    index, judge = filled(f"local:{path}", n=20)
    index.flush()
    index.close()
    whole = path.read_bytes()
    for cut in (0, 10, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:cut])
        with pytest.raises(CorruptIndexError):
            QdrantBackend.open(SPEC, f"local:{path}")
    for at in (*range(0, 600, 9), *range(len(whole) - 400, len(whole), 9)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << at % 8]) + whole[at + 1 :])
        with contextlib.suppress(CorruptIndexError):
            index = QdrantBackend.open(SPEC, f"local:{path}")
            judge.holds(index)
            index.close()


def test_a_pickle_in_a_local_file_is_not_loaded(tmp_path):
    path = tmp_path / "index.npz"
    index, _ = filled(f"local:{path}")
    index.close()
    with np.load(path, allow_pickle=False) as file:
        mark = str(file["requant"])
    with path.open("wb") as file:
        np.savez(file, requant=np.array(mark), keys=np.arange(2), codes=np.array([{}, {}], object))
    with zipfile.ZipFile(path) as archive:
        assert "codes.npy" in archive.namelist()
    with pytest.raises(CorruptIndexError, match=r"cannot be read.*pickle"):
        QdrantBackend.open(SPEC, f"local:{path}")


def test_an_index_in_memory_is_gone_when_it_is_closed():
    index, judge = filled(":memory:notes")
    judge.is_exact(index.search(make_queries(SPEC.code, 3), 5), make_queries(SPEC.code, 3), 5)
    index.flush()
    index.close()
    with pytest.raises(CorruptIndexError, match="gone"):
        QdrantBackend.open(SPEC, ":memory:notes")
    QdrantBackend.drop(SPEC, ":memory:notes")

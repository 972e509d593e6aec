"""Exports that are killed, interrupted, or run out of disk: whole or absent, never half."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

import requant
from requant.integration.cli import main
from requant.integration.export import export
from tests.databases import files, vectors
from tests.processes import pipe, start

FORMATS = ["parquet", "faiss", "usearch", "qdrant", "lancedb"]
EVERY = pytest.mark.parametrize("format", FORMATS)
POSIX = pytest.mark.skipif(os.name == "nt", reason="signals and limits are those of POSIX")
HALFWAY = """
import sys, time, requant
from requant.integration.export import export
def wait(done, total):
    if done >= total // 2:
        print("half", flush=True)
        time.sleep(60)
with requant.open(sys.argv[1]) as db:
    export(db.collection("notes"), sys.argv[2], format=sys.argv[3], batch=100,
           overwrite=True, progress=wait)
"""


def until_halfway(path, target, format, told):
    """Export, tell that half of it is written, and stay there."""

    def wait(done, total):
        if done >= total // 2:
            told.send("half")
            time.sleep(60)

    with requant.open(path) as db:
        notes = db.collection("notes")
        export(notes, target, format=format, batch=100, overwrite=True, progress=wait)


def limited(limit, arguments, said):
    """Run the command line where no file may grow beyond `limit`; write what it says to a file."""
    import resource  # not on Windows

    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    os.dup2(os.open(said, os.O_WRONLY | os.O_CREAT), 2)
    sys.argv[1:] = arguments
    main()


@pytest.fixture
def path(tmp_path):
    with requant.open(tmp_path / "notes.requant") as db:
        notes = db.create_collection("notes", 64)
        notes.upsert([f"n{i}" for i in range(2000)], vectors(2000, 64), ["text"] * 2000)
    return tmp_path / "notes.requant"


def around(target):
    """What is in the folder of a target, hidden things too."""
    return sorted(entry.name for entry in target.parent.iterdir())


@POSIX
@EVERY
@pytest.mark.parametrize("stands", [False, True])
def test_killed_halfway(path, tmp_path, format, stands):
    target = tmp_path / "out" / "target"
    with requant.open(path) as db:
        if stands:
            export(db.collection("notes"), target, format=format, where={})
        before = files(target) if target.is_dir() else target.exists() and target.read_bytes()
        receiver, sender = pipe()
        process = start(until_halfway, str(path), str(target), format, sender)
        assert receiver.poll(60)
        assert receiver.recv() == "half"
        process.kill()
        process.join()
        receiver.close()
        sender.close()
        if format == "lancedb":
            assert (target / "notes.lance").exists() == stands
        else:
            assert target.exists() == stands
        shown = {k: v for k, v in files(target).items() if not k.startswith(".")} if (
            target.is_dir()
        ) else target.exists() and target.read_bytes()  # fmt: skip
        assert shown == before or (not before and not shown)
        report = export(db.collection("notes"), target, format=format, overwrite=True)
        assert report.rows == 2000
    left = [name for name in around(target) if ".partial" in name or ".gone" in name]
    left += [entry.name for entry in target.glob(".*")] if target.is_dir() else []
    assert left == []  # what the killed process left has been removed


@EVERY
def test_interrupted(path, tmp_path, format):
    target = tmp_path / "deep" / "er" / "target"

    def stop(done, total):
        if done >= total // 2:
            raise KeyboardInterrupt

    with requant.open(path) as db, pytest.raises(KeyboardInterrupt):
        export(db.collection("notes"), target, format=format, batch=100, progress=stop)
    assert not (tmp_path / "deep").exists()


@POSIX
def test_ctrl_c_while_lancedb_reads(path, tmp_path):
    # It reads from threads of its own, which must not go on with a snapshot that is over.
    target = tmp_path / "out"
    command = [sys.executable, "-c", HALFWAY.replace("60", "1"), str(path), str(target), "lancedb"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "half\n"
    start = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=30)
    assert time.monotonic() - start < 10
    assert process.returncode == -signal.SIGINT
    assert told.strip().endswith("KeyboardInterrupt")
    assert not target.exists()


@POSIX
@pytest.mark.parametrize("format", ["parquet", "faiss", "usearch", "lancedb"])
@pytest.mark.parametrize("last", [False, True])
def test_no_room_on_the_disk(path, tmp_path, format, last):
    target = tmp_path / "out" / "target"
    limit = 40_000  # enough to open the database
    if last:
        # Engines write the end when they close the file, and some do not look what came of it.
        trial = tmp_path / "trial" / "target"
        with requant.open(path) as db:
            export(db.collection("notes"), trial, format=format)
        limit = max(entry.stat().st_size for entry in trial.parent.rglob("*")) - 1
    arguments = ["export", str(path), "notes", str(target), "--to", format]
    process = start(limited, limit, arguments, str(tmp_path / "said"))
    process.join(60)
    said = (tmp_path / "said").read_text()
    assert process.exitcode == 2, said
    (line,) = [line for line in said.splitlines() if line.startswith("error: ")]
    assert "too large" in line.lower() or "LanceDB" in line or "usearch" in line
    assert not (tmp_path / "out").exists()


@POSIX
@pytest.mark.parametrize("format", ["parquet", "faiss", "usearch", "lancedb"])
def test_a_folder_that_may_not_be_written(path, tmp_path, format, monkeypatch):
    if os.geteuid() == 0:
        target = "/proc/requant/target"  # where even root may make nothing
    else:
        (tmp_path / "out").mkdir(mode=0o500)
        target = tmp_path / "out" / "target"
    with requant.open(path) as db, pytest.raises(requant.RequantError, match="cannot write"):
        export(db.collection("notes"), target, format=format)

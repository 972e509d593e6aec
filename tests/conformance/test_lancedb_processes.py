"""Several processes share a LanceDB table, and one of them may be killed."""

import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from requant.adapters.lancedb import LancedbBackend
from requant.adapters.protocol import IndexSpec
from requant.quantizers.codes import CodeSpec

SPEC = IndexSpec(CodeSpec("int8", 16), "l2")
_BEGIN = """
import sys
import numpy as np
from requant.adapters.lancedb import LancedbBackend
from requant.adapters.protocol import IndexSpec
from requant.quantizers.codes import CodeSpec

backend = LancedbBackend.open(IndexSpec(CodeSpec("int8", 16), "l2"), sys.argv[1])
print("open", flush=True)
sys.stdin.readline()
"""
# Every process writes the same keys, which nobody has written before, and some of its own.
_WRITE = """
me = int(sys.argv[2])
for turn in range(12):
    shared, own = np.arange(turn * 10, turn * 10 + 10), np.arange(3) + 1000 * me + turn * 3
    backend.upsert(np.concatenate([shared, own]), np.full((13, 16), me, np.int8))
    assert backend.delete(own[:1]) == 1
    if turn % 5 == 4:
        backend.flush()
"""
_WRITE_ON = """
for turn in range(100_000):
    backend.upsert(np.arange(turn * 5, turn * 5 + 5), np.full((5, 16), turn % 100, np.int8))
    if turn % 10 == 9:
        backend.flush()
    print(turn, flush=True)
"""


def started(script, *arguments):
    process = subprocess.Popen(
        [sys.executable, "-c", _BEGIN + script, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "open\n"
    return process


def go(process):
    process.stdin.write("\n")
    process.stdin.flush()


def everything(backend):
    chunks = list(backend.export())
    keys = np.concatenate([keys for keys, _ in chunks])
    codes = np.concatenate([codes for _, codes in chunks])
    order = np.argsort(keys)
    return keys[order], codes[order]


@pytest.fixture
def where(tmp_path):
    LancedbBackend.create(SPEC, str(tmp_path / "index")).close()
    return str(tmp_path / "index")


def test_writers_of_two_processes_lose_nothing(where):
    backend = LancedbBackend.open(SPEC, where)
    processes = [started(_WRITE, where, me) for me in (1, 2)]
    for process in processes:
        go(process)
    for process in processes:
        process.communicate(timeout=120)
        assert process.returncode == 0
    own = [1000 * me + turn * 3 + i for me in (1, 2) for turn in range(12) for i in (1, 2)]
    keys, codes = everything(backend)
    np.testing.assert_array_equal(keys, [*range(120), *own])
    assert (codes == codes[:, :1]).all()
    assert np.isin(codes[:, 0], (1, 2)).all()
    # This handle was open all the time, and sees what others wrote.
    assert len(backend) == 120 + len(own)
    found = backend.search(np.full((1, 16), 2, np.int8), 200)
    assert (found.keys >= 0).sum() == len(backend)
    backend.close()


def test_a_killed_writer_loses_nothing_that_was_acknowledged(where):
    process = started(_WRITE_ON, where)
    go(process)
    acknowledged = -1
    while acknowledged < 60:
        acknowledged = int(process.stdout.readline())
    os.kill(process.pid, signal.SIGKILL)
    rest = process.communicate()[0].split()
    acknowledged = int(rest[-1]) if rest and rest[-1].isdigit() else acknowledged
    backend = LancedbBackend.open(SPEC, where)
    keys, codes = everything(backend)
    turns = len(keys) // 5
    assert turns in (acknowledged + 1, acknowledged + 2)
    np.testing.assert_array_equal(keys, np.arange(5 * turns))
    np.testing.assert_array_equal(codes[:, 0], keys // 5 % 100)
    backend.upsert(np.arange(5), np.full((5, 16), 7, np.int8))
    backend.flush()
    assert len(backend) == 5 * turns
    backend.close()


_FILL = """
import resource, signal
from requant.adapters.errors import EngineError

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
try:
    backend.upsert(np.arange(20_000), np.ones((20_000, 16), np.int8))
except EngineError as error:
    assert "the disk is full" in str(error), error
    print("refused", len(backend), flush=True)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
backend.upsert(np.arange(20_000), np.ones((20_000, 16), np.int8))
backend.flush()
"""


def test_a_full_disk_loses_nothing_and_is_told(where):
    backend = LancedbBackend.open(SPEC, where)
    backend.upsert(np.arange(10), np.zeros((10, 16), np.int8))
    process = started(_FILL, where)
    go(process)
    assert process.communicate(timeout=120)[0] == "refused 10\n"
    assert process.returncode == 0
    assert len(backend) == 20_000
    backend.close()

"""What only turbovec has: bits, widths, calibration, one thread, files for plain turbovec."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from turbovec import IdMapIndex

import requant
from requant.adapters.errors import CorruptIndexError
from requant.adapters.own_files import own_entries
from requant.adapters.protocol import IndexSpec
from requant.adapters.turbovec import TurbovecBackend
from requant.quantizers.codes import CodeSpec
from requant.quantizers.errors import InputError, UnsupportedError
from requant.testing.data import make_codes, make_keys, make_queries
from requant.testing.judge import Judge
from tests import inside
from tests.databases import vectors


def spec_of(dim=64, **params):
    return IndexSpec(CodeSpec("native", dim), "ip", "flat", params)


def filled(spec, n=300, sample=None):
    codes = make_codes(spec.code, n)
    backend = TurbovecBackend.create(spec, sample=sample)
    backend.upsert(make_keys(n), codes)
    return backend, Judge(spec, make_keys(n), codes)


def in_a_process(program, **environment):
    """Run a program that has the folder of tests, and return what it prints."""
    root = str(Path(__file__).parent.parent.parent)
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    told = {**os.environ, "PYTHONPATH": path, **environment}
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True, text=True, timeout=120, check=False,
        env={name: value for name, value in told.items() if value is not None},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.split()


def test_plain_turbovec_opens_a_file(tmp_path):
    backend, judge = filled(spec_of(bits=2))
    backend.flush(str(tmp_path / "index"))
    plain = IdMapIndex.load(str(tmp_path / "index"))
    assert (plain.dim, plain.bit_width, len(plain)) == (64, 2, 300)
    queries = make_queries(judge.spec.code, 3)
    keys = plain.search(queries, 5)[1].astype(np.int64)
    np.testing.assert_array_equal(keys, backend.search(queries, 5).keys)


def test_what_it_cannot_do_is_refused_by_name(db):
    for bits in (1, 3, 8, 4.0, "4", True):
        with pytest.raises(InputError, match="bits"):
            TurbovecBackend.create(spec_of(bits=bits))
    TurbovecBackend.create(spec_of(16_384)).close()
    with pytest.raises(UnsupportedError, match=r"turbovec.*16384 dimensions, not of 16385"):
        TurbovecBackend.create(spec_of(16_385))
    notes = db.create_collection("notes", 8, "l2")
    notes.upsert(range(5), vectors(5))
    with pytest.raises(UnsupportedError, match=r"turbovec.*'l2'.*use another engine"):
        notes.add_index("main", engine="turbovec", precision="native")
    with pytest.raises(UnsupportedError, match="turbovec has no int8/flat index"):
        notes.add_index("main", engine="turbovec")


def test_a_file_of_other_bits_and_a_cut_one_are_refused(tmp_path):
    backend, judge = filled(spec_of())
    path = tmp_path / "index"
    backend.flush(str(path))
    with pytest.raises(CorruptIndexError, match="64 dimensions of 4 bits"):
        TurbovecBackend.open(spec_of(bits=2), str(path))
    whole = path.read_bytes()
    for size in (0, 3, 50, 2500, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(CorruptIndexError):
            TurbovecBackend.open(judge.spec, str(path))


def test_numbers_of_any_size_are_taken():
    """turbovec refuses what is larger than 1e16."""
    codes = make_codes(spec_of().code, 50)
    for scale in (1e20, 1e30, 1e-30):
        backend = TurbovecBackend.create(spec_of())
        backend.upsert(make_keys(50), codes * np.float32(scale))
        assert len(np.unique(backend.search(codes[:3] * np.float32(scale), 50).keys)) == 50
    queries = make_queries(spec_of().code, 5)
    backend, _ = filled(spec_of())
    near, far = backend.search(queries, 5), backend.search(queries * np.float32(1e30), 5)
    np.testing.assert_array_equal(near.keys, far.keys)


@pytest.mark.parametrize("sample", ["few", "equal", "two kinds", "zeros"])
def test_a_sample_that_tells_nothing_does_no_harm(sample):
    code = spec_of().code
    rows = {
        "few": make_codes(code, 20),
        "equal": np.ones((500, 64), np.float32),
        "two kinds": np.repeat(make_codes(code, 2), 250, axis=0),
        "zeros": np.zeros((500, 64), np.float32),
    }[sample]
    backend, judge = filled(spec_of(), 1000, rows)
    queries = make_queries(code, 50)
    assert judge.rules(backend.search(queries, 10), queries, 10) > 0.85


def shifted(rows):
    """The rows as models make them that give all of them one large part in common."""
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    rows = rows + 1.8 * np.full(rows.shape[1], rows.shape[1] ** -0.5, np.float32)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def test_a_large_mean_is_learned_from_the_sample(db):
    rng = np.random.default_rng(0)
    rows = shifted(rng.normal(size=(3000, 64)))
    queries = shifted(rng.normal(size=(50, 64)))
    notes = db.create_collection("notes", 64)
    notes.upsert(range(3000), rows)
    notes.add_index("main", engine="turbovec", precision="native", params={"bits": 2})
    exact = notes.search_many(queries, 10, exact=True).ids
    found = notes.search_many(queries, 10, oversample=8).ids
    calibrated = sum(len({*a} & {*b}) for a, b in zip(found, exact, strict=True)) / 500
    plain = TurbovecBackend.create(spec_of(bits=2))
    plain.upsert(np.arange(3000), rows)
    keys = plain.search(queries, 80).keys.tolist()
    uncalibrated = sum(len({*a} & {*b}) for a, b in zip(keys, exact, strict=True)) / 500
    assert calibrated > 0.9 > 0.8 > uncalibrated


@pytest.mark.parametrize(("bits", "candidates"), [(4, 40), (2, 100)])
def test_it_says_how_many_candidates_its_bits_need(db, monkeypatch, bits, candidates):
    notes = db.create_collection("notes", 8)
    notes.upsert(range(1500), vectors(1500))
    notes.add_index("main", engine="turbovec", precision="native", params={"bits": bits})
    notes.search(vectors(1)[0])
    asked, backend = [], inside.backend_of(notes)
    search = backend.search
    monkeypatch.setattr(
        backend, "search", lambda *args, **kwargs: asked.append(args[1]) or search(*args, **kwargs)
    )
    notes.search(vectors(1)[0], k=20)
    assert asked == [candidates]


def test_migrated_there_and_back_it_is_whole(db):
    notes = db.create_collection("notes", 24)
    notes.upsert(range(1500), vectors(1500, 24))
    notes.add_index("main", engine="faiss", precision="int8")
    assert notes.migrate("turbo", engine="turbovec", precision="native").ok
    notes.delete(range(5))
    notes.upsert(range(5, 20), vectors(15, 24, seed=3))
    assert notes.verify(deep=True).ok
    best = [hit.id for hit in notes.search(vectors(1, 24, seed=4)[0], exact=True)]
    assert [hit.id for hit in notes.search(vectors(1, 24, seed=4)[0], oversample=5)] == best
    assert notes.migrate("back", engine="faiss", precision="int8").ok


def test_verify_sees_vectors_under_the_wrong_keys(db):
    notes = db.create_collection("notes", 24)
    notes.upsert(range(400), vectors(400, 24))
    notes.add_index("main", engine="turbovec", precision="native")
    backend = inside.backend_of(notes)
    keys, codes = next(backend.export(400))
    backend.upsert(keys[:10], codes[10:20])
    report = notes.verify()
    assert not report.ok
    assert "code(s) of index 'main' are not those of the vectors" in report.problems[0]


_THREADS = """
import os
import numpy
def started():
    before = set(os.listdir("/proc/self/task"))
    from tests.conformance.test_turbovec_native import filled, spec_of
    backend, judge = filled(spec_of(), 500)
    backend.search(judge.codes, 5)
    after = set(os.listdir("/proc/self/task"))
    return len(after - before), os.environ.get("RAYON_NUM_THREADS")
print(*started(), flush=True)
if not os.fork():
    print(*started(), flush=True)
    os._exit(0)
os.wait()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc, and forks")
def test_one_thread_unless_the_user_says_otherwise():
    """In a forked child as well; and other libraries that read the variable see nothing of it."""
    # One more, which never works, is started when turbovec is imported.
    assert in_a_process(_THREADS, RAYON_NUM_THREADS=None) == ["2", "None", "1", "None"]
    assert in_a_process(_THREADS, RAYON_NUM_THREADS="3") == ["4", "3", "3", "3"]


_KILLED = """
import sys
from requant.adapters.files import publish
from pathlib import Path
from tests.conformance.test_turbovec_native import filled, spec_of
backend, _ = filled(spec_of(), 30_000)
print("ready", flush=True)
while True:
    publish(Path(sys.argv[1]), backend.flush)
"""


def test_what_a_kill_leaves_behind_is_known_as_ours(tmp_path):
    """turbovec writes beside the file that it is asked for, under a name of its own."""
    target = tmp_path / f"{'0' * 32}.turbovec"
    for _ in range(20):
        child = subprocess.Popen(
            [sys.executable, "-c", _KILLED, str(target)], stdout=subprocess.PIPE,
            cwd=Path(__file__).parent.parent.parent,
        )  # fmt: skip
        with child:
            assert child.stdout is not None
            child.stdout.readline()
            while not any(".tmp." in path.name for path in tmp_path.iterdir()):
                assert child.poll() is None
            child.kill()
        left = [path.name for path in tmp_path.iterdir() if ".tmp." in path.name]
        if left:
            break
    assert left
    assert set(left) <= {path.name for path in own_entries(tmp_path)}


def test_a_missing_turbovec_is_named(monkeypatch):
    program = (
        "import sys; sys.modules['turbovec'] = None\n"
        "import requant\n"
        "notes = requant.open(':memory:').create_collection('notes', 8)\n"
        "try:\n"
        "    notes.add_index('main', engine='turbovec', precision='native')\n"
        "except requant.EngineMissingError as error:\n"
        "    print(str(error).replace(' ', '_'))\n"
    )
    (told,) = in_a_process(program)
    assert told.startswith("turbovec_is_not_usable_(import_of_turbovec_halted")
    assert told.endswith("pip_install_'requant[turbovec]'")
    assert requant.EngineMissingError

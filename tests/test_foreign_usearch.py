"""usearch files: read without usearch, every vector and key, and never a crash."""

from __future__ import annotations

import re

import numpy as np
import pytest
from usearch.index import Index

from requant.integration.errors import SourceError
from requant.integration.readers import Wanted, open_foreign
from tests.cli import floats

N, DIM = 500, 20
ROWS = floats(N, DIM)
UNITS = ROWS / np.linalg.norm(ROWS, axis=1, keepdims=True)
KEYS = np.random.default_rng(1).permutation(N).astype(np.uint64) * 7 + 2**62


def saved(path, dtype="f32", metric="cos", rows=ROWS, keys=KEYS, **options):
    width = rows.shape[1] * (8 if dtype == "b1" else 1)
    index = Index(ndim=width, dtype=dtype, metric=metric, connectivity=8, **options)
    if len(rows):
        index.add(keys, rows)
    index.save(str(path))
    return path


def read(path, size=64):
    source = open_foreign(path, Wanted())
    batches = list(source.batches(size))
    ids = [i for batch in batches for i in batch.ids]
    vectors = np.concatenate([batch.vectors for batch in batches])
    assert len(ids) == source.rows
    assert vectors.dtype == np.float32
    assert vectors.shape[1] == source.dim
    row = {int(key): row for row, key in enumerate(KEYS)}
    return source, [row[i] for i in ids], vectors


@pytest.mark.parametrize(
    ("dtype", "fidelity", "original", "within"),
    [
        ("f32", "exact", ROWS, 0),
        ("f64", "exact", ROWS, 0),
        ("f16", "lossy", ROWS, 0.002),
        ("bf16", "lossy", ROWS, 0.02),
        ("i8", "lossy", UNITS, 1 / 127),
    ],
)
def test_every_format(tmp_path, dtype, fidelity, original, within):
    source, rows, vectors = read(saved(tmp_path / "a.usearch", dtype))
    assert (source.fidelity, source.metric) == (fidelity, "cosine")
    assert sorted(rows) == list(range(N))
    assert np.abs(vectors - original[rows]).max() <= within


@pytest.mark.parametrize("dtype", ["f32", "f16", "bf16"])
def test_the_same_as_usearch_itself_says(tmp_path, dtype):
    path = saved(tmp_path / "a.usearch", dtype)
    _, rows, vectors = read(path)
    told = Index.restore(str(path)).get(KEYS[rows], "f32")
    assert vectors.tobytes() == np.asarray(told, np.float32).tobytes()


def test_bits(tmp_path):
    codes = np.packbits(ROWS[:, :16] > 0, axis=1)
    source, rows, vectors = read(saved(tmp_path / "a.usearch", "b1", "hamming", codes))
    assert (source.fidelity, source.metric, source.dim) == ("codes-only", "cosine", 16)
    assert (vectors == np.where(ROWS[rows, :16] > 0, 1, -1)).all()


@pytest.mark.parametrize(
    ("metric", "told"), [("ip", "ip"), ("cos", "cosine"), ("l2sq", "l2"), ("pearson", None)]
)
def test_metrics(tmp_path, metric, told):
    source, _, _ = read(saved(tmp_path / "a.usearch", metric=metric))
    assert source.metric == told
    assert bool(source.notes) == (told is None)


def test_removed_and_replaced_items(tmp_path):
    index = Index(ndim=DIM, dtype="f32", metric="ip")
    index.add(KEYS, ROWS)
    for key in KEYS[:50]:
        index.remove(int(key))
    index.add(KEYS[:10], -ROWS[:10])
    index.save(str(tmp_path / "a.usearch"))
    source, rows, vectors = read(tmp_path / "a.usearch")
    assert source.rows == N - 40
    assert sorted(rows) == [*range(10), *range(50, N)]
    expected = np.where(np.arange(N)[:, None] < 10, -ROWS, ROWS)
    assert (vectors == expected[rows]).all()


def test_a_key_that_occurs_twice_is_named(tmp_path):
    keys = KEYS.copy()
    keys[400] = keys[3]
    path = saved(tmp_path / "a.usearch", keys=keys, multi=True)
    with pytest.raises(SourceError, match=f"id '{keys[3]}' occurs a second time"):
        list(open_foreign(path, Wanted()).batches(100))


def test_a_file_is_known_by_its_header(tmp_path):
    assert open_foreign(saved(tmp_path / "index"), Wanted()).kind == "usearch file (f32)"
    # The extension that FAISS's users have too.
    assert open_foreign(saved(tmp_path / "a.index"), Wanted()).kind == "usearch file (f32)"
    (tmp_path / "b.usearch").write_bytes(b"usear" * 100)
    with pytest.raises(SourceError, match="no usearch file, or a damaged one"):
        open_foreign(tmp_path / "b.usearch", Wanted())


def test_an_empty_index(tmp_path):
    source = open_foreign(saved(tmp_path / "a.usearch", rows=ROWS[:0]), Wanted())
    assert (source.rows, source.dim) == (0, DIM)
    assert list(source.batches(10)) == []


def test_a_format_without_floats_is_refused(tmp_path):
    with pytest.raises(SourceError, match="kinds that can be read are b1, bf16"):
        open_foreign(saved(tmp_path / "a.usearch", "u8"), Wanted())


def test_columns_cannot_be_asked_of_it(tmp_path):
    with pytest.raises(SourceError, match="--documents"):
        open_foreign(saved(tmp_path / "a.usearch"), Wanted(documents="text"))


@pytest.mark.parametrize("cut", [0, 7, 100, 30_000, 45_000, 60_000, -1])
def test_a_truncated_file(tmp_path, cut):
    path = saved(tmp_path / "a.usearch")
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(SourceError, match=re.escape(str(path))):
        list(open_foreign(path, Wanted()).batches(100))


def test_flipped_bits_are_errors_or_other_numbers(tmp_path):
    """5 to 22 of 100 end usearch's process."""
    path = saved(tmp_path / "a.usearch", rows=ROWS[:50], keys=KEYS[:50])
    good, rng = path.read_bytes(), np.random.default_rng(2)
    refused = 0
    header = 8 + 50 * DIM * 4
    for turn in range(300):
        data = bytearray(good)
        # Each second one in the headers and the graph.
        at = rng.integers(header if turn % 2 else 0, len(data))
        data[at] ^= 1 << int(rng.integers(8))
        path.write_bytes(bytes(data))
        try:
            with np.errstate(all="ignore"):
                rows = sum(len(batch) for batch in open_foreign(path, Wanted()).batches(16))
            assert rows == 50
        except SourceError:
            refused += 1
    assert 0 < refused < 150

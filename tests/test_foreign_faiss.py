"""FAISS files that other programs wrote: every vector and id comes back, or the file is refused."""

from __future__ import annotations

import re
import shutil

import faiss
import numpy as np
import pytest

from requant.integration.errors import SourceError
from requant.integration.readers import Wanted, open_foreign, open_source
from tests.cli import floats

N, DIM = 700, 8
ROWS = floats(N, DIM)
# As people number: not in a row, one below zero, beyond what a float holds.
IDS = np.random.default_rng(1).permutation(N) * 3 + 2**60
IDS[5] = -1


@pytest.fixture(autouse=True)
def quiet(capfd):
    """FAISS warns of small samples on stderr."""


def made(spec, metric=faiss.METRIC_L2, rows=ROWS, ids=None):
    index = faiss.index_factory(rows.shape[1], spec, metric)
    index.train(rows)
    index.add(rows) if ids is None else index.add_with_ids(rows, ids)
    return index


def written(path, index):
    binary = isinstance(index, faiss.IndexBinary)
    (faiss.write_index_binary if binary else faiss.write_index)(index, str(path))
    return path


def read(path, size=100):
    """Return the source, its ids and its vectors."""
    source = open_foreign(path, Wanted())
    batches = list(source.batches(size))
    assert all(len(batch) <= size for batch in batches)
    assert all(len(batch) == size for batch in batches[:-1])
    ids = [i for batch in batches for i in batch.ids]
    assert len(ids) == source.rows
    vectors = np.concatenate([batch.vectors for batch in batches])
    assert vectors.dtype == np.float32
    assert vectors.shape[1] == source.dim
    return source, ids, vectors


def in_order(found, vectors, ids):
    """Return vectors in the order of `ids`, which are all that were found."""
    place = {number: row for row, number in enumerate(found)}
    assert place.keys() == set(ids.tolist())
    return vectors[[place[number] for number in ids.tolist()]]


EXACT = [
    "Flat", "HNSW8", "NSG8", "PQ4x4fs,RFlat", "SQ8,RFlat", "IVF4,PQ4x4fs,RFlat", "IVF4,Flat",
    "IVF4_HNSW8,Flat", "IMI2x4,Flat", "Pad16,Flat",
]  # fmt: skip
TURNED = ["RR,Flat", "PCAR8,Flat", "PCAW8,Flat", "HR,Flat", "PCAR8,IVF4,Flat", "OPQ4_16,Flat"]
# How far a coordinate may be from what it was; they are normally distributed.
# np: without the annealing that FAISS does for polysemous codes, which takes seconds.
LOSSY = {
    "SQfp16": 0.002, "SQ8": 0.02, "HNSW8_SQ8": 0.02, "IVF4,SQ8": 0.02, "IVF4,SQ6": 0.1, "PQ4np": 1,
    "IVF4,PQ4np": 1, "OPQ4_8,PQ4np": 1, "PQ4x4fs": 3, "IVF4,PQ4x4fs": 3, "HNSW8_2+PQ4": 1,
    "RQ2x4": 3, "IVF4,RQ2x4": 3, "IVF4,RQ2x4fs_Nlsq2x4": 3, "SQ8,Refine(SQfp16)": 0.002,
    "RaBitQ": 4, "IVF4,RaBitQ": 4, "PCA4,Flat": 5,
}  # fmt: skip


@pytest.mark.parametrize("spec", EXACT)
def test_exact_floats(tmp_path, spec):
    source, ids, vectors = read(written(tmp_path / "a.faiss", made(spec)))
    assert (source.fidelity, source.metric) == ("exact", "l2")
    assert (in_order(ids, vectors, np.arange(N)) == ROWS).all()


@pytest.mark.parametrize("spec", TURNED)
def test_turned_vectors_are_turned_back(tmp_path, spec):
    source, ids, vectors = read(written(tmp_path / "a.faiss", made(spec)))
    assert source.fidelity == "exact"
    assert "turned back" in " ".join(source.notes)
    assert np.abs(in_order(ids, vectors, np.arange(N)) - ROWS).max() < 1e-5


@pytest.mark.parametrize("spec", LOSSY)
def test_codes_are_decoded_and_called_lossy(tmp_path, spec):
    source, ids, vectors = read(written(tmp_path / "a.index", made(spec)))
    assert source.fidelity == "lossy"
    found = in_order(ids, vectors, np.arange(N))
    assert np.abs(found - ROWS).max() < LOSSY[spec]
    along = (found * ROWS).sum(1) / np.linalg.norm(found, axis=1) / np.linalg.norm(ROWS, axis=1)
    assert along.mean() > 0.6


@pytest.mark.parametrize(
    "spec",
    ["IVF4,Flat", "IVF4,SQ8", "IDMap,Flat", "IDMap2,Flat", "IDMap2,HNSW8", "IDMap2,PCAR8,Flat",
     "PCAR8,IDMap2,Flat", "IDMap2,IVF4,PQ4x4fs,RFlat", "PCAR8,IVF4,Flat"],
)  # fmt: skip
def test_custom_ids_stay_with_their_vectors(tmp_path, spec):
    """A peer read 0 of 2,000 right, and FAISS's own `reconstruct_n` ends the process here."""
    _, ids, vectors = read(written(tmp_path / "a.faiss", made(spec, ids=IDS)))
    assert np.abs(in_order(ids, vectors, IDS) - ROWS).max() < 0.02


@pytest.mark.parametrize("spec", ["BFlat", "BHNSW8", "BIVF4", "IDMap2,BFlat", "IDMap,BHNSW8"])
def test_bits(tmp_path, spec):
    codes = np.packbits(ROWS > 0, axis=1)
    index = faiss.index_binary_factory(DIM, spec)
    index.train(codes)
    named = "IDMap" in spec or "IVF" in spec
    index.add_with_ids(codes, IDS) if named else index.add(codes)
    source, ids, vectors = read(written(tmp_path / "a.faiss", index))
    assert (source.fidelity, source.metric) == ("codes-only", "cosine")
    found = in_order(ids, vectors, IDS if named else np.arange(N))
    assert (found == np.where(ROWS > 0, 1, -1)).all()


def test_bits_of_a_float_index(tmp_path):
    source, _, vectors = read(written(tmp_path / "a.faiss", made("LSH")))
    assert source.fidelity == "codes-only"
    assert vectors.shape == ROWS.shape


def test_lost_lengths_and_dimensions_are_said(tmp_path):
    source, _, vectors = read(written(tmp_path / "a.faiss", made("L2norm,Flat")))
    assert source.fidelity == "normalised"
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1)
    source, _, _ = read(written(tmp_path / "b.faiss", made("PCA4,Flat")))
    assert any("8 to 4 dimensions" in note for note in source.notes)


@pytest.mark.parametrize("spec", ["Flat", "IVF4,Flat", "IDMap2,HNSW8"])
def test_inner_product_of_unit_vectors_is_the_cosine(tmp_path, spec):
    units = ROWS / np.linalg.norm(ROWS, axis=1, keepdims=True)
    ids = IDS if "ID" in spec else None
    ip = faiss.METRIC_INNER_PRODUCT
    source, _, _ = read(written(tmp_path / "a.faiss", made(spec, ip, units, ids)))
    assert source.metric == "cosine"
    assert "every vector has length 1" in source.notes[0]
    units[-1] *= 1.01
    source, _, _ = read(written(tmp_path / "b.faiss", made(spec, ip, units, ids)))
    assert source.metric == "ip"


def test_another_metric_is_said_and_left_open(tmp_path):
    source, _, _ = read(written(tmp_path / "a.faiss", made("Flat", faiss.METRIC_L1)))
    assert source.metric is None
    assert "none of cosine, ip and l2" in source.notes[0]


@pytest.mark.parametrize("spec", ["IDMap2,Flat", "IVF4,Flat"])
@pytest.mark.parametrize("size", [10, 1000])
def test_an_id_that_occurs_twice_is_named(tmp_path, spec, size):
    """As LlamaIndex makes them: it numbers by the size of the index, also after a removal."""
    ids = IDS.copy()
    ids[600] = ids[3]
    source = open_foreign(written(tmp_path / "a.faiss", made(spec, ids=ids)), Wanted())
    with pytest.raises(SourceError, match=f"id '{ids[3]}' occurs a second time"):
        list(source.batches(size))


def test_a_file_is_known_by_its_header(tmp_path):
    path = written(tmp_path / "index", made("Flat"))
    assert open_foreign(path, Wanted()).kind == "FAISS file (IndexFlatL2)"
    other = tmp_path / "b.faiss"
    other.write_bytes(b"IxF2 and so on" * 10)
    with pytest.raises(SourceError, match="does not begin as a FAISS file does"):
        open_foreign(other, Wanted())


def test_an_empty_index(tmp_path):
    source = open_foreign(written(tmp_path / "a.faiss", faiss.IndexFlatIP(DIM)), Wanted())
    assert (source.rows, source.dim, source.metric) == (0, DIM, "ip")
    assert list(source.batches(10)) == []


@pytest.mark.parametrize("share", [0.02, 0.5, 0.99])
@pytest.mark.parametrize("spec", ["Flat", "IDMap2,Flat", "HNSW8", "IVF4,Flat"])
def test_a_truncated_file(tmp_path, spec, share):
    path = written(tmp_path / "a.faiss", made(spec, ids=IDS if "ID" in spec else None))
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(SourceError, match=re.escape(str(path))):
        open_foreign(path, Wanted())


@pytest.mark.parametrize("spec", ["ITQ8,LSHt", "IVF4,FlatDedup", "IVF4,RaBitQfs"])
def test_what_faiss_cannot_give_back_is_refused(tmp_path, spec):
    path = written(tmp_path / "a.faiss", made(spec))
    with pytest.raises(SourceError, match="cannot be imported"):
        list(open_foreign(path, Wanted()).batches(100))


def test_a_damaged_transform(tmp_path):
    index = made("PCAR8,Flat")
    matrix = faiss.downcast_VectorTransform(index.chain.at(0))
    values = faiss.vector_to_array(matrix.A)
    values[3] = np.nan
    faiss.copy_array_to_vector(values, matrix.A)
    with pytest.raises(SourceError, match="a transform in it is damaged"):
        open_foreign(written(tmp_path / "a.faiss", index), Wanted())


@pytest.mark.parametrize("option", ["ids", "vector", "documents", "metadata"])
def test_columns_cannot_be_asked_of_it(tmp_path, option):
    path = written(tmp_path / "a.faiss", made("Flat"))
    wanted = Wanted(**{option: ("x",) if option == "metadata" else "x"})
    with pytest.raises(SourceError, match=f"--{option}"):
        open_foreign(path, wanted)


def on_disk(folder):
    """Write an index whose lists are in another file; return both."""
    folder.mkdir()
    index = made("IVF4,Flat", ids=IDS)
    lists = faiss.OnDiskInvertedLists(index.nlist, index.code_size, str(folder / "lists.bin"))
    lists.merge_from_1(index.invlists)
    index.replace_invlists(lists, False)
    return written(folder / "a.faiss", index), folder / "lists.bin"


def test_lists_on_disk_are_read_beside_the_file_and_nowhere_else(tmp_path, capfd):
    path, lists = on_disk(tmp_path / "made")
    _, ids, vectors = read(path)
    assert (in_order(ids, vectors, IDS) == ROWS).all()
    moved = tmp_path / "moved" / "a.faiss"
    moved.parent.mkdir()
    shutil.copy(path, moved)
    # The file it names is still there, and is not opened.
    with pytest.raises(SourceError, match=r"another file, 'lists\.bin', which is not beside it"):
        open_foreign(moved, Wanted())
    (moved.parent / "lists.bin").symlink_to(lists)
    with pytest.raises(SourceError, match="not beside it"):
        open_foreign(moved, Wanted())
    (moved.parent / "lists.bin").unlink()
    capfd.readouterr()
    shutil.move(lists, moved.parent / "lists.bin")
    _, ids, vectors = read(moved)
    assert (in_order(ids, vectors, IDS) == ROWS).all()
    assert capfd.readouterr().out == ""  # where FAISS would announce what it does


def test_open_source_still_reads_files_of_columns_only(tmp_path):
    path = written(tmp_path / "a.faiss", made("Flat"))
    with pytest.raises(SourceError, match="unknown format"):
        open_source(path, Wanted())


def test_lists_that_were_cut_are_refused(tmp_path):
    """FAISS maps as many bytes as it was told there are, and reading them ends the process."""
    path, lists = on_disk(tmp_path / "made")
    lists.write_bytes(lists.read_bytes()[:-100])
    with pytest.raises(SourceError, match=r"lists\.bin has .* it was cut"):
        open_foreign(path, Wanted())


@pytest.mark.parametrize("kind", ["PQ8x4", "IDMap,Flat", "IVF4,Flat"])
def test_a_file_cut_by_a_few_bytes_is_refused(tmp_path, kind):
    """FAISS's own reader of mapped files goes on behind their end."""
    vectors = np.random.default_rng(3).normal(size=(700, 32)).astype(np.float32)
    index = faiss.index_factory(32, kind)
    index.train(vectors)
    index.add_with_ids(vectors, np.arange(700)) if "I" in kind else index.add(vectors)
    path = tmp_path / "i.faiss"
    faiss.write_index(index, str(path))
    whole = path.read_bytes()
    for cut in (1, 3, 6, 12):
        path.write_bytes(whole[:-cut])
        with pytest.raises(SourceError):
            open_foreign(str(path), Wanted())

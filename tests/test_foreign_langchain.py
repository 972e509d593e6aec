"""LangChain's FAISS folders, and pickles that ask for more than its two classes."""

from __future__ import annotations

import os
import pickle
import sys
from types import ModuleType

import faiss
import numpy as np
import pytest

from requant.integration.errors import SourceError
from requant.integration.readers import Wanted
from requant.integration.readers.foreign.langchain import is_langchain, open_langchain
from tests.foreign_cases import check, check_import, everything, unpack


def opened(path):
    return open_langchain(str(path), Wanted())


@pytest.mark.parametrize(
    ("case", "note"),
    [("langchain_faiss", "so it was off"), ("langchain_normalised", "every vector has length one")],
)
def test_every_value(tmp_path, case, note):
    store, expected = unpack(case, tmp_path)
    assert is_langchain(str(store))
    source = opened(store)
    assert (source.fidelity, source.metric, source.dim) == ("exact", "l2", 8)
    assert len(source.notes) == 1
    assert "normalize_L2" in source.notes[0]
    assert note in source.notes[0]
    check(source, expected)
    check(opened(next(store.glob("*.pkl"))), expected)
    check_import(store, expected, tmp_path)


def modules(monkeypatch, docstore, document):
    """Make the two classes under other names of modules, as older LangChains had them."""

    class InMemoryDocstore:
        pass

    class Document:
        pass

    for name, made in ((docstore, InMemoryDocstore), (document, Document)):
        module = ModuleType(name)
        made.__module__, made.__qualname__ = name, made.__name__
        setattr(module, made.__name__, made)
        for dot in [at for at, letter in enumerate(name) if letter == "."]:
            monkeypatch.setitem(sys.modules, name[:dot], ModuleType(name[:dot]))
        monkeypatch.setitem(sys.modules, name, module)
    return InMemoryDocstore, Document


def write(path, vectors, ids, state, classes, positions=None, protocol=4):
    """Write a folder as LangChain does, of objects whose state is `state(i)`."""
    made, of_document = classes
    store = made()
    store._dict = {}
    for i, name in enumerate(ids):
        store._dict[name] = of_document()
        store._dict[name].__dict__.update(state(i))
    index = faiss.IndexFlatL2(vectors.shape[1])
    index.add(vectors)
    faiss.write_index(index, str(path / "index.faiss"))
    positions = dict(enumerate(ids)) if positions is None else positions
    (path / "index.pkl").write_bytes(pickle.dumps((store, positions), protocol=protocol))


VECTORS = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)


def text(i):
    return {"page_content": f"text {i}", "metadata": {"n": i}}


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize(
    ("docstore", "document"),
    [
        ("langchain.docstore.in_memory", "langchain.schema"),
        ("langchain.docstore.in_memory", "langchain.schema.document"),
        ("langchain.docstore.in_memory", "langchain.docstore.document"),
        ("langchain_community.docstore.in_memory", "langchain_core.documents.base"),
        ("langchain_classic.docstore.in_memory", "langchain_core.documents"),
    ],
)
def test_every_place_the_classes_have_had(tmp_path, monkeypatch, docstore, document, protocol):
    classes = modules(monkeypatch, docstore, document)
    write(tmp_path, VECTORS, ["a", "b", "c"], text, classes, protocol=protocol)
    found = everything(opened(tmp_path))
    assert found["ids"] == ["a", "b", "c"]
    assert found["documents"] == ["text 0", "text 1", "text 2"]
    assert found["metadata"] == [{"n": 0}, {"n": 1}, {"n": 2}]


@pytest.fixture
def classes(monkeypatch):
    return modules(monkeypatch, "langchain.docstore.in_memory", "langchain.schema")


def test_an_index_of_lists_keeps_positions(tmp_path, classes):
    rng = np.random.default_rng(1)
    vectors = rng.normal(size=(200, 4)).astype(np.float32)
    ids = [f"id-{i}" for i in range(200)]
    write(tmp_path, vectors, ids, text, classes)
    index = faiss.index_factory(4, "IVF4,Flat", faiss.METRIC_INNER_PRODUCT)
    index.train(vectors)
    index.add(vectors)
    faiss.write_index(index, str(tmp_path / "index.faiss"))
    source = opened(tmp_path)
    assert source.metric == "ip"
    found = everything(source)
    assert found["ids"] == ids
    assert np.array(found["vectors"]).tobytes() == vectors.tobytes()


class Runs:
    """A pickle of this runs a command wherever it is loaded without care."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return (os.system, (f"touch {self.marker}",))


class Builtin:
    def __reduce__(self):
        return (eval, ("__import__('os').abort()",))


def evil_pickles(marker):
    """Return pickles that try to run something, each on another way."""
    admitted = b"clangchain.schema\nDocument\n"
    shell = f"touch {marker}".encode()
    return {
        "reduce": pickle.dumps((Runs(marker), {})),
        "protocol 0": pickle.dumps((Runs(marker), {}), protocol=0),
        "builtin": pickle.dumps((Builtin(), {})),
        "global": b"cos\nsystem\n(S'" + shell + b"'\ntR.",
        "stack global": b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c"
        + bytes([len(shell)]) + shell + b"\x85R.",
        "inst": b"(S'" + shell + b"'\nios\nsystem\n.",
        "obj": b"(cos\nsystem\nS'" + shell + b"'\no.",
        "dotted": b"\x80\x04\x8c\x10langchain.schema\x8c\x1cDocument.__init__.__globals__\x93.",
        "attribute of a stub": b"\x80\x04\x8c\x10langchain.schema\x8c\x11Document.__class__\x93.",
        "state on the class": b"\x80\x04" + admitted + b"}\x8c\x05state\x8c\x01xsb.",
        "extension": b"\x80\x02\x82\x01.",
        "persistent": b"Pos.system\n.",
        "getattr": b"c__builtin__\ngetattr\n" + admitted + b"S'fields'\n\x86R.",
    }  # fmt: skip


@pytest.mark.parametrize("way", evil_pickles("x"))
def test_a_malicious_pickle_runs_nothing(tmp_path, classes, way):
    write(tmp_path, VECTORS, ["a", "b", "c"], text, classes)
    marker = tmp_path / "it-ran"
    (tmp_path / "index.pkl").write_bytes(evil_pickles(marker)[way])
    with pytest.raises(SourceError, match=r"asks for|no pickle, or a damaged one"):
        opened(tmp_path)
    assert not marker.exists()


def test_the_refusal_names_what_was_asked_for(tmp_path, classes):
    write(tmp_path, VECTORS, ["a", "b", "c"], lambda i: {**text(i), "metadata": {1, 2}}, classes)
    path = tmp_path / "index.pkl"
    path.write_bytes(pickle.dumps((Runs("x"), {})))
    message = r"index.pkl: this pickle asks for \w+\.system, which may run code and is not loaded"
    with pytest.raises(SourceError, match=message):
        opened(tmp_path)


def test_files_that_do_not_belong_together(tmp_path, classes):
    write(tmp_path, VECTORS, ["a", "b"], text, classes)
    with pytest.raises(SourceError, match=r"has 3 vectors, .* names 2, .* not saved together"):
        opened(tmp_path)
    write(tmp_path, VECTORS, ["a", "b", "c"], text, classes, {0: "a", 1: "b", 3: "c"})
    with pytest.raises(SourceError, match="not saved together"):
        opened(tmp_path)
    write(tmp_path, VECTORS, ["a", "b", "c"], text, classes, {0: "a", 1: "x", 2: "c"})
    with pytest.raises(SourceError, match="position 1 is id 'x', which has no document"):
        opened(tmp_path)
    write(tmp_path, VECTORS, ["a", "b", "c"], text, classes, {0: "a", 1: "b", 2: "a"})
    with pytest.raises(SourceError, match=r"item 2 \(id 'a'\): this id occurs a second time"):
        everything(opened(tmp_path))


def test_documents_without_a_vector_are_told(tmp_path, classes):
    write(tmp_path, VECTORS, ["a", "b", "c", "d"], text, classes, {0: "a", 1: "c", 2: "d"})
    source = opened(tmp_path)
    assert source.notes[-1] == "1 documents of the folder belong to no vector and are left out"
    assert everything(source)["documents"] == ["text 0", "text 2", "text 3"]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([1, 2], "no pair of documents and positions"),
        (({"a": 1}, {0: "a"}), "no pair of documents and positions"),
    ],
)
def test_other_pickles(tmp_path, classes, value, message):
    write(tmp_path, VECTORS, ["a", "b", "c"], text, classes)
    (tmp_path / "index.pkl").write_bytes(pickle.dumps(value))
    with pytest.raises(SourceError, match=message):
        opened(tmp_path)


def test_damaged_and_missing_files(tmp_path, classes):
    with pytest.raises(SourceError, match=r"no pair NAME.faiss and NAME.pkl"):
        opened(tmp_path)
    write(tmp_path, VECTORS, ["a", "b", "c"], lambda i: {"text": "x"}, classes)
    with pytest.raises(SourceError, match="what it has under id 'a' is no document"):
        opened(tmp_path)
    write(tmp_path, VECTORS, ["a", "b", "c"], text, classes)
    data = (tmp_path / "index.pkl").read_bytes()
    for end in range(0, len(data), 7):
        (tmp_path / "index.pkl").write_bytes(data[:end])
        with pytest.raises(SourceError, match="no pickle, or a damaged one"):
            opened(tmp_path)
    (tmp_path / "index.pkl").write_bytes(data)
    (tmp_path / "index.faiss").write_bytes((tmp_path / "index.faiss").read_bytes()[:60])
    with pytest.raises(SourceError, match="FAISS cannot read"):
        opened(tmp_path)
    for part in ("faiss", "pkl"):
        (tmp_path / f"other.{part}").write_bytes(b"x")
    with pytest.raises(SourceError, match=r"holds 2 indexes, name one: .*index.pkl, .*other.pkl"):
        opened(tmp_path)

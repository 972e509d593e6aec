"""Make tests/data/foreign with the real libraries, for tests/test_foreign_*.py.

Each case is a zip, since much of what the libraries write is zeros: `store/` as the library left
it, `expected.json` with what it held: ids, vectors (null for none), documents and metadata, in the
library's own order (Chroma's by collection). Three environments, since the libraries cannot share
one (all on Python 3.11; nothing is downloaded but the packages):

    pip install torch==2.13.0 langchain-community==0.4.2 langchain-core==1.7.2 faiss-cpu==1.15.1 \
        llama-index-core==0.14.25 llama-index-vector-stores-faiss==0.7.0 haystack-ai==3.4.0 \
        faiss-haystack==3.0.0 txtai==9.14.0 chromadb==1.5.9
    python tests/data/make_foreign.py langchain llama_index haystack txtai chroma
    pip install chromadb==0.5.23
    python tests/data/make_foreign.py chroma05
    pip install --no-deps vdf-io==0.1.248
    pip install lancedb==0.40.0 pylance pandas pyarrow tqdm halo pillow qdrant-client python-dotenv
    python tests/data/make_foreign.py vdf
"""

import json
import pickle
import shutil
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np

ZIPS = Path(__file__).parent / "foreign"
# Where cases are made before they are packed; not made here, since pytest imports this file.
FOLDER = Path(tempfile.gettempdir()) / "requant-foreign"
BIG = 2**53 + 1


def inputs(n=30, d=8, seed=0):
    """Return n ids, vectors (n, d) of unequal lengths, documents and metadata."""
    rng = np.random.default_rng(seed)
    vectors = (rng.normal(size=(n, d)) * rng.uniform(0.5, 3, (n, 1))).astype(np.float32)
    ids = [f"id-{i}" if i % 4 else f"ключ-{i}" for i in range(n)]
    documents = [f"document {i}: größe 日本 🙂" if i % 7 else "" for i in range(n)]
    return ids, vectors, documents, [metadatum(i) for i in range(n)]


def metadatum(i):
    """Return metadata with everything that JSON can hold."""
    return {
        "number": i,
        "big": BIG + i,
        "share": i / 3,
        "even": i % 2 == 0,
        "nothing": None,
        "tags": ["a", "ü", str(i)][: i % 4],
        "deep": {"list": [1, None, {"x": i}], "text": "é"},
        "source": f"file-{i % 3}.txt",
    }


def flat(i):
    """Return metadata for libraries that refuse None and nesting."""
    row = metadatum(i)
    return {key: row[key] for key in ("number", "big", "share", "even", "source")}


def fresh(case):
    """Return an empty folder for a case's `store`."""
    folder = FOLDER / case
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder / "store"


def expect(case, ids, vectors, documents, metadata):
    """Write what the case holds; a vector is exact, since a float's text is."""
    rows = [None if row is None else [float(x) for x in np.float32(row)] for row in vectors]
    held = {"ids": list(ids), "vectors": rows, "documents": documents, "metadata": metadata}
    text = json.dumps(held, ensure_ascii=False, allow_nan=False)
    (FOLDER / case / "expected.json").write_text(text + "\n", encoding="utf-8")


def pack():
    """Write every case that has been made into its zip."""
    for case in FOLDER.iterdir():
        with zipfile.ZipFile(ZIPS / f"{case.name}.zip", "w", zipfile.ZIP_DEFLATED) as packed:
            for file in sorted(case.rglob("*")):
                if file.is_file():
                    info = zipfile.ZipInfo(str(file.relative_to(case)))
                    packed.writestr(info, file.read_bytes(), zipfile.ZIP_DEFLATED, 9)
    shutil.rmtree(FOLDER)


def pick(rows, *columns):
    """Return some rows of each column."""
    return [[column[i] for i in rows] for column in columns]


# --- LangChain ------------------------------------------------------------------------------


def langchain():
    """Write FAISS folders: with deleted items, and with normalised vectors."""
    from langchain_community.vectorstores import FAISS
    from langchain_core.embeddings import DeterministicFakeEmbedding

    ids, vectors, documents, metadata = inputs()
    embedding = DeterministicFakeEmbedding(size=8)

    def build(rows, **options):
        pairs = [(documents[i], vectors[i].tolist()) for i in rows]
        return FAISS.from_embeddings(
            pairs,
            embedding,
            metadatas=[metadata[i] for i in rows],
            ids=[ids[i] for i in rows],
            **options,
        )

    store = build(range(30))
    store.delete([ids[3], ids[29], ids[0]])
    path = fresh("langchain_faiss")
    store.save_local(str(path))
    left = [i for i in range(30) if i not in (0, 3, 29)]
    expect("langchain_faiss", *pick(left, ids, vectors, documents, metadata))

    store = build(range(20), normalize_L2=True)
    store.save_local(str(fresh("langchain_normalised")), index_name="other")
    unit = store.index.reconstruct_n(0, 20)
    expect("langchain_normalised", ids[:20], unit, documents[:20], metadata[:20])


# --- LlamaIndex -----------------------------------------------------------------------------


def _nodes(rows):
    from llama_index.core.schema import NodeRelationship, RelatedNodeInfo, TextNode

    ids, vectors, documents, metadata = inputs()
    return [
        TextNode(
            id_=ids[i],
            text=documents[i],
            metadata=metadata[i],
            embedding=vectors[i].tolist(),
            relationships={NodeRelationship.SOURCE: RelatedNodeInfo(node_id=f"document-{i % 3}")},
        )
        for i in rows
    ]


def _persisted(case, nodes, vector_store=None, change=None):
    from llama_index.core import MockEmbedding, StorageContext, VectorStoreIndex

    context = StorageContext.from_defaults(vector_store=vector_store)
    index = VectorStoreIndex(
        nodes,
        storage_context=context,
        embed_model=MockEmbedding(embed_dim=8),
        store_nodes_override=True,
    )
    if change is not None:
        change(index)
    context.persist(str(fresh(case)))


def llama_index():
    """Write persist folders: SimpleVectorStore, FAISS by position, FAISS by id, ids collided."""
    import faiss
    from llama_index.vector_stores.faiss import FaissMapVectorStore, FaissVectorStore

    ids, vectors, documents, metadata = inputs()
    columns = (ids, vectors, documents, metadata)

    def forget(index):
        index.delete_nodes([ids[2], ids[9]], delete_from_docstore=True)

    def forget_and_add(index):
        index.delete_nodes([ids[2]], delete_from_docstore=True)
        index.insert_nodes(_nodes([21]))

    def forget_last_and_add(index):
        index.delete_nodes([ids[19]], delete_from_docstore=True)
        index.insert_nodes(_nodes([21]))

    left = [i for i in range(20) if i not in (2, 9)]
    _persisted("llama_index_simple", _nodes(range(20)), change=forget)
    expect("llama_index_simple", *pick(left, *columns))

    store = FaissVectorStore(faiss.IndexFlatIP(8))
    _persisted("llama_index_faiss", _nodes(range(20)), store)
    expect("llama_index_faiss", *pick(range(20), *columns))

    # Here the id of the new node, which is the number of vectors, happens to be free.
    store = FaissMapVectorStore(faiss.IndexIDMap2(faiss.IndexFlatL2(8)))
    _persisted("llama_index_map", _nodes(range(20)), store, forget_last_and_add)
    expect("llama_index_map", *pick([*range(19), 21], *columns))

    # And here it belongs to another node: two vectors are called 19 and nothing tells them apart.
    store = FaissMapVectorStore(faiss.IndexIDMap2(faiss.IndexFlatL2(8)))
    _persisted("llama_index_collided", _nodes(range(20)), store, forget_and_add)


# --- Haystack -------------------------------------------------------------------------------


def haystack():
    """Write the FAISS store's pair of files and the in-memory store's file."""
    from haystack import Document
    from haystack.dataclasses import ByteStream, SparseEmbedding
    from haystack.document_stores.in_memory import InMemoryDocumentStore
    from haystack.document_stores.types import DuplicatePolicy
    from haystack_integrations.document_stores.faiss import FAISSDocumentStore

    ids, vectors, documents, metadata = inputs()
    # `content` and `id` in the metadata collide with fields of a document.
    metadata = [{**row, "content": "mine", "id": row["number"]} for row in metadata]
    documents = [None if i in (4, 5) else text for i, text in enumerate(documents)]
    listed = [None if i in (5, 11) else row for i, row in enumerate(vectors)]

    def document(i, content=True, embedding=True):
        return Document(
            id=ids[i],
            content=documents[i] if content else "old",
            meta=metadata[i],
            blob=ByteStream(b"\x00\x01", mime_type="x/y") if i == 4 else None,
            sparse_embedding=SparseEmbedding([1, 5], [0.5, 0.25]) if i == 6 else None,
            embedding=None
            if listed[i] is None
            else (listed[i].tolist() if embedding else [1.0] * 8),
        )

    for case in ("haystack_faiss", "haystack_memory"):
        path = fresh(case)
        path.mkdir()
        if case == "haystack_faiss":
            store = FAISSDocumentStore(index_path=str(path / "index"), embedding_dim=8)
        else:
            store = InMemoryDocumentStore(embedding_similarity_function="cosine")
        store.write_documents([document(i, i != 7, i != 7) for i in range(20)])
        store.write_documents([document(7)], policy=DuplicatePolicy.OVERWRITE)
        store.delete_documents([ids[0], ids[13]])
        order = list(store.documents if case == "haystack_faiss" else store.storage)
        rows = [ids.index(name) for name in order]
        expect(case, *pick(rows, ids, listed, documents, metadata))
        if case == "haystack_faiss":
            store.save(path / "index")
        else:
            store.save_to_disk(str(path / "store.json"))


# --- txtai ----------------------------------------------------------------------------------


def txtai():
    """Write indexes with and without content, packed, quantized, and with pickled parts."""
    from txtai import Embeddings

    ids, vectors, documents, metadata = inputs(24)
    # txtai divides every vector by its length before it keeps it, in float32.
    unit = vectors / np.linalg.norm(vectors, axis=1)[:, np.newaxis]
    # It takes an empty text for no document.
    documents = [text or f"text {i}" for i, text in enumerate(documents)]
    known = {text: vectors[i] for i, text in enumerate(documents)}

    def transform(texts):
        return np.array([known[text] for text in texts])

    def build(rows, **options):
        index = Embeddings(method="external", transform=transform, **options)
        if options.get("content"):
            index.index([(ids[i], {"text": documents[i], **metadata[i]}, None) for i in rows])
        else:
            index.index([(ids[i], documents[i], None) for i in rows])
        return index

    left = [i for i in range(20) if i not in (3, 8)] + [21]
    index = build(range(20), content=True)
    index.delete([ids[3], ids[8]])
    index.upsert([(ids[21], documents[21], "tag ü")])
    for case, name in (("txtai_content", "store"), ("txtai_archive", "store/index.tar.gz")):
        path = fresh(case)
        index.save(str(path.parent / name))
        # The last one was given as text, not as a dict.
        held = [*(metadata[i] for i in left[:-1]), {"tags": "tag ü"}]
        expect(case, *pick(left, ids, unit, documents), held)

    index = build(range(20))
    index.delete([ids[3], ids[8]])
    index.upsert([(ids[21], documents[21], None)])
    for case in ("txtai_ids", "txtai_pickled_ids"):
        path = fresh(case)
        index.save(str(path))
        expect(case, *pick(left, ids, unit), None, None)
    # Until 7.4 it pickled the list; 9.14 still reads that.
    (path / "ids").write_bytes(pickle.dumps(index.ids.ids, protocol=4))

    index = build(range(20), backend="numpy")
    index.delete([ids[3]])
    index.save(str(fresh("txtai_numpy")))
    expect("txtai_numpy", *pick([i for i in range(20) if i != 3], ids, unit), None, None)

    for bits in (1, 4):
        index = build(range(20), quantize=bits)
        case = f"txtai_bits{bits}"
        index.save(str(fresh(case)))
        # What the codes stand for: the middle of each level; of one bit, its sign.
        half = 2 ** (bits - 1)
        levels = np.floor(np.clip(unit[:20] * half, -half, half - 1) + half)
        middles = np.where(levels > 0, 1, -1) if bits == 1 else (levels - half + 0.5) / half
        expect(case, ids[:20], middles, None, None)


# --- Chroma ---------------------------------------------------------------------------------


def _chroma(case, spaces, lists):
    import chromadb
    from chromadb.config import Settings

    ids, vectors, documents, _ = inputs(33)
    rows = [{**flat(i), **({"tags": ["a", "ü"], "sizes": [i, 2]} if lists else {})}
            for i in range(33)]  # fmt: skip
    path = fresh(case)
    client = chromadb.PersistentClient(str(path), Settings(anonymized_telemetry=False))
    expected = {}
    for space, flushed in spaces:
        name = f"notes-{space}" if flushed else f"log-{space}"
        # A vector goes into the segment ten at a time; until then it is in the log only.
        sizes = {"hnsw:batch_size": 5, "hnsw:sync_threshold": 10} if flushed else {}
        notes = client.create_collection(name, metadata={"hnsw:space": space, **sizes})
        n = 33 if flushed else 7
        for first in range(0, n, 3):
            part = slice(first, min(first + 3, n))
            notes.add(ids[part], vectors[part].tolist(), rows[part], documents[part])
        # In the segment one of these is updated, one is deleted and its place used again.
        given = {ids[i]: vectors[i].tolist() for i in range(n)}
        given |= {ids[2]: (vectors[0] * 2).tolist(), ids[n - 1]: (vectors[1] * 2).tolist()}
        given |= {ids[4]: vectors[8].tolist(), "bare": vectors[3].tolist()}
        notes.delete([ids[1], ids[n - 2]])
        notes.update([ids[2], ids[n - 1]], embeddings=(vectors[:2] * 2).tolist())
        notes.update([ids[5]], metadatas=[{"number": -1, "new": "key"}])
        notes.upsert([ids[4]], vectors[8:9].tolist(), [{"number": 7}], ["replaced"])
        notes.add([ids[0]], vectors[9:10].tolist(), None, ["ignored, since the id is there"])
        notes.add(["bare"], vectors[3:4].tolist())
        held = notes.get(include=["embeddings", "documents", "metadatas"])
        expected[name] = {
            "ids": held["ids"],
            "vectors": [[float(x) for x in row] for row in held["embeddings"]],
            "documents": held["documents"],
            "metadata": held["metadatas"],
            # What was handed in: Chroma's own answer for cosine differs in the last bits.
            "given": [given[name] for name in held["ids"]],
        }
    text = json.dumps(expected, ensure_ascii=False, allow_nan=False)
    (FOLDER / case / "expected.json").write_text(text + "\n", encoding="utf-8")


def chroma():
    """Write a database of chromadb 1.5: segments of three spaces, and one still in the log."""
    spaces = (("cosine", True), ("l2", True), ("ip", True), ("cosine", False))
    _chroma("chroma", spaces, lists=True)


def chroma05():
    """Write a database of chromadb 0.5, whose label map is a pickled object."""
    _chroma("chroma05", (("cosine", True), ("l2", False)), lists=False)


# --- VDF ------------------------------------------------------------------------------------


def vdf():
    """Write what vdf-io exports from LanceDB, in three files an index, and two indexes."""
    import os

    import lancedb
    import pyarrow as pa
    from vdf_io.export_vdf.lancedb_export import ExportLanceDB

    ids, vectors, documents, metadata = inputs(25)
    rows = [
        {
            "id": ids[i],
            "vector": vectors[i].tolist(),
            "text": documents[i],
            "big": BIG + i,
            # pandas makes floats of a column of integers that has a null: no reader can mend it.
            "holes": None if i == 4 else i,
            "deep": metadata[i]["deep"],
            "tags": metadata[i]["tags"],
        }
        for i in range(25)
    ]
    schema = pa.schema(
        {
            "id": pa.string(),
            "vector": pa.list_(pa.float32(), 8),
            "text": pa.string(),
            "big": pa.int64(),
            "holes": pa.int64(),
            "deep": pa.struct({"list": pa.list_(pa.int64()), "text": pa.string()}),
            "tags": pa.list_(pa.string()),
        }
    )
    for row in rows:
        row["deep"] = {"list": [1, row["big"]], "text": row["deep"]["text"]}
    path = fresh("vdf")
    database = lancedb.connect(str(FOLDER / "lancedb"))
    database.create_table("notes", pa.Table.from_pylist(rows, schema=schema))
    database.create_table("other", pa.Table.from_pylist(rows[:2], schema=schema))
    os.chdir(path.parent)
    options = {"endpoint": str(FOLDER / "lancedb"), "batch_size": 10, "library_version": "0.1.248"}
    export = ExportLanceDB(options)
    export.get_data()
    Path(export.vdf_directory).rename(path)
    shutil.rmtree(FOLDER / "lancedb")
    held = [
        {
            "big": BIG + i,
            "holes": None if i == 4 else float(i),
            "deep": rows[i]["deep"],
            "tags": rows[i]["tags"],
        }
        for i in range(25)
    ]
    expect("vdf", ids, vectors, documents, held)


if __name__ == "__main__":
    shutil.rmtree(FOLDER, ignore_errors=True)
    for made in sys.argv[1:]:
        globals()[made]()
    pack()

"""FAISS's files, in such a form that plain FAISS opens them and answers with our keys."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import faiss
import numpy as np

from requant.adapters.errors import CorruptIndexError
from requant.adapters.protocol import Keys

# FAISS looks for lists beside the file that it reads, and refuses where it reads no plain file.
_ONE_FILE = faiss.IO_FLAG_ONDISK_SAME_DIR
_MAPPED = faiss.IO_FLAG_READ_ONLY | _ONE_FILE
_BUFFER = 1 << 20


def is_binary(index: Any) -> bool:
    """Whether FAISS files the index under its binary ones, which have functions of their own."""
    return isinstance(index, faiss.IndexBinary)


def downcast(index: Any) -> Any:
    """Return the index as its own class; SWIG knows only the base class of what it is handed."""
    return (faiss.downcast_IndexBinary if is_binary(index) else faiss.downcast_index)(index)


def write(index: Any, location: str) -> None:
    """Write one FAISS file."""
    (faiss.write_index_binary if is_binary(index) else faiss.write_index)(index, location)


def read(location: str, binary: bool, mmap: bool) -> Any:
    """Read a FAISS file; raises CorruptIndexError with FAISS's own error as its cause.

    Lists that are in another file are refused: it could be anybody's, and would be written to.
    """
    reader = faiss.read_index_binary if binary else faiss.read_index
    try:
        if mmap:
            return read_mapped(Path(location), binary)
        file = faiss.FileIOReader(location)
        return reader(faiss.BufferedIOReader(file, _BUFFER), _ONE_FILE)
    except (OSError, RuntimeError, MemoryError) as error:
        if "ONDISK_SAME_DIR" in str(error):
            raise CorruptIndexError(
                f"{location} keeps its lists in another file, as no index of requant's does"
            ) from error
        raise CorruptIndexError(f"faiss cannot read {location}: {error}") from error


def read_mapped(path: Path, binary: bool) -> Any:
    """Return the index in a file, whose vectors stay there until they are compared.

    It is mapped here and read from memory: FAISS's own reader of mapped files takes a number that
    was cut for a whole one, and goes on behind the end of the file. Raises CorruptIndexError where
    it was cut, and what FAISS raises: RuntimeError, MemoryError; OSError.
    """
    size = path.stat().st_size
    if not size:
        raise CorruptIndexError(f"{path} is empty")
    data = np.memmap(path, np.uint8, "r")
    source = faiss.ZeroCopyIOReader(faiss.swig_ptr(data), size)
    index = (faiss.read_index_binary if binary else faiss.read_index)(source, _MAPPED)
    if source.rp_ > size:  # by less than a number: the last ones of lists
        raise CorruptIndexError(f"{path} has {size} bytes of {source.rp_}: it was cut")
    index.referenced_objects = [data]
    return index


def copy(index: Any) -> Any:
    """Return a copy that owns its memory; FAISS's own clone of a mapped index still maps."""
    if is_binary(index):
        return faiss.deserialize_index_binary(faiss.serialize_index_binary(index))
    return faiss.deserialize_index(faiss.serialize_index(index))


def with_keys(inner: Any, keys: Keys) -> Any:
    """Wrap a filled index in an IndexIDMap, to be written and thrown away.

    Not in an IndexIDMap2: reading one builds a hash table of all keys, which takes 20 times as
    long as mapping the file, and is needed only for FAISS's `reconstruct(key)`.
    """
    # FAISS's constructor refuses a filled index: it wraps an empty stand-in first.
    if is_binary(inner):
        whole = faiss.IndexBinaryIDMap(faiss.IndexBinaryFlat(inner.d))
    else:
        whole = faiss.IndexIDMap(faiss.IndexFlat(inner.d, inner.metric_type))
    owned = inner.this.own()
    whole.index = inner
    if owned:
        inner.this.own(True)  # the assignment took it away, and nobody would free the index
    whole.ntotal = inner.ntotal
    faiss.copy_array_to_vector(np.ascontiguousarray(keys), whole.id_map)
    return whole


def without_keys(whole: Any, location: str) -> tuple[Any, Keys]:
    """Take the index and its keys out of an IndexIDMap."""
    if not isinstance(whole, (faiss.IndexIDMap, faiss.IndexBinaryIDMap)):
        raise CorruptIndexError(f"{location} holds a {type(whole).__name__}, not an index with ids")
    keys: Keys = faiss.vector_to_array(whole.id_map)
    inner = downcast(whole.index)
    # The wrapper stays the owner, as an empty shell. Taking the ownership over by `this.own(True)`
    # drops a reference that SWIG 4.4 never took: a few dozen times, and FAISS's types are gone.
    whole.id_map.swap(faiss.Int64Vector())
    inner.referenced_objects = [whole]
    if len(keys) != inner.ntotal:
        raise CorruptIndexError(f"{location} holds {inner.ntotal} codes and {len(keys)} keys")
    return inner, keys

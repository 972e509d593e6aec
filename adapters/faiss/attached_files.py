"""Reading FAISS files of unknown origin: only, what is beside them, and no further than they go."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import faiss
import numpy as np

from requant.adapters.errors import CorruptIndexError, EngineError
from requant.adapters.faiss.files import downcast

# With the flag for the same folder, FAISS refuses to follow a mapped index to another file.
_MAPPED = faiss.IO_FLAG_MMAP_IFC | faiss.IO_FLAG_READ_ONLY | faiss.IO_FLAG_ONDISK_SAME_DIR
_ON_DISK = b"ilod"
_LONGEST_NAME = 4096
_WITH_IDS = (faiss.IndexIDMap, faiss.IndexBinaryIDMap)
_LISTS = (faiss.IndexIVF, faiss.IndexBinaryIVF)


class Stamp(NamedTuple):
    """What changes when a file is written to, and when another one takes its place."""

    inode: int
    bytes: int
    changed: int


class Mapped:
    """The files that an index maps: once they are written to, nothing may be asked any more."""

    def __init__(self, *paths: Path) -> None:
        """Remember the files as they are."""
        self._stamps = {path: _stamp(path) for path in paths}

    def check(self) -> None:
        """Raise EngineError if a file was written to.

        One that took its place by a rename is of no account: the mapped one is still there.
        """
        for path, stamp in self._stamps.items():
            try:
                now = _stamp(path)
            except OSError:
                continue  # removed, and still mapped
            if now != stamp and now.inode == stamp.inode:
                raise EngineError(
                    f"{path} was written to since it was attached: attach it again, or with "
                    "params={'mmap': False}"
                )


def read(path: Path, mapped: bool) -> tuple[Any, Mapped]:
    """Return the index in a file, and the files that stay mapped.

    Raises CorruptIndexError where it cannot be read, or its parts contradict each other, and
    EngineError where it was written to meanwhile.
    """
    try:
        files = Mapped(path)
        index, lists = _load(path, mapped)
    except (OSError, RuntimeError, MemoryError) as error:
        raise CorruptIndexError(f"faiss cannot read {path}: {error}") from error
    files.check()
    for fault in _faults(index):
        raise CorruptIndexError(f"{path} is damaged: {fault}")
    if lists is not None:
        return index, Mapped(path, lists)
    return index, files if mapped else Mapped()


def _load(path: Path, mapped: bool) -> tuple[Any, Path | None]:
    """Return the index, and the file of its lists if they are in another one."""
    with path.open("rb") as file:
        binary = file.read(2) == b"IB"
    reader = faiss.read_index_binary if binary else faiss.read_index
    try:
        index = reader(str(path), _MAPPED)
    except RuntimeError as error:
        if "ONDISK_SAME_DIR" not in str(error):
            raise
        return _with_lists_beside(reader, path)
    return (index if mapped else reader(str(path), faiss.IO_FLAG_READ_ONLY)), None


def _with_lists_beside(reader: Any, path: Path) -> tuple[Any, Path]:
    """Open an index whose lists are in another file: one of that name in the same folder only.

    FAISS's own way of doing so prints to the standard output, and maps more than there is.
    """
    data = path.read_bytes()  # small: centroids and offsets
    start, end = _name_of_lists(data)
    told = Path(data[start:end].decode("utf-8", "replace").replace("\\", "/")).name
    lists = path.parent / told
    if not told or not lists.is_file() or lists.resolve().parent != path.resolve().parent:
        raise RuntimeError(
            f"it keeps its lists in another file, {told!r}, which is not beside it: put it into "
            "the same folder (files elsewhere are not opened)"
        )
    (total,) = struct.unpack_from("<Q", data, end)
    if total > lists.stat().st_size:
        raise RuntimeError(f"{lists} has {lists.stat().st_size} bytes of {total}: it was cut")
    name = str(lists.absolute()).encode()
    mended = data[: start - 8] + struct.pack("<Q", len(name)) + name + data[end:]
    source = faiss.VectorIOReader()
    faiss.copy_array_to_vector(np.frombuffer(mended, np.uint8), source.data)
    return reader(source, faiss.IO_FLAG_READ_ONLY), lists


def _name_of_lists(data: bytes) -> tuple[int, int]:
    """Return where the name of the other file stands in the index file."""
    at = data.find(_ON_DISK)
    while at >= 0:
        try:
            place = at + 20  # the four letters, the number of lists, the size of a code
            for width in (24, 16):  # lists and free slots
                place += 8 + width * struct.unpack_from("<Q", data, place)[0]
            (length,) = struct.unpack_from("<Q", data, place)
        except struct.error:
            length = 0
        if 0 < length <= _LONGEST_NAME and place + 8 + length + 8 <= len(data):
            return place + 8, place + 8 + length
        at = data.find(_ON_DISK, at + 1)
    raise RuntimeError("it keeps its lists in another file, and does not tell in which")


def _faults(index: Any) -> Iterator[str]:
    """Yield where the parts of an index contradict each other: FAISS would read past their ends."""
    if index.d < 1:
        yield f"it has {index.d} dimensions"
    if not index.is_trained:
        yield "it is not trained"
    for name, part, dim, size in _parts(index):
        if (part.d, part.ntotal) != (dim, size):
            yield (
                f"its {name} has {part.ntotal} vectors of {part.d} dimensions, not {size} of {dim}"
            )
        else:
            yield from _faults(part)
    for name, count in _counts(index):
        if count != index.ntotal:
            yield f"it has {index.ntotal} vectors and {count} {name}"


def _parts(index: Any) -> Iterator[tuple[str, Any, int, int]]:
    """Yield what an index is made of, and the dimensions and the size that each has to have."""
    d, n = index.d, index.ntotal
    if isinstance(index, _WITH_IDS):
        yield "inner index", downcast(index.index), d, n
    elif isinstance(index, faiss.IndexPreTransform):
        yield "inner index", downcast(index.index), _transformed(index), n
    elif isinstance(index, faiss.IndexRefine):
        yield "base", downcast(index.base_index), d, n
        yield "refinement", downcast(index.refine_index), d, n
    elif isinstance(index, _LISTS):
        yield "quantizer", downcast(index.quantizer), d, index.nlist
    elif hasattr(index, "storage"):  # of a graph
        yield "storage", downcast(index.storage), d, n


def _counts(index: Any) -> Iterator[tuple[str, int]]:
    if isinstance(index, _WITH_IDS):
        yield "ids", index.id_map.size()
    # The lists of one without duplicates are shorter than it is.
    if isinstance(index, _LISTS) and not isinstance(index, faiss.IndexIVFFlatDedup):
        yield "vectors in its lists", index.invlists.compute_ntotal()


def _transformed(index: Any) -> int:
    """Return the dimensions behind the transforms of an index, -1 where they do not fit."""
    dim = int(index.d)
    for place in range(index.chain.size()):
        transform = index.chain.at(place)
        if transform.d_in != dim:
            return -1
        dim = int(transform.d_out)
    return dim


def _stamp(path: Path) -> Stamp:
    found = path.stat()
    return Stamp(found.st_ino, found.st_size, found.st_mtime_ns)

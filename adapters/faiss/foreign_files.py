"""Opening FAISS files of unknown origin: reading only, and no files but those beside them."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any, Literal

import faiss
import numpy as np

from requant.adapters.errors import CorruptIndexError
from requant.adapters.faiss.files import read_mapped

# By FAISS's number of it.
METRICS: dict[int, Literal["ip", "l2"]] = {
    faiss.METRIC_INNER_PRODUCT: "ip",
    faiss.METRIC_L2: "l2",
}
_ON_DISK = b"ilod"
_LONGEST_NAME = 4096


def load(path: Path, mapped: bool) -> tuple[Any, Path | None]:
    """Return the index in a file, and the file of its lists if they are in another one.

    Raises CorruptIndexError where that is not beside it or too short, and what FAISS raises:
    RuntimeError, MemoryError; OSError.
    """
    with path.open("rb") as file:
        binary = file.read(2) == b"IB"
    reader = faiss.read_index_binary if binary else faiss.read_index
    try:
        index = read_mapped(path, binary)
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
    start, end = _name_of_lists(data, path)
    told = Path(data[start:end].decode("utf-8", "replace").replace("\\", "/")).name
    lists = path.parent / told
    if not told or not lists.is_file() or lists.resolve().parent != path.resolve().parent:
        raise CorruptIndexError(
            f"{path} keeps its lists in another file, {told!r}, which is not beside it: put it "
            "into the same folder (files elsewhere are not opened)"
        )
    (total,) = struct.unpack_from("<Q", data, end)
    if total > lists.stat().st_size:
        raise CorruptIndexError(f"{lists} has {lists.stat().st_size} bytes of {total}: it was cut")
    name = str(lists.absolute()).encode()
    mended = data[: start - 8] + struct.pack("<Q", len(name)) + name + data[end:]
    source = faiss.VectorIOReader()
    faiss.copy_array_to_vector(np.frombuffer(mended, np.uint8), source.data)
    return reader(source, faiss.IO_FLAG_READ_ONLY), lists


def _name_of_lists(data: bytes, path: Path) -> tuple[int, int]:
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
    raise CorruptIndexError(f"{path} keeps its lists in another file, and does not tell in which")

"""Opening a FAISS file, without letting it open files elsewhere."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np

from requant.integration.errors import SourceError

# What every index but a binary one has behind its number of rows.
_FILLER = struct.pack("<qq", 1 << 20, 1 << 20)
_ON_DISK = b"ilod"
_MAX_NAME = 4096


def has_header(path: Path) -> bool:
    """Whether a file begins as FAISS's files do."""
    try:
        with path.open("rb") as file:
            head = file.read(36)
    except OSError:
        return False
    if len(head) < 30 or head[:1] != b"I":
        return False
    dim, code_size = struct.unpack_from("<ii", head, 4)
    return head[16:32] == _FILLER or (head[1:2] == b"B" and 0 < dim == 8 * code_size)


def read_index(faiss: Any, path: Path) -> Any:
    """Return the index in a file, mapped where FAISS can; raises SourceError."""
    with path.open("rb") as file:
        binary = file.read(2) == b"IB"
    reader = faiss.read_index_binary if binary else faiss.read_index
    # With the flag for the same folder, FAISS refuses to follow a mapped index elsewhere.
    flags = faiss.IO_FLAG_MMAP_IFC | faiss.IO_FLAG_READ_ONLY | faiss.IO_FLAG_ONDISK_SAME_DIR
    try:
        return reader(str(path), flags)
    except (RuntimeError, MemoryError) as error:
        if "ONDISK_SAME_DIR" not in str(error):
            raise unreadable(path, error) from error
    try:
        return _with_lists_beside(faiss, path)
    except (RuntimeError, MemoryError) as error:
        raise unreadable(path, error) from error


def unreadable(path: Path, error: BaseException) -> SourceError:
    """Say what FAISS said, without its source code."""
    reason = str(error).rpartition("Error: ")[2].strip()
    if "not implemented" in reason:
        return SourceError(
            f"{path} cannot be imported: FAISS has no way to read vectors back out of such an index"
        )
    return SourceError(
        f"FAISS cannot read {path}: {reason[:300] or type(error).__name__}: the file is damaged, "
        "incomplete, or of a newer FAISS than the one here"
    )


def _with_lists_beside(faiss: Any, path: Path) -> Any:
    """Open an index whose lists are in a file of their own: that name in the same folder only."""
    data = path.read_bytes()  # small: centroids and offsets
    start, end = _name_of_lists(data, path)
    told = Path(data[start:end].decode("utf-8", "replace").replace("\\", "/")).name
    lists = path.parent / told
    if not told or not lists.is_file() or lists.resolve().parent != path.resolve().parent:
        raise SourceError(
            f"{path} keeps its lists in another file, {told!r}, which is not beside it: put it "
            "into the same folder (files elsewhere are not opened)"
        )
    name = str(lists.absolute()).encode()
    mended = data[: start - 8] + struct.pack("<Q", len(name)) + name + data[end:]
    return faiss.deserialize_index(np.frombuffer(mended, np.uint8), faiss.IO_FLAG_READ_ONLY)


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
        if 0 < length <= _MAX_NAME and place + 8 + length + 8 <= len(data):
            return place + 8, place + 8 + length
        at = data.find(_ON_DISK, at + 1)
    raise SourceError(f"{path} keeps its lists in another file, and does not tell in which")

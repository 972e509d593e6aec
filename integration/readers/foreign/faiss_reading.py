"""Opening a FAISS file, without letting it open files elsewhere."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any, Literal

from requant.errors import CorruptIndexError
from requant.integration.errors import SourceError

# What every index but a binary one has behind its number of rows.
_FILLER = struct.pack("<qq", 1 << 20, 1 << 20)


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


def read_index(path: Path) -> Any:
    """Return the index in a file, mapped where FAISS can; raises SourceError."""
    # Here, since a file may be looked at where FAISS is not installed.
    from requant.adapters.faiss.foreign_files import load

    try:
        index, _ = load(path, mapped=True)
    except CorruptIndexError as error:
        raise SourceError(str(error)) from error
    except (RuntimeError, MemoryError) as error:
        raise unreadable(path, error) from error
    return index


def compared_by(index: Any) -> Literal["ip", "l2"] | None:
    """Return the metric of an index of floats, None if it is neither of these."""
    from requant.adapters.faiss.foreign_files import METRICS

    return METRICS.get(index.metric_type)


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

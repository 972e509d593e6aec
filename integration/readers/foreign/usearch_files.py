"""Files that usearch wrote, read without usearch: a damaged file ends its process, not ours.

A file is: rows and bytes a row (two uint32, or uint64), the vectors, a header of 64 bytes, and the
graph: its size and its numbers of links (five uint64), a level (int16) for each node, and the nodes
one after the other, each beginning with its key (uint64). The row of a vector is that of its node.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from requant.integration.errors import SourceError
from requant.integration.readers.columns import Wanted
from requant.integration.readers.foreign.common import check_new, refuse_columns, signs
from requant.integration.readers.foreign.listed import Metric
from requant.integration.readers.foreign.protocol import Fidelity
from requant.integration.readers.source import Batch
from requant.tables import SeenIds

_MAGIC = b"usearch"
_FORMAT = 2
_HEADER, _GRAPH = 64, 40
# The key of a node whose item was removed.
_REMOVED = np.uint64(2**64 - 1)
_METRICS: dict[int, Metric] = {ord("i"): "ip", ord("c"): "cosine", ord("e"): "l2"}
_HAMMING = ord("b")


@dataclass(frozen=True)
class _Kind:
    """A number format: its name, bits a dimension, and the way to float32."""

    name: str
    bits: int
    fidelity: Fidelity
    decode: Callable[[NDArray[np.uint8], int], NDArray[np.float32]]
    note: str = ""


def _as(dtype: str) -> Callable[[NDArray[np.uint8], int], NDArray[np.float32]]:
    return lambda raw, dim: raw.view(dtype).astype(np.float32)


def _from_bf16(raw: NDArray[np.uint8], dim: int) -> NDArray[np.float32]:
    return (raw.view("<u2").astype(np.uint32) << 16).view(np.float32)


def _from_i8(raw: NDArray[np.uint8], dim: int) -> NDArray[np.float32]:
    return raw.view(np.int8).astype(np.float32) / np.float32(127)


_KINDS = {
    1: _Kind(
        "b1", 1, "codes-only", signs,
        "the codes are bits, and become vectors of -1 and 1, as numpy.packbits has them",
    ),
    4: _Kind("bf16", 16, "lossy", _from_bf16),
    10: _Kind("f64", 64, "exact", _as("<f8"), "float64 is rounded to float32"),
    11: _Kind("f32", 32, "exact", _as("<f4")),
    12: _Kind("f16", 16, "lossy", _as("<f2")),
    23: _Kind(
        "i8", 8, "lossy", _from_i8,
        "the codes are int8, divided by 127: usearch normalises floats before it makes such codes, "
        "so lengths are lost",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class _Layout:
    """What the headers say, checked against the size of the file."""

    rows: int
    present: int
    dim: int
    kind: _Kind
    metric: int
    vectors: int
    row_bytes: int
    levels: int
    links: int
    base_links: int


def is_usearch(source: str) -> bool:
    """Whether a file is usearch's, by its name or by its header."""
    path = Path(source)
    if "://" in source or not path.is_file():
        return False
    return path.suffix.lower() == ".usearch" or _header_at(path) is not None


def open_usearch(source: str, wanted: Wanted) -> UsearchFile:
    """Open a usearch file; raises SourceError."""
    refuse_columns(source, wanted)
    return UsearchFile(Path(source))


class UsearchFile:
    """An index of usearch; its keys are the ids."""

    def __init__(self, path: Path) -> None:
        """Read and check the headers; raises SourceError."""
        layout = _layout(path)
        kind = layout.kind
        self.name: str = str(path)
        self.kind: str = f"usearch file ({kind.name})"
        self.fidelity: Fidelity = kind.fidelity
        self.metric = _METRICS.get(layout.metric)
        self.dim: int = layout.dim
        self.rows: int | None = layout.present
        notes = [kind.note] if kind.note else []
        if layout.metric == _HAMMING and kind.name == "b1":
            self.metric = "cosine"
            notes.append("the order of bits under Hamming distance is that of the cosine")
        elif self.metric is None:
            notes.append(f"its metric ({layout.metric}) is none of cosine, ip and l2")
        self.notes: Sequence[str] = notes
        self._path = path
        self._layout = layout

    def batches(self, size: int) -> Iterator[Batch]:
        """Yield all items that have not been removed; raises SourceError."""
        layout, seen, found = self._layout, SeenIds(), 0
        keys = _Keys(self._path, layout)
        for first in range(0, layout.rows, size):
            count = min(size, layout.rows - first)
            numbers = keys.read(first, count)
            start = layout.vectors + first * layout.row_bytes
            raw = _read(self._path, start, count * layout.row_bytes)
            alive = numbers != _REMOVED
            rows, ids = np.flatnonzero(alive), numbers[alive].tolist()
            if not ids:
                continue
            vectors = layout.kind.decode(raw.reshape(count, -1)[rows], layout.dim)

            def place(row: int, what: str, rows: Any = first + rows, ids: list[int] = ids) -> str:
                return f"{self.name} row {rows[row]} (id {ids[row]})"

            check_new(seen, ids, place)
            found += len(ids)
            yield Batch(ids, vectors, None, None, None, place)
        if found != layout.present:
            raise _damaged(self._path, f"{found} keys where {layout.present} are counted")

    def close(self) -> None:
        """Do nothing: the file is open while it is read only."""


class _Keys:
    """The keys of nodes, which stand at the beginning of each; nodes are of different lengths."""

    def __init__(self, path: Path, layout: _Layout) -> None:
        levels = _read(path, layout.levels, 2 * layout.rows).view("<i2").astype(np.int64)
        if len(levels) and levels.min() < 0:
            raise _damaged(path, "a node of the graph has a level below 0")
        # A key, a level, and a list of links (a count, and four bytes a link) on each level.
        lengths = 14 + 4 * layout.base_links + (4 + 4 * layout.links) * levels
        self._ends = np.cumsum(lengths)
        self._start = layout.levels + 2 * layout.rows
        self._path = path
        if len(levels) and self._start + self._ends[-1] > path.stat().st_size:
            raise _damaged(path, "the graph is longer than the file")

    def read(self, first: int, count: int) -> NDArray[np.uint64]:
        begin = int(self._ends[first - 1]) if first else 0
        end = int(self._ends[first + count - 1])
        raw = _read(self._path, self._start + begin, end - begin)
        starts = np.concatenate([[0], self._ends[first : first + count - 1] - begin])
        keys: NDArray[np.uint64] = raw[starts[:, None] + np.arange(8)].view("<u8").ravel()
        return keys


def _layout(path: Path) -> _Layout:
    found = _header_at(path)
    if found is None:
        raise _damaged(path, "there is no header of usearch in it")
    rows, row_bytes, vectors, at = found
    header = _read(path, at, _HEADER)
    version = int(header[7:9].view("<u2")[0])
    kind = int(header[14])
    present, deleted, dim = map(int, header[17:41].view("<u8"))
    if version != _FORMAT:
        raise SourceError(f"{path} is of format {version} of usearch, only {_FORMAT} is known")
    if kind not in _KINDS or header[15] != 14 or header[16] != 15:
        known = ", ".join(kind.name for kind in _KINDS.values())
        raise SourceError(
            f"{path} holds numbers of usearch's kind {kind}, keys of kind {header[15]}: the kinds "
            f"that can be read are {known}, under 64-bit keys: export it with usearch"
        )
    if not vectors:
        raise SourceError(f"{path} was saved without vectors: save it again with them")
    size, links, base_links = map(int, _read(path, at + _HEADER, 24).view("<u8"))
    if (rows and row_bytes != -(-dim * _KINDS[kind].bits // 8)) or max(links, base_links) > 1 << 20:
        raise _damaged(path, f"vectors of {row_bytes} bytes are none of {dim} dimensions")
    if size != rows or present > rows or present + deleted > rows:
        raise _damaged(path, f"{rows} vectors, {size} nodes, {present} keys do not fit")
    levels = at + _HEADER + _GRAPH
    return _Layout(
        rows, present, dim, _KINDS[kind], int(header[13]), vectors, row_bytes, levels, links,
        base_links,
    )  # fmt: skip


def _header_at(path: Path) -> tuple[int, int, int, int] | None:
    """Return rows, bytes a row, where vectors begin and where the header is, if there is one."""
    try:
        size = path.stat().st_size
        for width, dtype in ((8, "<u4"), (16, "<u8")):
            if size < width + _HEADER:
                continue
            rows, row_bytes = map(int, _read(path, 0, width).view(dtype))
            at = width + rows * row_bytes
            if at + _HEADER <= size and bytes(_read(path, at, 7)) == _MAGIC:
                return rows, row_bytes, width, at
        if size >= _HEADER and bytes(_read(path, 0, 7)) == _MAGIC:
            return 0, 0, 0, 0
    except (OSError, SourceError):
        return None
    return None


def _read(path: Path, start: int, count: int) -> NDArray[np.uint8]:
    """Return bytes of the file; not mapped, since a mapped file that is cut ends the process."""
    try:
        with path.open("rb") as file:
            file.seek(start)
            data = file.read(count)
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error}") from error
    if len(data) != count:
        raise _damaged(path, f"it ends within the {count} bytes from {start} on")
    return np.frombuffer(data, np.uint8)


def _damaged(path: Path, reason: str) -> SourceError:
    return SourceError(f"{path} is no usearch file, or a damaged one: {reason}")

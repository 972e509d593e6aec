"""usearch files of unknown origin: whoever opens a damaged one ends, so that others go first.

A file is: the number of vectors and the bytes of each (two uint32, or uint64), the vectors, a
header of 64 bytes, and the graph: how many nodes, how many links a node has above and on the ground
level, the highest level and the first node (five uint64), a level (int16) for each node, and the
nodes: a key (uint64), a level (int16), and for each level a count (uint32) and links (uint32).
"""

from __future__ import annotations

import subprocess
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from requant.adapters import isolated
from requant.adapters.attached_files import FileState
from requant.adapters.errors import CorruptIndexError, EngineError
from requant.quantizers.errors import InputError

_MAGIC, _FORMAT = b"usearch", 2
_BITS = {1: 1, 4: 16, 10: 64, 11: 32, 12: 16, 23: 8}  # by usearch's number of a kind
_AT_ONCE = 8192
_SECONDS = 300
_CHILD = """
import sys
import numpy as np
from usearch.index import Index
print("ready", flush=True)
index = Index.restore(sys.argv[1], view=True)
queries = np.random.default_rng(0).normal(size=(16, index.ndim)).astype(np.float32)
if index.dtype.name == "B1":
    queries = np.packbits(queries > 0, axis=1)
if len(index):
    index.search(queries, 10, threads=1)
assert len(index.keys) == len(index)
"""


class _Graph(NamedTuple):
    """What the headers say of the graph, and where it is."""

    nodes: int
    links: int
    ground: int
    top: int
    first: int
    levels: int


@lru_cache(maxsize=256)
def check(path: Path, state: FileState) -> None:
    """Raise CorruptIndexError if usearch would not bear the file, which is as `state` says.

    Headers and every link of the graph are looked at here, and the file is opened and searched in
    a process of its own. What was found good is not looked at again.
    """
    try:
        with path.open("rb") as file:
            graph = _header(file, state.bytes)
            _check_graph(file, graph, state.bytes)
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise CorruptIndexError(f"{path} is no whole usearch file: {error}") from error
    _try(path)


def _try(path: Path) -> None:
    try:
        done = isolated.run(_CHILD, [str(path.absolute())], seconds=_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EngineError(f"{path} cannot be tried in another process: {error}") from error
    if not done.returncode:
        return
    said = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
    if not done.stdout.startswith(b"ready"):
        raise EngineError(f"{path} cannot be tried in another process: {said}")
    raise CorruptIndexError(
        f"usearch cannot open {path}: tried in a process of its own, it ended with "
        f"{done.returncode} {said}".rstrip()
    )


def _header(file: BinaryIO, size: int) -> _Graph:
    """Read and compare the headers; raises ValueError where they contradict each other."""
    rows, row_bytes, at = _vectors(file, size)
    header = _read(file, at, 64)
    version, kind = int(header[7:9].view("<u2")[0]), int(header[14])
    if version != _FORMAT or header[15] != 14 or header[16] != 15:
        raise InputError(
            f"a usearch file of format {version} with keys of kind {header[15]} and links of kind "
            f"{header[16]}: only format {_FORMAT} with 64-bit keys and 32-bit links is known"
        )
    present, deleted, dim = map(int, header[17:41].view("<u8"))
    bits = _BITS.get(kind)
    if bits and rows and row_bytes != -(-dim * bits // 8):
        raise ValueError(f"vectors of {row_bytes} bytes are none of {dim} dimensions")
    nodes, links, ground, top, first = map(int, _read(file, at + 64, 40).view("<u8"))
    if nodes != rows or present + deleted > nodes or (nodes and first >= nodes):
        raise ValueError(f"{rows} vectors, {nodes} nodes and {present} keys do not fit")
    if max(links, ground) > 1 << 16:
        raise ValueError(f"it has {links} and {ground} links a node")
    return _Graph(nodes, links, ground, top, first, at + 104)


def _vectors(file: BinaryIO, size: int) -> tuple[int, int, int]:
    """Return the number of vectors, the bytes of each, and where they end."""
    for width, dtype in ((8, "<u4"), (16, "<u8")):
        if size < width + 64:
            continue
        rows, row_bytes = map(int, _read(file, 0, width).view(dtype))
        at = width + rows * row_bytes
        if at + 64 <= size and _read(file, at, 7).tobytes() == _MAGIC:
            return rows, row_bytes, at
    if size >= 64 and _read(file, 0, 7).tobytes() == _MAGIC:
        raise InputError("a usearch file that was saved without its vectors cannot be searched")
    raise ValueError("there is no header of usearch where its vectors end")


def _check_graph(file: BinaryIO, graph: _Graph, size: int) -> None:
    """Raise ValueError where a link leads out of the graph: usearch follows it."""
    levels = _read(file, graph.levels, 2 * graph.nodes).view("<i2").astype(np.int64)
    if not len(levels):
        return
    if levels.min() < 0 or levels[graph.first] < graph.top:
        raise ValueError("the levels of its graph do not fit")
    ends = np.cumsum(14 + 4 * graph.ground + (4 + 4 * graph.links) * levels)
    begin = graph.levels + 2 * graph.nodes
    if begin + int(ends[-1]) != size:
        raise ValueError(f"it has {size} bytes, not {begin + int(ends[-1])}")
    starts = np.concatenate([[0], ends[:-1]])
    for at in range(0, graph.nodes, _AT_ONCE):
        part = slice(at, at + _AT_ONCE)
        low, high = int(starts[part][0]), int(ends[part][-1])
        raw = _read(file, begin + low, high - low)
        _check_nodes(raw, starts[part] - low, levels, levels[part], graph)


def _check_nodes(raw: Any, starts: Any, all_levels: Any, levels: Any, graph: _Graph) -> None:
    if (_numbers(raw, starts + 8, 1, "<i2")[:, 0] != levels).any():
        raise ValueError("a node of its graph has another level than the list of levels")
    place = 10
    for level in range(int(levels.max()) + 1):
        room = graph.links if level else graph.ground
        there = starts[levels >= level] + place
        counts = _numbers(raw, there, 1, "<u4")
        links = _numbers(raw, there + 4, room, "<u4")
        used = np.arange(room) < counts
        if (counts > room).any() or (links[used] >= graph.nodes).any():
            raise ValueError("a link of its graph leads nowhere")
        if level and (all_levels[links[used]] < level).any():
            raise ValueError("a link of its graph leads to a node that is not on its level")
        place += 4 + 4 * room


def _numbers(raw: Any, there: Any, count: int, dtype: str) -> NDArray[Any]:
    """Return `count` numbers from each of the places `there` in `raw` on."""
    width = count * np.dtype(dtype).itemsize
    found: NDArray[Any] = raw[there[:, None] + np.arange(width)]
    return found.view(dtype)


def _read(file: BinaryIO, start: int, count: int) -> NDArray[np.uint8]:
    """Return bytes of the file; not mapped, since a mapped file that is cut ends the process."""
    file.seek(start)
    data = file.read(count)
    if len(data) != count:
        raise ValueError(f"it ends within the {count} bytes from {start} on")
    return np.frombuffer(data, np.uint8)

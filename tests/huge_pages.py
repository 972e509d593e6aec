"""FAISS's codes in memory, looked at by a process whose other memory asks for no huge pages.

Run it as `ENVIRONMENT` says: NumPy would ask for its arrays, and what was freed be used again.
"""

from __future__ import annotations

import mmap
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from requant.adapters.advice import advise
from requant.adapters.faiss import FaissBackend, pages
from requant.adapters.protocol import IndexSpec, IndexType
from requant.quantizers.codes import CodeMetric, Format
from requant.testing.data import code_spec, make_codes, make_queries

FORMS: list[tuple[Format, CodeMetric, IndexType, int, int, dict[str, Any]]] = [
    # And dimensions, and rows of a little more than two huge pages.
    ("int2", "ip", "flat", 768, 23_000, {}),
    ("int8", "ip", "flat", 768, 6_000, {}),
    ("binary", "hamming", "flat", 2048, 17_000, {}),
    ("float32", "l2", "hnsw", 1024, 1_100, {"M": 4, "efConstruction": 8}),
    ("native", "l2", "flat", 768, 6_000, {"factory": "SQ8"}),
]
ENVIRONMENT = {"NUMPY_MADVISE_HUGEPAGE": "0", "MALLOC_MMAP_THRESHOLD_": str(1 << 18)}
COLLAPSE = 25
NOT_HERE = 77


def page_bytes() -> int:
    """Return the size of a huge page, 0 where nobody gets any."""
    enabled, size = pages.SETTINGS / "enabled", pages.SETTINGS / "hpage_pmd_size"
    if not enabled.exists() or "[never]" in enabled.read_text():
        return 0
    return int(size.read_text()) if size.exists() else 0


def moves_at_once(page: int) -> bool:
    """Whether this kernel puts memory that is there already into huge pages when asked to."""
    with mmap.mmap(-1, 3 * page, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        array = np.frombuffer(memory, np.uint8)
        start = -(-array.ctypes.data // page) * page
        array[:] = 1
        moved = advise(start, start + page, COLLAPSE)
        del array
    return moved


def whole_pages(backend: FaissBackend, page: int) -> tuple[int, int]:
    """Return where the huge pages begin and end that codes alone fill."""
    native = backend.native()
    store: Any = faiss.downcast_index(native.storage) if hasattr(native, "storage") else native
    codes = store.xb if hasattr(store, "xb") else store.codes
    start = int(codes.data())
    return -(-start // page) * page, (start + codes.size()) // page * page


def regions(first: int, last: int) -> Iterator[tuple[bool, int]]:
    """Yield of each mapping in a range whether it asked, and how much of it is in huge pages."""
    for part in re.split(r"(?m)^(?=[0-9a-f]+-[0-9a-f]+ )", Path("/proc/self/smaps").read_text()):
        found = re.match(r"([0-9a-f]+)-([0-9a-f]+) ", part)
        if found and int(found[1], 16) < last and int(found[2], 16) > first:
            huge = re.search(r"AnonHugePages: +(\d+) kB", part)
            flags = re.search(r"VmFlags: (.*)", part)
            yield "hg" in flags[1].split(), int(huge[1])


def look(backend: FaissBackend, page: int, *, asked: bool = True, moved: bool = False) -> None:
    """Compare what the kernel tells of the codes with what there should be."""
    first, last = whole_pages(backend, page)
    assert first < last, "too few rows"
    found = list(regions(first, last))
    assert {flag for flag, _ in found} == {asked}, found
    assert not moved or sum(kilobytes for _, kilobytes in found) > 0, found


def same(left: Any, right: Any) -> None:
    """Compare two answers."""
    np.testing.assert_array_equal(left.keys, right.keys)
    np.testing.assert_array_equal(left.distances, right.distances)


def story(spec: IndexSpec, n: int, folder: Path, page: int, moved: bool) -> None:
    """Fill an index, read it, let it grow and shrink; what it answers is the same all the time."""
    path, keys = str(folder / "index"), np.arange(2 * n)
    codes, queries = make_codes(spec.code, 2 * n), make_queries(spec.code, 5)
    backend = FaissBackend.create(spec, sample=codes)
    for some in np.array_split(np.arange(n), 8):
        backend.upsert(keys[some], codes[some])
    look(backend, page, moved=moved)
    backend.flush(path)

    setting, pages.SETTINGS = pages.SETTINGS, folder
    (folder / "enabled").write_text("always madvise [never]")
    plain = FaissBackend.open(spec, path)
    look(plain, page, asked=False)
    pages.SETTINGS = setting
    answers = plain.search(queries, 10)
    same(backend.search(queries, 10), answers)
    if spec.code.format in ("int8", "binary", "float32"):
        mapped = FaissBackend.open(spec, path, mmap=True)
        look(mapped, page, asked=False)
        same(mapped.search(queries, 10), answers)

    opened = FaissBackend.open(spec, path)
    look(opened, page, moved=moved)
    same(opened.search(queries, 10), answers)
    opened.upsert(keys[n:], codes[n:])
    look(opened, page, moved=moved)
    if spec.code.format != "native":  # which gives back what it made of the codes
        held = np.concatenate([part for _, part in opened.export()])
        np.testing.assert_array_equal(held, codes)
    if spec.index_type == "flat":  # a graph keeps what was deleted, and walks on it
        opened.delete(keys[n:])
        look(opened, page, moved=moved)
        same(opened.search(queries, 10), answers)


def main(folder: Path) -> int:
    """Tell the story of each form; NOT_HERE where the system gives nobody huge pages."""
    page = page_bytes()
    if not page or page > 2 << 20:
        print("the system gives no huge pages of 2 MB")
        return NOT_HERE
    moved = moves_at_once(page)
    for format, metric, kind, dim, n, params in FORMS:
        print(format, kind, flush=True)
        story(IndexSpec(code_spec(format, dim), metric, kind, params), n, folder, page, moved)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))

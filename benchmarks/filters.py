"""Filters on indexed fields beside the search without one, and what upkeep costs a write.

    python -m benchmarks.filters [--items 1000000] [--dim 64] [--url postgresql+psycopg://...]

One run, in one process: int8 in FAISS, random vectors, and metadata of a tenant (1,000 of them), a
year (50), a flag and a time of its own. Each filter is asked for with values of its own, so that
nothing that an earlier one left helps, and after another write as well.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

import requant
from requant.collection import Collection
from requant.database import Database

BATCH = 2000
INDEXED = ["tenant", "year", "flag", "at"]
TIMES = 30


def metadata(first: int, n: int) -> list[dict[str, Any]]:
    """Return the metadata of items `first` to `first + n`."""
    return [
        {
            "tenant": f"tenant {i * 7919 % 1000}",
            "year": 1975 + i * 31 % 50,
            "flag": i * 17 % 2 == 0,
            "at": i * 104_729 % 1_000_003,
            "title": f"a title of item {i}",
        }
        for i in range(first, first + n)
    ]


class Clock:
    """Seconds on the wall, and those of the processor, which count where others work as well."""

    def __init__(self) -> None:
        self.wall: list[float] = []
        self.cpu: list[float] = []

    @contextmanager
    def running(self) -> Iterator[None]:
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        self.wall.append(time.perf_counter() - wall)
        self.cpu.append(time.process_time() - cpu)


def compared(clocks: dict[str, Clock], unit: float) -> None:
    """Print the median of each, and how often it is that of the first."""
    first = next(iter(clocks.values()))
    print(f"  {'':26} {'cpu':>9} {'times':>7} {'wall':>9} {'times':>7}")
    for name, clock in clocks.items():
        cpu, wall = median(clock.cpu), median(clock.wall)
        print(
            f"  {name:26} {cpu * unit:9.2f} {cpu / median(first.cpu):7.2f}"
            f" {wall * unit:9.2f} {wall / median(first.wall):7.2f}"
        )


def filled(notes: list[Collection], clocks: list[Clock], n: int, dim: int) -> None:
    """Upsert `n` items into each collection, a batch by turns."""
    rng = np.random.default_rng(0)
    for first in range(0, n, BATCH):
        count = min(BATCH, n - first)
        vectors = rng.standard_normal((count, dim), np.float32)
        texts = metadata(first, count)
        for one, clock in zip(notes, clocks, strict=True):
            with clock.running():
                one.upsert(range(first, first + count), vectors, metadata=texts)


def upserts(db: Database, n: int, dim: int) -> None:
    """Print what upkeep costs: batches, and items one by one."""
    fields: dict[str, list[str]] = {
        "none indexed": [],
        "tenant, year, flag": ["tenant", "year", "flag"],
        "tenant, year, at": ["tenant", "year", "at"],
    }
    every = [
        db.create_collection(f"of-{i}", dim, index_fields=some)
        for i, some in enumerate(fields.values())
    ]
    clocks = {name: Clock() for name in fields}
    filled(every, list(clocks.values()), n, dim)
    print(f"\n{n:,} upserts in batches of {BATCH}, microseconds an item")
    compared(clocks, 1e6 / BATCH)
    clocks = {name: Clock() for name in fields}
    rng = np.random.default_rng(1)
    for i in range(300):
        vector, texts = rng.standard_normal((1, dim), np.float32), metadata(n + i, 1)
        for notes, clock in zip(every, clocks.values(), strict=True):
            with clock.running():
                notes.upsert([n + i], vector, metadata=texts)
    print("one item a call, microseconds")
    compared(clocks, 1e6)
    for notes in every:
        db.drop_collection(notes.name)


FILTERS: dict[str, Callable[[int], dict[str, Any] | None]] = {
    "no filter": lambda i: None,
    "0.1 %: a tenant": lambda i: {"tenant": f"tenant {i * 13 % 1000}"},
    "5 %: 50 tenants": lambda i: {
        "tenant": {"$in": [f"tenant {(i + j) % 1000}" for j in range(50)]}
    },
    "4 %: two years": lambda i: {"year": {"$in": [1975 + i % 50, 1975 + (i + 9) % 50]}},
    "5 %: a range of times": lambda i: {"at": {"$gte": i * 20_000, "$lt": i * 20_000 + 50_000}},
    "50 %: a flag": lambda i: {"flag": i % 2 == 0},
    "50 %: half of the years": lambda i: {"year": {"$gte": 2000}, "tenant": {"$ne": f"no {i}"}},
    "50 %: half of the times": lambda i: {"at": {"$gt": 500_000 + i}},
    "nothing: no such tenant": lambda i: {"tenant": f"nobody {i}"},
    "nothing: no such time": lambda i: {"at": 2_000_000 + i},
    "tenant and a word": lambda i: {
        "tenant": f"tenant {i % 1000}",
        "title": {"$contains": f"{i % 10}"},
    },
}


def timed(notes: Collection, dim: int, write: bool) -> dict[str, Clock]:
    """Return what every search took; the filters come by turns."""
    rng = np.random.default_rng(2)
    clocks = {name: Clock() for name in FILTERS}
    for i in range(TIMES):
        for name, of in FILTERS.items():
            if write:
                notes.upsert([0], rng.standard_normal((1, dim), np.float32))
                notes.search(rng.standard_normal(dim, np.float32))  # which follows
            query = rng.standard_normal(dim, np.float32)
            with clocks[name].running():
                notes.search(query, 10, where=of(i))
    return clocks


def searches(db: Database, n: int, dim: int) -> None:
    """Print what each filter costs, in searches without one."""
    notes = db.create_collection("notes", dim)
    filled([notes], [Clock()], n, dim)
    for name in INDEXED:
        clock = Clock()
        with clock.running():
            notes.index_field(name)
        print(f"index_field({name!r}) over {n:,} items: {clock.cpu[0]:.1f} s of cpu")
    notes.add_index("main", engine="faiss", precision="int8")
    for what, write in {"nothing written": False, "after a write each": True}.items():
        print(f"\n{what}, milliseconds")
        compared(timed(notes, dim, write), 1e3)


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--writes", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--url", help="a PostgreSQL database to be filled, in place of SQLite")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        target: Any = asked.url or Path(home) / "filters.requant"
        with requant.open(target, folder=Path(home) / "indexes") as db:
            print(f"{asked.items:,} x {asked.dim}, int8 in FAISS, {db.engine.dialect.name}")
            upserts(db, asked.writes, asked.dim)
            searches(db, asked.items, asked.dim)
            if asked.url:
                db.drop_collection("notes")


if __name__ == "__main__":
    main()

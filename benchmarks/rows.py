"""What rows and hits of a search cost: from SQLite's file in memory, swept from the CPU's caches,
and from the disk.

    python -m benchmarks.rows [--other CHECKOUT] [--rows N] [--rounds N] [--dims D ...]

Forty candidates of an int2 index in FAISS are fetched and scored, and ten become hits with document
and metadata. Beside it runs the same without a mapping (REQUANT_MMAP=0), and another checkout of
requant with a database of its own. Each is a process; they take turns, a block of searches each.
Stages are the least fifth of their block, in microseconds: less than that is nobody's.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
STAGES = ("fetch", "join", "rescore", "total")
BLOCK, COLD = 100, 20

# What each process runs: it knows nothing that another checkout need not know.
MAKE = """
import sys, numpy as np, requant
path, dim, rows = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
floats, text = np.random.default_rng(0), "a definition of some length, as a dictionary has them"
with requant.open(path) as db:
    items = db.create_collection("items", dim)
    for first in range(0, rows, 5000):
        ids = range(first, min(first + 5000, rows))
        vectors = floats.standard_normal((len(ids), dim)).astype(np.float32)
        metadata = [{"pos": "n", "lexname": f"noun.{n % 9}"} for n in ids]
        items.upsert([f"item-{n}" for n in ids], vectors, [f"{text} {n}" for n in ids], metadata)
    items.add_index("int2", engine="faiss", precision="int2")
"""
ASK = """
import json, sys, numpy as np, requant
path, dim = sys.argv[1], int(sys.argv[2])
items = (db := requant.open(path)).collection("items")
queries = np.random.default_rng(1).standard_normal((4000, dim)).astype(np.float32)
stages, sweep = {}, np.zeros(8 << 20)

class Observer:
    def begins(self, operation):
        pass

    def ends(self, operation, begun):
        for name, seconds in {**operation.stages, "total": operation.seconds}.items():
            stages.setdefault(name, []).append(seconds * 1e6)

def read_bytes():
    return int(dict(line.split(": ") for line in open("/proc/self/io"))["read_bytes"])

def anonymous():
    return int(next(line for line in open("/proc/self/status") if "RssAnon" in line).split()[1])

db.observe(Observer())
for line in sys.stdin:
    first, count, swept, each = json.loads(line)
    stages.clear()
    read = []
    for n in range(first, first + count):
        if swept:
            sweep.sum()
        before = read_bytes() if each else 0
        items.search(queries[n % 4000], 10, oversample=4, index="int2")
        read.append((read_bytes() if each else 0) - before)
    print(json.dumps({"stages": stages, "read": read, "anonymous": anonymous()}), flush=True)
"""


class Contender:
    """A checkout of requant with its database, asked in a process of its own."""

    def __init__(self, checkout: Path, path: Path, dim: int, **switches: str) -> None:
        """Start no process yet."""
        self.path, self._dim = path, dim
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
        self._environment = {**os.environ, **threads, "PYTHONPATH": str(checkout), **switches}

    def make(self, rows: int) -> None:
        """Make the database."""
        command = [sys.executable, "-c", MAKE, str(self.path), str(self._dim), str(rows)]
        subprocess.run(command, check=True, env=self._environment, cwd=self.path.parent)

    def start(self) -> None:
        """Open the database in a new process."""
        self._process = subprocess.Popen(
            [sys.executable, "-c", ASK, str(self.path), str(self._dim)],
            env=self._environment, cwd=self.path.parent, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip

    def ask(self, first: int, count: int, *, swept: bool = False, each: bool = False) -> Any:
        """Search, and return what was measured."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([first, count, swept, each]) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def stop(self) -> None:
        """End the process."""
        self._process.communicate()

    def cool(self) -> None:
        """Drop the file from the page cache, which takes that nobody maps it."""
        file = os.open(self.path, os.O_RDONLY)
        try:
            os.fsync(file)
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(file)


def in_memory(contenders: Mapping[str, Contender], rounds: int, swept: bool) -> dict[str, Any]:
    """Return the stages of each contender, the median over the rounds."""
    found: dict[str, list[list[float]]] = {name: [] for name in contenders}
    for turn in range(rounds):
        for name, one in contenders.items():
            stages = one.ask(turn * BLOCK, BLOCK, swept=swept)["stages"]
            found[name].append([float(np.percentile(stages[stage], 20)) for stage in STAGES])
    return {name: np.median(rows, axis=0) for name, rows in found.items()}


def from_disk(one: Contender) -> list[str]:
    """Return what a new process reads from the disk: for its first search, and for each further."""
    one.cool()
    one.start()
    first, *further = one.ask(3000, COLD, each=True)["read"]
    one.stop()
    return [f"{first / 1e6:.1f}", f"{np.mean(further) / 1e6:.2f}"]


def measure(console: Console, contenders: Mapping[str, Contender], title: str, rounds: int) -> None:
    """Print what one dimension costs each contender."""
    cold = [from_disk(one) for one in contenders.values()]  # one alone has the file open
    for one in contenders.values():
        one.start()
        one.ask(0, 2 * BLOCK)
    times = [in_memory(contenders, rounds, swept) for swept in (False, True)]
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for name in contenders:
        table.add_column(name, justify="right")
    for when, found in zip(("warm", "swept"), times, strict=True):
        for at, stage in enumerate(STAGES):
            figures = [f"{found[name][at]:.0f}" for name in contenders]
            table.add_row(f"{when}: {stage}, us", *figures)
    for at, what in enumerate(("first search reads, MB", "each further reads, MB")):
        table.add_row(f"cold: {what}", *[figures[at] for figures in cold])
    memory = [one.ask(0, BLOCK)["anonymous"] / 1e3 for one in contenders.values()]
    table.add_row("anonymous memory, MB", *[f"{figure:.0f}" for figure in memory])
    for one in contenders.values():
        one.stop()
    console.print(table)


def main() -> None:
    """Make the databases, and measure them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--other", type=Path, help="another checkout of requant")
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--dims", type=int, nargs="*", default=[384, 768, 1024, 1536])
    parser.add_argument("--folder", type=Path, help="where the databases are made for a while")
    asked = parser.parse_args()
    console = Console(width=110)
    for dim in asked.dims:
        with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
            path = Path(folder) / "rows.requant"
            contenders = {
                "mapped": Contender(ROOT, path, dim),
                "not mapped": Contender(ROOT, path, dim, REQUANT_MMAP="0"),
            }
            contenders["mapped"].make(asked.rows)
            if asked.other is not None:
                other = Contender(asked.other.resolve(), Path(folder) / "other.requant", dim)
                other.make(asked.rows)
                contenders["other"] = other
            measure(console, contenders, f"{asked.rows:,} x {dim}", asked.rounds)


if __name__ == "__main__":
    main()

"""A collection moved from engine to engine by the command line, and what that costs:

    python -m benchmarks.migrating [--data FOLDER] [--rows N]

For each step: the seconds of `requant migrate` (reading, encoding, building, and verifying on top),
beside the engine loaded by hand with the same codes; and the peak of resident memory of either. At
the end every id, vector, document and metadata value is compared with what was put in. `--rows`
takes that many made-up vectors of 64 dimensions instead.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

import requant
from benchmarks.dataset import load
from requant import quantizers
from requant.adapters import registry

CHAIN = ("faiss", "lancedb", "usearch", "qdrant", "faiss")
PRECISION = "int8"

BY_HAND = """
import sys, time, numpy as np
engine, codes, folder = sys.argv[1], np.load(sys.argv[2]), sys.argv[3]
from pathlib import Path
if engine == "faiss":
    import faiss
elif engine == "usearch":
    import usearch.index
else:
    from benchmarks.by_hand import Edge, Lance
start = time.perf_counter()
if engine == "faiss":
    d = codes.shape[1]
    flat = faiss.IndexScalarQuantizer(d, faiss.ScalarQuantizer.QT_8bit_direct_signed)
    index = faiss.IndexIDMap2(flat)
    for first in range(0, len(codes), 65536):
        part = codes[first : first + 65536].astype(np.float32)
        index.add_with_ids(part, np.arange(first, first + len(part)))
    faiss.write_index(index, folder)
elif engine == "usearch":
    index = usearch.index.Index(ndim=codes.shape[1], metric="ip", dtype="i8", connectivity=2,
                                expansion_add=1)
    index.add(np.arange(len(codes)), codes, threads=1)
    index.save(folder)
else:
    {"qdrant": Edge, "lancedb": Lance}[engine](Path(folder), codes)
seconds = time.perf_counter() - start
print(seconds, peak())
"""
COMMAND = """
import sys
from requant.integration.cli import main
sys.argv = ["requant", *sys.argv[1:]]
try:
    main()
finally:
    print(peak(), file=sys.stderr)
"""
# getrusage would tell the peak of the process that started this one, too.
PEAK = """
def peak():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) / 1e3 for line in file if line.startswith("VmHWM"))
"""


def child(program: str, *arguments: object) -> tuple[str, str]:
    """Run a program in a new interpreter; return what it writes to stdout and to stderr."""
    command = [sys.executable, "-c", PEAK + program, *map(str, arguments)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return done.stdout, done.stderr


def fill(path: Path, data: Path | None, rows: int | None) -> np.ndarray:
    """Make the database, and return its vectors."""
    with requant.open(path) as db:
        if rows is None:
            found = load(data)
            items = db.create_collection("items", found.vectors.shape[1])
            texts = [item["text"] for item in found.items]
            metadata = [{k: v for k, v in item.items() if k not in ("id", "text")}
                        for item in found.items]  # fmt: skip
            items.upsert([item["id"] for item in found.items], found.vectors, texts, metadata)
            return found.vectors
        items = db.create_collection("items", 64)
        rng = np.random.default_rng(0)
        vectors = rng.standard_normal((rows, 64), dtype=np.float32)
        for first in range(0, rows, 50_000):
            part = vectors[first : first + 50_000]
            items.upsert(range(first, first + len(part)), part)
        return vectors


def content(path: Path) -> list[Any]:
    """Return everything that is stored, in order."""
    with requant.open(path) as db:
        return [
            (item.id, None if item.vector is None else item.vector.tobytes(), item.document,
             json.dumps(item.metadata))
            for item in db.collection("items").iter()
        ]  # fmt: skip


def main() -> None:
    """Move through the chain, and print a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, help="folder with the full WordNet files")
    parser.add_argument("--rows", type=int, help="made-up vectors instead")
    asked = parser.parse_args()
    table = Table(title="Migrations by the command line")
    for column in ("", "requant migrate, s", "of it building", "by hand, s", "by hand / building",
                   "peak MB", "peak MB by hand"):  # fmt: skip
        table.add_column(column, justify="right" if column else "left")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / "x.requant"
        vectors = fill(path, asked.data, asked.rows)
        unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        codes = quantizers.fit(PRECISION, unit[:10_000]).encode(unit)
        np.save(folder / "codes.npy", codes)
        before = content(path) if asked.rows is None else None
        for step, engine in enumerate(CHAIN):
            raw, peak_raw = map(
                float,
                child(BY_HAND, engine, folder / "codes.npy", folder / f"hand-{step}")[0].split(),
            )
            start = time.perf_counter()
            out, err = child(
                COMMAND, "migrate", path, "items", f"step-{step}", "--engine", engine,
                "--precision", PRECISION, "--json",
            )  # fmt: skip
            taken = time.perf_counter() - start
            report = json.loads(out)
            assert report["ok"], report
            assert report["state"] == "switched"
            peak = float(err.splitlines()[-1])
            building = build_seconds(path, engine)
            table.add_row(
                engine, f"{taken:.1f}", f"{building:.1f}", f"{raw:.1f}", f"{raw / building:.2f}",
                f"{peak:.0f}", f"{peak_raw:.0f}",
            )  # fmt: skip
        if before is not None:
            assert content(path) == before
            print(f"all {len(before):,} ids, vectors, documents and metadata are equal at the end")
    Console(width=120).print(table)


def build_seconds(path: Path, engine: str) -> float:
    """Return the seconds of building the same index alone, without verifying."""
    with requant.open(path) as db:
        items = db.collection("items")
        registry.load(engine)  # importing an engine is no part of loading it
        start = time.perf_counter()
        items.add_index("again", engine=engine, precision=PRECISION)
        taken = time.perf_counter() - start
        items.drop_index("again")
    return taken


if __name__ == "__main__":
    main()

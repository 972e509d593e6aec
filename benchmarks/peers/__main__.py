"""Run every contender, one after the other, and show the table."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

import benchmarks.peers
from benchmarks.dataset import Dataset, load
from benchmarks.peers.child import contenders
from benchmarks.peers.contender import Contender

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS")


def prepare(data: Dataset, folder: Path) -> None:
    """Write what the children read: vectors and queries of length 1."""
    for name, rows in (("vectors", data.vectors), ("queries", data.queries)):
        np.save(folder / name, rows / np.linalg.norm(rows, axis=1, keepdims=True))
    np.save(folder / "worst", data.worst)


def child(*arguments: object) -> dict[str, Any]:
    """Run one half of a contender on one thread and return what it tells."""
    command = [sys.executable, "-m", "benchmarks.peers.child", *map(str, arguments)]
    one = {**os.environ, **dict.fromkeys(THREADS, "1")}
    done = subprocess.run(command, env=one, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}:\n{done.stderr}")
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def measured(contender: Contender, folder: Path, rounds: int) -> dict[str, Any]:
    """Build and serve one contender; its index is removed again."""
    built = child("build", contender.name, folder)
    served = child("serve", contender.name, folder, rounds)
    shutil.rmtree(folder / "index")
    return {"name": contender.name, **built, **served}


def show(results: list[dict[str, Any]], console: Console) -> None:
    """Print one row a setting."""
    table = Table(title="One query at a time, one thread, k = 10", title_justify="left")
    sizes = ("own MB", "mapped", "disk MB", "build s")
    for column in ("", "recall@10", "CPU ms", "of FlatIP", *sizes):
        table.add_column(column, justify="right" if column else "left")
    for one in results:
        numbers = (one["own"], one["mapped"], one["bytes"] / 1e6, one["build"])
        table.add_row(f"[bold]{one['name']}", "", "", "", *(f"{number:.0f}" for number in numbers))
        for row in one["settings"]:
            share = row["of_flat"]
            told = f"1/{1 / share:.1f}" if share < 1 else f"{share:.1f} x"
            table.add_row(
                f"  {row['setting']}", f"{row['recall']:.4f}", f"{row['milliseconds']:.3f}", told
            )
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=benchmarks.peers.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--out", type=Path, help="where the figures are kept, as JSON")
    parser.add_argument("names", nargs="*", help="contenders whose name begins with one of these")
    options = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 160)
    results = []
    with tempfile.TemporaryDirectory() as kept:
        folder = Path(kept)
        prepare(load(options.data), folder)
        for one in contenders():
            if options.names and not one.name.startswith(tuple(options.names)):
                continue
            missing = [name for name in one.imports if find_spec(name.split(".")[0]) is None]
            if missing:
                console.print(f"{one.name}: left out, no {', '.join(missing)} here")
                continue
            results.append(measured(one, folder, options.rounds))
            show(results[-1:], console)
    show(results, console)
    if options.out:
        options.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

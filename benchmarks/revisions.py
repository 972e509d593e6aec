"""This checkout beside another one: what a search and a one-row write cost, in turns.

    git worktree add ../before REVISION
    python -m benchmarks.revisions ../before

Each side runs in processes of its own, one after the other and several times over, and its best
figure counts: on a shared machine the least disturbed run is the one that tells.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parents[1]

# Runs in either checkout: nothing but what both have.
MEASURE = """
import json, sys, tempfile, time
import numpy as np
import requant

rows, dim = 20_000, 128
rng = np.random.default_rng(0)
vectors = rng.standard_normal((rows, dim), np.float32)
queries = rng.standard_normal((200, dim), np.float32)


def best(act, repeats):
    figures = []
    for _ in range(repeats):
        begin = time.process_time()
        count = act()
        figures.append((time.process_time() - begin) / count)
    return min(figures) * 1e6


with tempfile.TemporaryDirectory() as folder, requant.open(f"{folder}/notes.requant") as db:
    notes = db.create_collection("notes", dim)
    texts = [f"text {row}" for row in range(rows)]
    tags = [{"row": row} for row in range(rows)]
    begin = time.process_time()
    notes.upsert(range(rows), vectors, texts, tags)
    bulk = (time.process_time() - begin) / rows * 1e6
    figures = {"bulk upsert, a row": bulk}
    for precision in ("int8", "int2"):
        notes.add_index(precision, precision=precision)
        notes.use_index(precision)

        def search():
            for query in queries:
                notes.search(query)
            return len(queries)

        def search_where():
            for query in queries[:20]:
                notes.search(query, where={"row": {"$lt": 100}})
            return 20

        search()
        figures[f"search, {precision}"] = best(search, 12)
    figures["search with a filter"] = best(search_where, 5)

    def write():
        for row in range(200):
            notes.upsert([row], vectors[row : row + 1], texts[row : row + 1], tags[row : row + 1])
        return 200

    figures["upsert of one row"] = best(write, 10)

    def write_and_search():
        for row in range(100):
            notes.upsert([row], vectors[row : row + 1])
            notes.search(queries[row])
        return 100

    figures["upsert and search"] = best(write_and_search, 5)
print(json.dumps(figures))
"""


def measured(checkout: Path) -> dict[str, float]:
    """Return microseconds of CPU time by what was done in a checkout."""
    environment = {**os.environ, "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", MEASURE], cwd=checkout, env=environment, capture_output=True,
        text=True, check=True,
    )  # fmt: skip
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def main() -> None:
    """Measure both checkouts in turns and print their best figures and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("other", type=Path, help="another checkout of this repository")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    sides: dict[str, list[dict[str, float]]] = {"other": [], "this": []}
    for _ in range(options.rounds):
        sides["other"].append(measured(options.other.resolve()))
        sides["this"].append(measured(HERE))
    print(f"{'CPU us':24}{'other':>10}{'this':>10}{'this / other':>14}")
    for name in sides["this"][0]:
        other, this = (min(run[name] for run in sides[side]) for side in ("other", "this"))
        print(f"{name:24}{other:10.1f}{this:10.1f}{this / other:14.3f}")


if __name__ == "__main__":
    main()

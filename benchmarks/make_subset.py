"""Make examples/wordnet: 8,000 definitions and 200 queries out of the full WordNet data.

    python -m benchmarks.make_subset --data FOLDER

FOLDER holds the four files that benchmarks/rebuild_data.py makes. The same files give the same
bytes (the gzip file: with the same zlib).
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.rebuild_data import ITEMS, QUERY_IDS, QUERY_VECTORS, VECTORS, compress_lines

DEFINITIONS, QUERIES, DUPLICATE_PAIRS, SEED = 8000, 200, 40, 20060101
FOLDER = Path(__file__).resolve().parent.parent / "examples" / "wordnet"


def duplicate_pairs(vectors: NDArray[np.float16]) -> list[tuple[int, int]]:
    """Return the first two rows of every vector that occurs more than once."""
    _, first, inverse = np.unique(
        vectors.view(f"V{vectors[0].nbytes}").ravel(), return_index=True, return_inverse=True
    )
    second: dict[int, tuple[int, int]] = {}
    for row, group in enumerate(inverse):
        if row != first[group]:
            second.setdefault(int(group), (int(first[group]), row))
    return sorted(second.values())


def choose_rows(vectors: NDArray[np.float16], targets: list[int]) -> list[int]:
    """Return the rows of the subset in their old order: targets, duplicates and a random rest."""
    rng = random.Random(SEED)
    pairs = rng.sample(duplicate_pairs(vectors), DUPLICATE_PAIRS)
    chosen = {*targets, *(row for pair in pairs for row in pair)}
    rest = [row for row in range(len(vectors)) if row not in chosen]
    return sorted(chosen | set(rng.sample(rest, DEFINITIONS - len(chosen))))


def make_subset(data: Path, out: Path) -> None:
    """Write the four files of the subset into `out`."""
    with gzip.open(data / ITEMS, "rt", encoding="utf-8") as lines:
        items = [json.loads(line) for line in lines]
    vectors = np.load(data / VECTORS)
    row_of = {item["id"]: row for row, item in enumerate(items)}
    ids = json.loads((data / QUERY_IDS).read_text())
    queries = sorted(random.Random(SEED).sample(range(len(ids)), QUERIES))
    targets = [row_of[ids[query]] for query in queries]
    rows = choose_rows(vectors, targets)

    out.mkdir(parents=True, exist_ok=True)
    np.save(out / "vectors_f16.npy", vectors[rows])
    (out / "items.jsonl.gz").write_bytes(compress_lines(items[row] for row in rows))
    np.save(out / "queries_f16.npy", np.load(data / QUERY_VECTORS)[queries])
    texts = [{"text": ", ".join(items[row]["lemmas"]), "id": items[row]["id"]} for row in targets]
    text = json.dumps(texts, ensure_ascii=False, indent=1)
    (out / "queries.json").write_text(text + "\n", encoding="utf-8")


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the full files")
    parser.add_argument("--out", type=Path, default=FOLDER, help="default: examples/wordnet")
    arguments = parser.parse_args()
    make_subset(arguments.data, arguments.out)


if __name__ == "__main__":
    main()

"""The data that the demo searches: definitions with their vectors, and queries."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from requant.collection import Collection
from requant.errors import InputError
from requant.integration.cli.progress import progress
from requant.integration.importing import open_import
from requant.integration.readers import Tally, Wanted, store

HERE = Path("examples/wordnet")
_FILES = ("vectors_f16.npy", "items.jsonl.gz", "queries_f16.npy", "queries.json")
# Good examples of a search by meaning: "Seurat" finds pointillism.
_SHOWN = (27, 67, 98)


@dataclass(frozen=True)
class DemoData:
    """A folder of data: `queries (q, d)` and their texts."""

    folder: Path
    queries: NDArray[np.float32]
    texts: list[str]

    @property
    def shown(self) -> list[int]:
        """The rows of the three queries whose results are shown."""
        return sorted({row % len(self.texts) for row in _SHOWN})


def find(folder: str | None) -> DemoData:
    """Read the queries of a folder, by default `./examples/wordnet`; raises InputError."""
    place = HERE if folder is None else Path(folder)
    missing = [name for name in _FILES if not (place / name).is_file()]
    if missing and folder is None:
        raise InputError(
            f"the demo's data is not at {place}: run it from the root of a checkout of requant, "
            "or name the folder with --data; the files are in examples/wordnet of the repository"
        )
    if missing:
        raise InputError(f"{place} lacks {', '.join(missing)}: take them from examples/wordnet")
    queries = np.load(place / "queries_f16.npy", allow_pickle=False).astype(np.float32)
    texts = [query["text"] for query in json.loads((place / "queries.json").read_text("utf-8"))]
    if not len(queries) or len(queries) != len(texts):
        raise InputError(f"{place}: {len(queries)} query vectors for {len(texts)} query texts")
    return DemoData(place, queries, texts)


def fill(collection: Collection, data: DemoData) -> None:
    """Store the definitions with their documents and metadata."""
    wanted = Wanted(ids="id", documents="text", metadata=("all",))
    items = data.folder / "items.jsonl.gz"
    source = open_import(data.folder / "vectors_f16.npy", wanted, items)
    with closing(source), progress("storing definitions") as advance:

        def report(rows: int) -> None:
            advance(rows, source.total(rows))

        store(collection, source.batches(2048), Tally(), progress=report)


def dimensions(data: DemoData) -> int:
    """Return how wide the vectors are."""
    return int(data.queries.shape[1])

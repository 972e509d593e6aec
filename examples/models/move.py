"""A collection moves to another embedding model while it is in use, and back.

    python examples/models/move.py

The two models count letters and pairs of letters, so that nothing has to be downloaded; with
sentence-transformers installed, a name such as "sentence-transformers/all-MiniLM-L6-v2" stands in
the place of each.
"""

from __future__ import annotations

import tempfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import requant

TEXTS = {
    "n-1": "Qubits forget their state when they touch the world.",
    "n-2": "An error correcting code keeps a qubit for longer.",
    "n-3": "Bread rises while the yeast eats sugar.",
    "n-4": "Sourdough takes a day, and tastes of it.",
}


def counting(length: int, dim: int) -> Callable[[Sequence[str]], NDArray[np.float32]]:
    """A model that counts runs of so many letters."""

    def encode(texts: Sequence[str]) -> NDArray[np.float32]:
        rows = np.zeros((len(texts), dim), np.float32)
        for row, text in zip(rows, texts, strict=True):
            for start in range(len(text) - length + 1):
                row[zlib.crc32(text[start : start + length].lower().encode()) % dim] += 1
        return rows

    return encode


def load(name: str) -> Callable[[Sequence[str]], NDArray[np.float32]]:
    """Return the model that a name stands for: in a package this is its entry point."""
    return counting(1, 64) if name == "counting/letters" else counting(3, 512)


def main() -> None:
    """Fill, compare, move, go back."""
    requant.register_model("counting", load)
    with tempfile.TemporaryDirectory() as folder, requant.open(Path(folder) / "notes.db") as db:
        notes = db.create_collection("notes", dim=64, model="counting/letters")
        notes.upsert_texts(list(TEXTS), list(TEXTS.values()))
        try:
            notes.search_text("qubit", model="counting/triples")
        except requant.OtherModelError as error:
            print(f"refused: {error}\n")

        plan = notes.plan_reembed("counting/triples")
        print(f"to embed: {plan.to_embed} documents, {plan.characters} characters")
        queries = {"how a qubit loses its state": ["n-1"], "yeast and bread": ["n-3"]}
        report = notes.reembed(
            "counting/triples",
            switch=False,
            queries=list(queries),
            relevant=list(queries.values()),
            k=1,
        )
        print(f"found before: {report.relevance_before}, after: {report.relevance_after}")
        notes.upsert_texts(["n-5"], ["Written meanwhile, by the model in use."])

        print(f"{notes.reembed('counting/triples').state}: {notes.dim} dimensions, {notes.model}")
        print(notes.search_text("written meanwhile", k=1)[0].document)
        print(f"back to {notes.rollback_reembed()}: {notes.dim} dimensions")


if __name__ == "__main__":
    main()

"""Collections that move from a cheap model to another, or to the real one; in processes, too."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np

import requant
from tests import minilm

ITEMS = Path(__file__).parents[1] / "examples" / "wordnet" / "items.jsonl.gz"


def hashed(dim, seed):
    """A function from texts to vectors that differ from text to text, and from model to model."""

    def encode(texts):
        rows = [
            np.random.default_rng([seed, *text.encode()]).standard_normal(dim) for text in texts
        ]
        return np.array(rows, np.float32).reshape(len(texts), dim)

    return encode


OLD = requant.Model("acme/old", hashed(16, 1))
NEW = requant.Model("acme/new", hashed(24, 2), "r2")
REAL = requant.Model(minilm.NAME, minilm.encode)


def definitions(n):
    """Definitions of WordNet."""
    with gzip.open(ITEMS, "rt", encoding="utf-8") as lines:
        return [json.loads(line)["text"] for line, _ in zip(lines, range(n), strict=False)]


def filled(db, n=60, **options):
    """A collection of definitions by the old model."""
    notes = db.create_collection("notes", 16, **options)
    notes.upsert_texts(
        range(n), definitions(n), OLD, metadata=[{"n": i, "even": i % 2 == 0} for i in range(n)]
    )
    return notes


def content(notes):
    """Everything of the items but their vectors."""
    return {item.id: (item.document, item.metadata) for item in notes.iter(vectors=False)}


def is_all_by(notes, model):
    """Whether every vector is, to the last bit, what the model makes of the document just now."""
    items = list(notes.iter())
    embedded = [item for item in items if item.document is not None]
    assert all(item.vector is None for item in items if item.document is None)
    fresh = model.encoder([item.document for item in embedded])
    return all(
        item.vector is not None and np.array_equal(item.vector, row)
        for item, row in zip(embedded, np.float32(fresh), strict=True)
    )


def move(target, folder, name, batch, sender):
    """Move a collection, and tell of each share; until somebody kills the process."""
    model = {one.name: one for one in (OLD, NEW, REAL)}[name]
    model.encoder(["warm"])
    with requant.open(target, folder=folder) as db:
        sender.send(0)
        report = db.collection("notes").reembed(
            model, batch=batch, progress=lambda done, _total: sender.send(done)
        )
        sender.send(report.state)


def look(target, folder, name, sender):
    """Tell whether a collection is by a model wholly."""
    model = {one.name: one for one in (OLD, NEW, REAL)}[name]
    with requant.open(target, folder=folder) as db:
        notes = db.collection("notes")
        sender.send((notes.model.name, is_all_by(notes, model), notes.verify(deep=True).problems))

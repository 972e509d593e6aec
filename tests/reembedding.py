"""Collections that move from a cheap model to another, or to the real one; in processes, too."""

from __future__ import annotations

import gzip
import json
import threading
import time
from functools import cache
from itertools import cycle, product
from pathlib import Path

import numpy as np

import requant
from requant.errors import UnknownCollectionError
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


class Searching:
    """A thread that searches both collections all the time, and tells by which model hits are.

    A hit's score tells: whatever is written meanwhile, it is that of its collection's own model.
    """

    def __init__(self, db, model, texts):
        self._db, self._model, self._texts = db, model, texts
        self._stop, self._thread = threading.Event(), threading.Thread(target=self._go_on)
        self.right, self._wrong = {OLD.name: 0, model.name: 0}, []
        self._direction = cache(self._embedded)

    def __enter__(self):
        self._thread.start()
        return self.right

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()
        assert self._wrong == []

    def _embedded(self, model, text):
        (row,) = np.float64(model.encoder([text]))
        return row / np.linalg.norm(row)

    def _go_on(self):
        for text, name in cycle(product(self._texts, ("notes", "notes.reembed"))):
            if self._stop.is_set():
                return
            try:
                self._ask(name, text)
            except UnknownCollectionError:  # not yet, or the switch
                pass
            except Exception as error:
                self._wrong.append(error)

    def _ask(self, name, text):
        notes = self._db.collection(name)
        model = OLD if notes.dim == 16 else self._model
        for hit in notes.search_text(text, 5, model=model):
            right = self._direction(model, text) @ self._direction(model, hit.document)
            if abs(hit.score - right) > 1e-5:
                self._wrong.append((name, model.name, hit))
            self.right[model.name] += 1


def move(target, folder, name, batch, pause, sender):
    """Move a collection, and tell of each share; until somebody kills the process."""

    def tell(done, _total):
        sender.send(done)
        time.sleep(pause)

    model = {one.name: one for one in (OLD, NEW, REAL)}[name]
    model.encoder(["warm"])
    with requant.open(target, folder=folder) as db:
        sender.send(0)
        report = db.collection("notes").reembed(model, batch=batch, progress=tell)
        sender.send(report.state)


def look(target, folder, name, sender):
    """Tell whether a collection is by a model wholly."""
    model = {one.name: one for one in (OLD, NEW, REAL)}[name]
    with requant.open(target, folder=folder) as db:
        notes = db.collection("notes")
        sender.send((notes.model.name, is_all_by(notes, model), notes.verify(deep=True).problems))

"""Power loss: a history recorded under the shim, cut anywhere, and what must be found then."""

from __future__ import annotations

import json
import random
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import requant
from requant.errors import IndexWarning, UnknownCollectionError
from tests.databases import expected, held, vectors
from tests.faults.disk import MARKED, Disk, Event, cuts, read_log
from tests.faults.tasks import start_child

DIM = 16
# Added to a mark whose commits are on the disk: an index was published, a database closed.
DURABLE = 1000
# What happens between opening and closing: batches by their number, and the rest by name.
HISTORY = [
    ["create", "1", "index", "2", "3", "flush", "4", "search", "5"],
    ["6", "search", "flush", "7"],
]
_BATCHES: dict[str, tuple[list[int], int | None]] = {
    "1": (list(range(60)), 1),
    "2": (list(range(50, 90)), 2),
    "3": (list(range(0, 90, 7)), None),
    "4": (list(range(30)), 4),
    "5": ([3, 200], 5),
    "6": (list(range(20, 120)), 6),
    "7": ([0, 1, 2], None),
}
Model = dict[int, Any]


def steps(what: str) -> tuple[list[int], int | None]:
    """Return the ids of a batch, and the seed of its vectors; None for a deletion."""
    return _BATCHES[what]


def states() -> list[Model | None]:
    """Return what is stored after 0, 1, 2, ... commits; None before there is a collection."""
    found: list[Model | None] = [None, {}]
    for ids, seed in _BATCHES.values():
        model = dict(found[-1] or {})
        if seed is None:
            for number in ids:
                model.pop(number, None)
        else:
            model.update(zip(ids, vectors(len(ids), DIM, seed), strict=True))
        found.append(model)
    return found


def record(shim: Path, root: Path, log: Path, index: dict[str, Any], **options: Any) -> list[Event]:
    """Let a child work at `root`, and return what it did to the disk."""
    root.mkdir(parents=True, exist_ok=True)
    arguments = [str(root / "notes.requant"), str(log), json.dumps(index), json.dumps(options)]
    child = start_child(shim, root, "tests.faults.recorder", *arguments)
    child.communicate(timeout=120)
    assert child.returncode == 0
    return read_log(log)


def lose_power(
    events: list[Event],
    root: Path,
    every: int,
    chances: int,
    durable: bool = False,
    first: int = 1,
) -> Iterator[str]:
    """Cut the history after every n-th event from the first, and check each image that is left.

    What is left by chance depends on the event alone, so that a long run can be gone on with.
    """
    seen = set()
    for number, disk in cuts(events, every):
        if number < first:
            continue
        rng = random.Random(number)
        marks = [event.inode for event in events[:number] if event.kind == MARKED]
        acknowledged = max((mark % DURABLE for mark in marks), default=0)
        kept = max((mark - DURABLE for mark in marks if mark >= DURABLE), default=0)
        kept = acknowledged if durable else kept
        for name, image, least in _images(disk, rng, chances, kept, acknowledged):
            what = image.digest(), least, acknowledged
            if what in seen:
                continue
            seen.add(what)
            image.put(root)
            try:
                check(root / "notes.requant", least, acknowledged)
            except BaseException as error:
                error.add_note(f"cut after event {number} of {len(events)}, {name}")
                raise
            yield f"event {number}, {name}"


def _images(disk: Disk, rng: random.Random, chances: int, kept: int, acknowledged: int) -> Any:
    yield "what was synced", disk.least(), kept
    yield "everything", disk.most(), acknowledged
    for number in range(chances):
        yield f"by chance {number}", disk.chance(rng), kept


def check(path: Path, least: int, acknowledged: int) -> None:
    """Assert that at least so many commits are there, whole, and that the indexes hold them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IndexWarning)
        with requant.open(path) as db:
            try:
                notes = db.collection("notes")
            except UnknownCollectionError:
                assert least == 0, f"{least} commits are gone"
                return
            found = {item.id: item.vector for item in notes.iter()}
            stages = [stage for stage, model in enumerate(states()) if _same(found, model)]
            assert stages, "what is stored was never stored"
            assert max(stages) >= least, f"commit {max(stages)} is found, {least} were durable"
            assert min(stages) <= acknowledged + 1
            report = notes.verify(deep=True)
            assert report.ok, report.problems
            assert held(notes) == expected(notes)
            notes.upsert([999], np.full((1, DIM), 3.0))
            for info in notes.indexes:
                assert notes.search(np.full(DIM, 3.0), k=1, index=info.name)[0].id == 999
    with requant.open(path) as db:
        assert db.collection("notes").verify(deep=True).ok


def _same(found: Model, model: Model | None) -> bool:
    return (
        model is not None
        and found.keys() == model.keys()
        and all(np.array_equal(found[key], model[key]) for key in found)
    )

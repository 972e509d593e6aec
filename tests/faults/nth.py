"""The n-th operation fails: what must hold afterwards, whichever it was."""

from __future__ import annotations

import errno
import itertools
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import requant
from requant.errors import IndexWarning
from requant.integration.export import export
from tests.databases import expected, held, vectors
from tests.faults.tasks import DIM, EVERY, FIRST, GROWING, MORE, Child, Task

# Errno, whether it stays, and the operations that it strikes.
FAULTS = [
    (errno.EIO, False, EVERY),
    (errno.EIO, True, EVERY),
    (errno.ENOSPC, False, GROWING),
    (errno.ENOSPC, True, GROWING),
]
FAISS = {"engine": "faiss", "precision": "int8"}
USEARCH = {"engine": "usearch", "precision": "binary", "index_type": "hnsw"}
LANCEDB = {"engine": "lancedb", "precision": "int8"}
QDRANT = {"engine": "qdrant", "precision": "binary"}
TARGETS = {"faiss": USEARCH, "usearch": FAISS, "lancedb": FAISS, "qdrant": FAISS}
WHATS = ["commit", "publish", "open", "migrate"]
FORMATS = ["parquet", "faiss", "usearch", "lancedb"]


def strike(child: Child, root: Path, task: Task, samples: int | None = None) -> Iterator[str]:
    """Let each operation fail in every way, or some of them in turn; yield what was struck."""
    total = run(child, root, task)["count"]
    assert total > 3, f"{task.what}: {total} operations seen"
    if samples is None:
        chosen = list(itertools.product(range(1, total + 1), FAULTS))
    else:
        spread = np.linspace(1, total, samples).astype(int).tolist()
        chosen = list(zip(spread, itertools.cycle(FAULTS), strict=False))
    for n, (number, for_ever, kinds) in chosen:
        struck = replace(task, n=n, errno=number, for_ever=for_ever, kinds=kinds)
        yield describe(struck)
        run(child, root, struck)


def describe(task: Task) -> str:
    """Name a fault, so that it can be repeated."""
    stays = "and all after" if task.for_ever else "once"
    name = f"{task.index['engine']} {task.what} {task.format}".strip()
    return f"{name}: operation {task.n} {stays}, {errno.errorcode.get(task.errno, 'no fault')}"


def run(child: Child, root: Path, task: Task) -> dict[str, Any]:
    """Run a task in a fresh folder, and check what is left there."""
    home = Path(tempfile.mkdtemp(dir=root))
    task = replace(task, home=str(home))
    told = child.run(task)
    try:
        check(task, told)
    except BaseException as error:
        error.add_note(f"{describe(task)}\nthe child told: {told.get('error')}\n{told}")
        raise
    shutil.rmtree(home)
    return told


def check(task: Task, told: dict[str, Any]) -> None:
    """Assert a clear error, nothing lost, and that the next run recovers."""
    assert told["status"] == 0, "the child was killed"
    assert told["clear"], "not an error of requant's"
    if not task.n:
        assert told["done"]
        assert told["error"] is None
    if task.what == "open" and told["done"]:
        exact = [hit_id for hit_id in nearest(vectors(1, DIM)[0], vectors(len(FIRST), DIM))]
        assert told["found"] == exact
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IndexWarning)
        check_database(task, told)
    with requant.open(task.path) as db:  # by now without a warning
        assert db.collection("notes").verify(deep=True).ok


def check_database(task: Task, told: dict[str, Any]) -> None:
    """Open the database as the next run does, and compare everything in it."""
    with requant.open(task.path) as db:
        notes = db.collection("notes")
        before = dict(zip(FIRST, vectors(len(FIRST), DIM), strict=True))
        after = before | dict(zip(MORE, vectors(len(MORE), DIM, 1), strict=True))
        found = {item.id: item.vector for item in notes.iter()}
        wanted = {"publish": [after], "commit": [after] if told["done"] else [before, after]}
        assert any(same(found, model) for model in wanted.get(task.what, [before]))
        report = notes.verify(deep=True)
        assert report.ok, report.problems
        assert held(notes) == expected(notes)
        names = [info.name for info in notes.indexes]
        assert names[0] == "one"
        if task.what == "migrate":
            if told["done"]:
                assert told["ok"]
                assert names == ["one", "two"]
            assert notes.migrate("two", tolerance=1, **task.target).ok
        if task.what == "export":
            check_export(task, notes)
        notes.upsert(["later"], np.full((1, DIM), 3.0))
        for info in notes.indexes:
            hits = notes.search(np.full(DIM, 3.0), k=1, index=info.name)
            assert hits[0].id == "later"
        notes.flush()


def check_export(task: Task, notes: Any) -> None:
    """Nothing half made is left, and the next export is whole."""
    rows = export(notes, task.export, format=task.format, overwrite=True).rows  # type: ignore[arg-type]
    assert rows == len(FIRST)
    left = [path.name for path in task.export.parent.rglob("*") if ".partial" in path.name]
    assert left == []


def same(found: dict[Any, Any], model: dict[int, Any]) -> bool:
    """Whether ids and vectors are the same."""
    return found.keys() == model.keys() and all(
        np.array_equal(found[key], model[key]) for key in model
    )


def nearest(query: Any, stored: Any) -> list[int]:
    """The three nearest by cosine."""
    unit = stored / np.linalg.norm(stored, axis=1, keepdims=True)
    return np.argsort(-(unit @ query))[:3].tolist()  # type: ignore[no-any-return]

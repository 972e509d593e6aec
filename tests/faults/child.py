"""Runs under the shim: does one thing to a database while the disk fails, and tells of it.

Reads one task a line (JSON) and forks for each, so that what takes long to import is imported once.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
import traceback
import warnings
from pathlib import Path
from typing import Any

import requant
import requant.database
from tests.databases import vectors
from tests.faults.tasks import DIM, FIRST, MORE, Task

shim = ctypes.CDLL(None)
shim.shim_arm.argtypes = (ctypes.c_long, ctypes.c_int, ctypes.c_int, ctypes.c_int)
shim.shim_disarm.restype = ctypes.c_long


def prepare(task: Task) -> None:
    """A database with an index that has been published, and something that it lacks."""
    with requant.open(task.path) as db:
        notes = db.create_collection("notes", DIM)
        notes.upsert(FIRST, vectors(len(FIRST), DIM), ["text"] * len(FIRST))
        notes.add_index("one", **task.index)
        if task.what == "publish":
            notes.upsert(MORE, vectors(len(MORE), DIM, 1))


def act(task: Task, told: dict[str, Any]) -> None:
    """Do what is tested; `told["done"]` is set once it has been acknowledged."""
    with requant.open(task.path) as db:
        notes = db.collection("notes")
        if task.what == "commit":
            notes.upsert(MORE, vectors(len(MORE), DIM, 1))
        elif task.what == "publish":
            notes.flush()
        elif task.what == "open":
            found = [hit.id for hit in notes.search(vectors(1, DIM)[0], k=3)]
            told["found"] = found
        elif task.what == "migrate":
            told["ok"] = notes.migrate("two", tolerance=1, **task.target).ok
        elif task.what == "export":
            from requant.integration.export import export

            told["rows"] = export(notes, task.export, format=task.format, overwrite=True).rows
        told["done"] = True


def failing(task: Task) -> dict[str, Any]:
    """Do it with a fault."""
    told: dict[str, Any] = {"done": False, "error": None, "clear": True}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        prepare(task)
        shim.shim_arm(task.n, task.errno, int(task.for_ever), task.kinds)
        try:
            act(task, told)
        except Exception as error:
            told["clear"] = isinstance(error, requant.RequantError)
            told["error"] = f"{type(error).__name__}: {error}"
            if not told["clear"]:
                told["error"] = traceback.format_exc()[-3000:]
        finally:
            told["fired"] = bool(shim.shim_fired())
            told["count"] = shim.shim_disarm()
    return told


def one(task: Task, out: int) -> None:
    """Run a task in this forked child, and write what it told."""
    try:
        answer = failing(task)
    except BaseException:
        answer = {"broken": traceback.format_exc()[-3000:]}
    os.write(out, json.dumps(answer).encode())
    os._exit(0)


def main() -> None:
    """Fork for each task."""
    if "files" in sys.argv:
        import faiss  # noqa: F401
        import usearch.index  # noqa: F401

        import requant.adapters.faiss
        import requant.adapters.usearch  # noqa: F401
    else:
        import pyarrow.dataset  # noqa: F401

        from tests import slow_imports  # noqa: F401
    for line in sys.stdin:
        task = Task(**json.loads(line))
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            one(task, write)
        os.close(write)
        with os.fdopen(read, "rb") as pipe:
            answer = json.loads(pipe.read() or b"{}")
        answer["status"] = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    main()

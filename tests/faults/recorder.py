"""Runs under the shim: works with a database, and notes in the log what was acknowledged when."""

from __future__ import annotations

import ctypes
import json
import sys

import requant
from tests.databases import vectors
from tests.faults.power import DIM, DURABLE, HISTORY, steps

shim = ctypes.CDLL(None)
shim.shim_mark.argtypes = (ctypes.c_long,)


def main() -> None:
    """Record one history."""
    path, log, index, options = sys.argv[1], sys.argv[2], *map(json.loads, sys.argv[3:5])
    shim.shim_record(log.encode())
    commits = 0
    for session in HISTORY:
        with requant.open(path, **options) as db:
            for what in session:
                notes = None if what == "create" else db.collection("notes")
                if what == "create":
                    db.create_collection("notes", DIM)
                elif what == "index":
                    notes.add_index("one", **index)
                elif what == "flush":
                    notes.flush()
                elif what == "search":
                    notes.search(vectors(1, DIM)[0])
                else:
                    ids, seed = steps(what)
                    if seed is None:
                        notes.delete(ids)
                    else:
                        notes.upsert(ids, vectors(len(ids), DIM, seed))
                commits += what not in ("index", "flush", "search")
                shim.shim_mark(commits + DURABLE * (what in ("index", "flush")))
        shim.shim_mark(commits + DURABLE)
    shim.shim_stop()


if __name__ == "__main__":
    main()

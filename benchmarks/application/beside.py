"""Two processes that read while one writes: how much of their throughput is left to them."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Mapping
from multiprocessing.synchronize import Barrier, Event

import numpy as np

from requant.collection import Collection
from requant.database import Database

ROWS, DIM, READERS = 20_000, 384, 2
SECONDS, TURNS = 4.0, 3

# Set before the processes are started, which are forked: an opener is no message to send.
_opened: dict[str, Callable[[], Database]] = {}


def _read(name: str, seed: int, ready: Barrier, stop: Event, told: multiprocessing.Queue) -> None:
    queries = np.random.default_rng(seed).standard_normal((256, DIM), np.float32)
    with _opened[name]() as db:
        notes = db.collection("notes")
        notes.search(queries[0])
        ready.wait()
        begun, cpu, n = time.perf_counter(), time.process_time(), 0
        while not stop.is_set():
            notes.search(queries[n % 256])
            n += 1
        seconds = time.perf_counter() - begun
        told.put(("read", n / seconds, (time.process_time() - cpu) / seconds))


def _write(name: str, ready: Barrier, stop: Event, told: multiprocessing.Queue, busy: bool) -> None:
    rows = np.random.default_rng(7).standard_normal((256, DIM), np.float32)
    with _opened[name]() as db:
        notes = db.collection("notes")
        ready.wait()
        begun, cpu, n = time.perf_counter(), time.process_time(), 0
        while not stop.is_set():
            if busy:  # as much of a core, and nothing of the database
                rows @ rows.T
            else:
                notes.upsert([n * 31 % ROWS], rows[n % 256 : n % 256 + 1], ["text"], [{"n": n}])
            n += 1
        seconds = time.perf_counter() - begun
        told.put(("write", n / seconds, (time.process_time() - cpu) / seconds))


def _together(name: str, third: str | None) -> dict[str, tuple[float, float]]:
    """Return calls a second and the share of a core of the readers, and of the third process."""
    context = multiprocessing.get_context("fork")
    count = READERS + (third is not None)
    ready, stop, told = context.Barrier(count + 1), context.Event(), context.Queue()
    processes = [
        context.Process(target=_read, args=(name, seed, ready, stop, told))
        for seed in range(READERS)
    ]
    if third is not None:
        given = (name, ready, stop, told, third == "busy")
        processes.append(context.Process(target=_write, args=given))
    for each in processes:
        each.start()
    ready.wait()
    time.sleep(SECONDS)
    stop.set()
    found = [told.get(timeout=60) for _ in processes]
    for each in processes:
        each.join()
    return {
        kind: (
            sum(rate for one, rate, _ in found if one == kind),
            sum(share for one, _, share in found if one == kind),
        )
        for kind in ("read", "write")
    }


def readers_beside_a_writer(
    opened: Mapping[str, Callable[[], Database]],
    fill: Callable[[Database, int, int], Collection],
) -> None:
    """Measure readers alone, beside a writer, and beside a process that only computes."""
    print(
        f"{READERS} processes search, one upserts a row a transaction; {ROWS:,} rows x {DIM}: "
        "searches a second (cores that the readers used), writes a second"
    )
    _opened.update(opened)
    for name, open_database in opened.items():
        with open_database() as db:
            fill(db, ROWS, DIM).flush()
        found: dict[str, list[dict[str, tuple[float, float]]]] = {}
        for _ in range(TURNS):
            for kind in ("alone", "busy", "writer"):
                third = None if kind == "alone" else kind
                found.setdefault(kind, []).append(_together(name, third))
        rates = {
            kind: float(np.median([each["read"][0] for each in found[kind]])) for kind in found
        }
        for kind, words in (
            ("alone", "alone"), ("busy", "beside a loop that only computes"),
            ("writer", "beside a writer"),
        ):  # fmt: skip
            cores = float(np.median([each["read"][1] for each in found[kind]]))
            writes = float(np.median([each["write"][0] for each in found[kind]]))
            told = f", {writes:6.0f} writes" if kind == "writer" else ""
            print(
                f"  {name:10}  {words:32}  {rates[kind]:7.0f}  ({cores:4.2f}){told}  "
                f"{rates[kind] / rates['alone']:5.0%}"
            )
    print("  at least 70 % of what they do alone")

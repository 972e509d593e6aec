"""Two processes that read while one writes: how much of their throughput is left to them.

What three busy processes leave to two on so few processors is shown by the same readers beside one
that only computes; what a write of another process costs any reader of the same database, by plain
SQLAlchemy readers that fetch as many vectors and items, and look at as much memory, beside the same
writer; and what is left where there is a processor to spare, by a writer that rests half the time.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Mapping
from multiprocessing.synchronize import Barrier, Event
from typing import Any

import numpy as np
import sqlalchemy as sa

from requant.collection import Collection
from requant.database import Database

ROWS, DIM, READERS = 20_000, 384, 2
SECONDS, TURNS = 3.0, 3
# What a search of requant's fetches, and what its first pass looks at: two bits a dimension.
CANDIDATES, HITS, CODE_BYTES = 40, 10, DIM // 4
# Others have had a collection of that name here before.
_FIRST_KEY = sa.text(
    "SELECT min(i.key) FROM requant_items AS i JOIN requant_collections AS c "
    "ON c.id = i.collection_id WHERE c.name = 'notes'"
)
BESIDE = {
    None: "alone",
    "busy": "beside a loop that only computes",
    "half": "beside a writer half of the time",
    "writer": "beside a writer",
}

# Set before the processes are started, which are forked: an opener is no message to send.
_opened: dict[str, Callable[[], Database]] = {}


def _search(db: Database, seed: int) -> Callable[[int], object]:
    queries = np.random.default_rng(seed).standard_normal((256, DIM), np.float32)
    notes = db.collection("notes")
    return lambda n: notes.search(queries[n % 256])


def _plain(db: Database, seed: int) -> Callable[[int], object]:
    """Fetch what a search fetches, by SQLAlchemy, and look at as much memory as it does."""
    rng = np.random.default_rng(seed)
    with db.engine.connect() as connection:
        first = connection.scalar(_FIRST_KEY)
    keys = first + rng.integers(0, ROWS, (256, CANDIDATES))
    codes = rng.standard_normal((ROWS, CODE_BYTES // 4), np.float32)
    query = rng.standard_normal(DIM, np.float32)
    some = sa.bindparam("keys", expanding=True)
    vectors = sa.text("SELECT vec FROM requant_vectors WHERE key IN :keys").bindparams(some)
    items = sa.text("SELECT * FROM requant_items WHERE key IN :keys").bindparams(some)
    state = sa.text("SELECT * FROM requant_collections")
    engine = sa.create_engine(db.engine.url)

    def read(n: int) -> object:
        chosen: list[Any] = keys[n % 256].tolist()
        with engine.connect() as connection:
            connection.execute(state).all()
            codes.max()  # by one thread, as a search
            rows = connection.execute(vectors, {"keys": chosen}).scalars().all()
            best = (np.frombuffer(b"".join(rows), np.float32).reshape(-1, DIM) @ query).max()
            return best, connection.execute(items, {"keys": chosen[:HITS]}).all()

    return read


READS = {"requant": _search, "SQLAlchemy": _plain}


def _read(
    name: str, which: str, seed: int, ready: Barrier, stop: Event, told: multiprocessing.Queue
) -> None:
    with _opened[name]() as db:
        read = READS[which](db, seed)
        read(0)
        ready.wait()
        begun, cpu, n = time.perf_counter(), time.process_time(), 0
        while not stop.is_set():
            read(n)
            n += 1
        seconds = time.perf_counter() - begun
        told.put(("read", n / seconds, (time.process_time() - cpu) / seconds))


def _third(name: str, kind: str, ready: Barrier, stop: Event, told: multiprocessing.Queue) -> None:
    rows = np.random.default_rng(7).standard_normal((256, DIM), np.float32)
    with _opened[name]() as db:
        notes = db.collection("notes")
        ready.wait()
        begun, cpu, n = time.perf_counter(), time.process_time(), 0
        while not stop.is_set():
            since = time.perf_counter()
            if kind == "busy":  # as much of a core, and nothing of the database
                np.sqrt(np.abs(rows))
            else:
                notes.upsert([n * 31 % ROWS], rows[n % 256 : n % 256 + 1], ["text"], [{"n": n}])
            if kind == "half":
                time.sleep(time.perf_counter() - since)
            n += 1
        seconds = time.perf_counter() - begun
        told.put(("write", n / seconds, (time.process_time() - cpu) / seconds))


def _together(name: str, which: str, third: str | None) -> dict[str, tuple[float, float]]:
    """Return calls a second and the share of a core of the readers, and of the third process."""
    context = multiprocessing.get_context("fork")
    count = READERS + (third is not None)
    ready, stop, told = context.Barrier(count + 1), context.Event(), context.Queue()
    processes = [
        context.Process(target=_read, args=(name, which, seed, ready, stop, told))
        for seed in range(READERS)
    ]
    if third is not None:
        processes.append(context.Process(target=_third, args=(name, third, ready, stop, told)))
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
    """Measure both kinds of readers alone, and beside each kind of a third process."""
    print(
        f"{READERS} processes read, one upserts a row a transaction; {ROWS:,} rows x {DIM}: reads "
        "a second, of what they are alone, and the same of a second on a processor of their own; "
        "writes a second"
    )
    _opened.update(opened)
    for name, open_database in opened.items():
        with open_database() as db:
            fill(db, ROWS, DIM).flush()
        found: dict[tuple[str, str | None], list[dict[str, tuple[float, float]]]] = {}
        for _ in range(TURNS):
            for which in READS:
                for third in BESIDE:
                    # What was written beside those before is not for these to follow.
                    with open_database() as db:
                        db.collection("notes").flush()
                    found.setdefault((which, third), []).append(_together(name, which, third))
        for which in READS:
            alone, alone_cpu = _rates(found[which, None])
            for third, words in BESIDE.items():
                rate, by_cpu = _rates(found[which, third])
                writes = float(np.median([each["write"][0] for each in found[which, third]]))
                told = f", {writes:5.0f} writes" if third in ("half", "writer") else ""
                print(
                    f"  {name:10}  {which:10}  {words:32}  {rate:6.0f}  {rate / alone:5.0%}  "
                    f"{by_cpu / alone_cpu:5.0%}{told}",
                    flush=True,
                )
    print("  at least 70 % of what they do alone")


def _rates(turns: list[dict[str, tuple[float, float]]]) -> tuple[float, float]:
    """Return the medians of the reads a second, and of those a second of a processor's time."""
    reads = [each["read"] for each in turns]
    return (
        float(np.median([rate for rate, _ in reads])),
        float(np.median([rate / max(share, 1e-9) for rate, share in reads])),
    )

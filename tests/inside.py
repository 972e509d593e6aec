"""The one place where tests reach into what is private, so that it can be moved without them.

No other file of the tests touches a private attribute of the library: tests/test_private.py sees
to that. What stands here is what a user must not rely on and a test has to look at or to break.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import sqlalchemy as sa

import requant.adapters.files
import requant.indexes.following.catch_up
import requant.indexes.following.index
import requant.indexes.following.publishing
from requant.adapters.guards import EngineGuard
from requant.adapters.keys import KeyColumn
from requant.adapters.protocol import Backend
from requant.collection import Collection
from requant.database import Database
from requant.indexes import index_config, memory, sample
from requant.indexes.following.newest import Newest
from requant.indexes.loaded import Loaded as Loaded
from requant.indexes.location import notes
from requant.indexes.location.bond import Bond
from requant.indexes.location.live import LiveLocation
from requant.indexes.screening import ScreenedRows as ScreenedRows
from requant.integration.doors import Door
from requant.integration.locations import _key, _shared
from requant.metrics import Meter
from requant.scores import normalise as normalise
from requant.search import Search
from requant.search.scanning import candidates, threads
from requant.store import (
    CollectionRow,
    CollectionState,
    Identity,
    Reader,
    ledger,
    locations,
    migrations,
)
from requant.store.contents import loading
from requant.store.history import Beside, Turns
from requant.store.records import pruning
from requant.store.snapshots import Reading

# For `monkeypatch.setattr`, so that little data is enough to come to what usually much comes to.
FEW = "requant.search.search.FEW"
LOG_ROWS = "requant.store.history.change_log._LOG_ROWS"
EXACT_SCAN = "requant.search.search.Search._exact"
REFINED_SHARE = "requant.search.search.REFINED_SHARE"
BATCH_BYTES = "requant.quantizers.chunks.BATCH_BYTES"
NOTED_JUST_NOW = "requant.store.history.beside._JUST_NOW"
TEXT_ITEMS = "requant.store.text.building._MOST_ITEMS"
LANGCHAIN_BATCH = "requant.integration.existing._BATCH"
LOOK_SECONDS = "requant.search.shadow._LOOK_SECONDS"
FIELD_BATCH = "requant.store.fields.building._BATCH"
MATCHING = "requant.store.reader.Reader.matching"
MANY_ITEMS = "requant.indexes.index_set._MANY"
SETTLED_PATIENCE = "requant.store.contents.one_state._PATIENCE"
OFTEN_LENT = "requant.store.contents.writing._OFTEN_LENT"
FRESH_WRITES = "requant.store.history.fresh._WRITES"
FURTHER_SECONDS = "requant.indexes.following.index._FURTHER_SECONDS"
SHARE_SECONDS = "requant.indexes.following.share.SECONDS"
SHARE_OF_READING = "requant.indexes.following.share._OF_READING"
SHARE_NOW = "requant.indexes.following.share._now"
SHARE_LEAST_LIVE = "requant.indexes.following.share._LEAST_LIVE"
NEARBY_FLOATS = "requant.indexes.nearby.MOST_FLOATS"
RETIRED_AGE = "requant.indexes.following.retired.AGE"
REFIT_SECONDS = "requant.indexes.following.refit._SECONDS"
REFIT_ENOUGH = "requant.indexes.following.refit.ENOUGH_ROWS"
PUBLISH_ROWS = "requant.indexes.following.index.PUBLISH_ROWS"
SEARCH_PUBLISH_ROWS = "requant.indexes.following.index.SEARCH_PUBLISH_ROWS"
COPIES = "requant.store.contents.items.copies"
COPIES_VALUES = "requant.store.fields.upkeep.copies"
COPY_BYTES = "requant.store.contents.loading._BYTES"
COPY_ITEMS = "requant.store.contents.loading._ITEMS"
SIMILARITY_ROWS = "requant.embeddings.similarities._ROWS"
LANCEDB_LONGEST_LIST = "requant.adapters.lancedb.search._LONGEST_LIST"
LANCEDB_MOST_MORE = "requant.adapters.lancedb.search._MOST_MORE"
LANCEDB_ROOM = "requant.adapters.lancedb.upkeep._ROOM"
QDRANT_LATE = "requant.adapters.qdrant.points._LATE"
QDRANT_VALUES = "requant.adapters.qdrant.points._VALUES"

QDRANT_FIRST_PAUSE = "requant.adapters.qdrant.retry._FIRST_PAUSE"
USEARCH_TRY = "requant.adapters.usearch.probe._try"
QDRANT_READER_RETRIES = "requant.integration.readers.foreign.qdrant_server._RETRIES"
LANCEDB_READER_PAGE = "requant.integration.readers.foreign.lancedb_tables._PAGE"
ST_RESCORE_FLOATS = "requant.integration.sentence_transformers.search._RESCORE_FLOATS"
ST_ASK_BYTES = "requant.integration.sentence_transformers.search._ASK_BYTES"

# A copy that has the machine, the path and the inode of the original, as far as one can see.
NEVER_A_COPY = ("requant.store.records.identity._is_copy", lambda *_: False)
# Ask a place with each search whose it is, instead of now and then.
ASK_AT_ONCE = ("requant.indexes.location.bond.ASK_EVERY", 0.0)
# What is done while the first writer waits for a clone of its database.
WAIT_FOR_CLONES = "requant.indexes.location.bond._sleep"
# Everybody is let in to write to a live index, at once.
NO_LOCK = ("requant.indexes.location.write_lock.WriteLock._acquire", lambda *_: True)


# Databases


def identity_of(db: Database) -> Identity:
    """Return whose the database is."""
    return db._workspace.identity


def folder_of(db: Database) -> Path:
    """Return where the index files of all collections are kept."""
    return db._folder


def index_folder(collection: Collection) -> Path:
    """Return the same folder, asked of a collection."""
    return collection._workspace.folder


def orphans(db: Database) -> list[Any]:
    """Return the places of live indexes that are to be removed still."""
    return locations.orphans(db._store)


def place_names(db: Database, number: int) -> Any:
    """Return the places that are noted for an index, by its number."""
    return locations.names(db._store, number)


def newest_place(db: Database) -> str:
    """Return the file or place of the generation that was recorded last."""
    g = db._store.tables.generations.c
    with db._store.connected() as connection:
        latest = sa.select(g.file).order_by(g.index_id.desc(), g.generation.desc()).limit(1)
        return str(connection.scalar(latest))


def connected(collection: Collection) -> AbstractContextManager[sa.Connection]:
    """Return a connection that the collection itself reads by."""
    return collection._store.connected()


def beside(db: Database) -> sa.Engine:
    """Return the engine of what a thread needs while it holds a connection of an application."""
    return db._store._beside


# Indexes


def index_of(collection: Collection, name: str) -> Any:
    """Return what makes an index follow the store."""
    return collection._indexes._follow(collection._indexes._named(name))


def loaded_of(collection: Collection, name: str) -> Loaded:
    """Return an index as it is in use at this moment, not caught up."""
    loaded = index_of(collection, name)._loaded
    assert loaded is not None, f"index {name!r} is not in use"
    return loaded


def rows_kept(nearby: Any) -> int:
    """Return how many vectors that an index lacks are in memory."""
    known = nearby._at_hand
    return 0 if known is None else sum(len(part.keys) for part in known.parts)


def retired(collection: Collection, name: str) -> set[str]:
    """Return the places of builds that others have replaced, as far as they are open."""
    places: set[str] = index_of(collection, name)._old.names()
    return places


def idle_readers(db: Database) -> int:
    """Return how many readers are kept, each with its connection."""
    return len(db._store._snapshots._idle)


def is_in_use(collection: Collection, name: str) -> bool:
    """Whether an index is in memory."""
    return index_of(collection, name)._loaded is not None


def row_of(collection: Collection) -> CollectionRow:
    """Return what never changes about a collection."""
    return collection._row


def sample_of(collection: Collection) -> Any:
    """Return the rows that a quantizer would learn from."""
    with collection._store.reading() as reader:
        return sample(reader, collection._row, reader.state_of(collection._row))


def state_of(collection: Collection) -> CollectionState:
    """Return how far a collection has been written."""
    with collection._store.reading() as reader:
        return reader.state_of(collection._row)


@contextmanager
def snapshot(collection: Collection) -> Iterator[tuple[Reader, CollectionState]]:
    """Hold a snapshot, as a slow search does."""
    with collection._store.reading() as reader:
        yield reader, reader.state_of(collection._row)


def is_followed(collection: Collection) -> bool:
    """Whether a closed collection takes another step all the same."""
    return bool(list(collection.follow()))


def share_of(db: Database) -> AbstractContextManager[bool]:
    """Keep the thread of `keep_up` in the midst of a share, as a long build does."""
    assert db._keep_up is not None
    return db._keep_up.share


def is_read(db: Database) -> bool:
    """Whether a thread of this process is inside the store just now."""
    return bool(db._store.gate._inside)


def taken_by_this_thread(db: Database) -> int:
    """Return how many of a SQLite engine's connections this thread is thought to have."""
    assert db._store._taken is not None
    return len(db._store._taken._local.here)


def before_following(monkeypatch: Any, act: Any) -> None:
    """Call `act()` whenever an index is about to be brought up to date."""
    follow = requant.indexes.following.index.follow_some

    def acting(*arguments: Any) -> Any:
        act()
        return follow(*arguments)

    monkeypatch.setattr(requant.indexes.following.index, "follow_some", acting)


def backend_of(collection: Collection, name: str = "main") -> Backend:
    """Return what holds the codes of an index in use."""
    return loaded_of(collection, name).backend


def every_loaded(collection: Collection) -> dict[str, Loaded | None]:
    """Return all indexes by name, caught up; None for one that has nothing to hold yet."""
    collection._store.number(collection._row.id, wait=True)
    with collection._store.reading() as reader:
        return collection._indexes.every(reader, reader.state_of(collection._row))


def number(db: Database) -> None:
    """Give a number to all that PostgreSQL's writers have committed."""
    for name in db.collections():
        db._store.number(db.collection(name)._row.id, wait=True)


def stop_numbering(collection: Collection) -> None:
    """Let nobody here give numbers, as if another had the row of the collection all the time."""
    collection._store.number = lambda *_args, **_options: None  # type: ignore[method-assign]


def go_on_numbering(collection: Collection) -> None:
    """Let numbers be given again."""
    del collection._store.number  # type: ignore[method-assign]


def write_after_numbering(monkeypatch: Any, collection: Collection, write: Any) -> None:
    """Call `write()` each time that numbers have been given, before anything else is done."""
    store, within = collection._store, list[int]()
    number = store.number

    def numbered_and_written_to(*arguments: Any, **options: Any) -> int | None:
        found = number(*arguments, **options)
        if not within:
            within.append(1)
            write()
            within.pop()
        return found

    monkeypatch.setattr(store, "number", numbered_and_written_to)


def latest_number(collection: Collection) -> int:
    """Return the number of the latest write that has one."""
    with collection._store.reading() as reader:
        return reader.state_of(collection._row).seq


def pinned(collection: Collection) -> AbstractContextManager[None]:
    """Keep the indexes from moving on until the end of the block, as a slow writer does."""
    return collection._indexes.pinned()


def how_many_follow(collection: Collection) -> int:
    """Return how many indexes the collection has at hand."""
    return len(collection._indexes._following)


def record_index(collection: Collection, name: str, **index: Any) -> None:
    """Note an index without building it: what `add_index` begins with."""
    ledger.add(collection._store, collection._row.id, name, index_config(**index))


def forget_index(collection: Collection, name: str) -> None:
    """Forget it again: what `drop_index` begins with."""
    store, row = collection._store, collection._row
    ledger.drop(store, ledger.find(store, row.id, name))


def interrupt_a_turn(monkeypatch: Any, error: Any) -> None:
    """Raise once, when a turn has been taken and its run is about to be noted.

    Where writers stand beside one another: when one has joined them, and perhaps left its note.
    """
    done = list[int]()

    def interrupt(owner: Any, name: str) -> None:
        go_on = getattr(owner, name)

        def interrupted(self: Any, *arguments: Any) -> None:
            if not done:
                done.append(1)
                raise error
            go_on(self, *arguments)

        monkeypatch.setattr(owner, name, interrupted)

    interrupt(Turns, "_begin")
    interrupt(Beside, "_joined")


def close_indexes(collection: Collection) -> None:
    """Let go of the indexes, and publish them, while the collection stays open."""
    collection._indexes.close()


def published_files(db: Database, collection: Collection) -> list[Path]:
    """Return the files of the only index of a collection, the newest first."""
    (row,) = ledger.every(db._store, collection._row.id)
    folder = db._folder / str(row.id)
    return [folder / generation.file for generation, _ in ledger.generations(db._store, row.id)]


def build_in_small_steps() -> None:
    """Let this process read and publish so little at a time that it can be killed in between."""
    requant.indexes.following.publishing.PART_ROWS, requant.indexes.following.catch_up._BATCH = (
        3000,
        2000,
    )
    requant.indexes.following.catch_up._LIVE_BYTES = 0


def before_the_log_is_pruned(monkeypatch: Any, act: Any) -> None:
    """Call `act()` whenever a publication is about to prune the change log."""
    prune = pruning.prune_log

    def acting(*arguments: Any) -> None:
        act()
        prune(*arguments)

    monkeypatch.setattr(pruning, "prune_log", acting)


def before_a_generation_is_opened(monkeypatch: Any, act: Any) -> None:
    """Call `act()` whenever the file of an index is about to be opened."""
    opened = Newest._opened

    def acting(self: Newest, *arguments: Any) -> Any:
        act()
        return opened(self, *arguments)

    monkeypatch.setattr(Newest, "_opened", acting)


def before_a_switch(monkeypatch: Any, act: Any) -> None:
    """Call `act()` when another index is about to be used, in the last moment before."""
    done: list[int] = []

    def first(call: Any) -> Any:
        def acting(*arguments: Any) -> None:
            if not done:
                done.append(1)
                act()
            call(*arguments)

        return acting

    for module, name in ((ledger, "use"), (migrations, "switch"), (migrations, "roll_back")):
        monkeypatch.setattr(module, name, first(getattr(module, name)))


def within_a_turn(monkeypatch: Any, moment: str, act: Any) -> None:
    """Call `act()` once, before or after this process has begun to write to a live index."""
    method = {"before it writes": "announce", "between two batches": "check_turn"}.get(
        moment, "advance"
    )
    done: list[int] = []
    owner: Any = locations if method == "announce" else Bond
    call = getattr(owner, method)
    if method == "check_turn":
        monkeypatch.setattr(requant.indexes.following.catch_up, "_BATCH", 40)

    def acting(*arguments: Any) -> Any:
        if not done:
            done.append(1)
            act()
        return call(*arguments)

    monkeypatch.setattr(owner, method, acting)


def before_it_is_durable(monkeypatch: Any, act: Any) -> None:
    """Call `act()` once, when the file or place of an index is about to be made durable."""
    done: list[int] = []

    def first(call: Any) -> Any:
        def acting(*arguments: Any) -> Any:
            if not done:
                done.append(1)
                act()
            return call(*arguments)

        return acting

    files = requant.adapters.files
    monkeypatch.setattr(files, "digest_of", first(files.digest_of))
    monkeypatch.setattr(LiveLocation, "write", first(LiveLocation.write))


def before_a_note_is_written(monkeypatch: Any, act: Any) -> None:
    """Call `act()` once, when a place has been looked at and is about to get its note."""
    write, done = notes.write, []

    def acting(*arguments: Any) -> None:
        if not done:
            done.append(1)
            act()
        write(*arguments)

    monkeypatch.setattr(notes, "write", acting)


def overwrite_note(collection: Collection, name: str) -> None:
    """Write the note of a turn that this process's clone has begun at the same moment."""
    backend = loaded_of(collection, name).backend
    note = notes.read(backend)
    assert note is not None
    notes.write(backend, replace(note, token="0" * 16))


def interrupt_a_copy(monkeypatch: Any, rows: int, dim: int, at: int, error: Any) -> list[int]:
    """Send so many vectors at a time, and raise before the part `at`; returns what is sent."""
    made, parts = loading._binary, list[int]()

    def interrupted(keys: Any, floats: Any) -> bytes:
        if len(parts) == at:
            raise error
        parts.append(len(keys))
        return made(keys, floats)

    monkeypatch.setattr(loading, "_binary", interrupted)
    monkeypatch.setattr(COPY_BYTES, rows * dim * 4)
    return parts


def look_at_shadow(collection: Collection) -> None:
    """Ask now whether there is a shadow, instead of within seconds."""
    collection._searcher.shadow.look()


def tell_searches(monkeypatch: Any, told: Any) -> None:
    """Call `told(loaded)` with the index that each search asks; None for an exact one."""
    run = Search.run

    def telling(self: Search) -> Any:
        told(self._loaded)
        return run(self)

    monkeypatch.setattr(Search, "run", telling)


# Adapters


def structure_of(backend: Any) -> Any:
    """Return the FAISS index of a backend, with what is known of its dead rows."""
    return backend._structure


def table_of(backend: Any) -> Any:
    """Return the table of a LanceDB backend."""
    return backend._structure.table


def guard_of(backend: Any) -> EngineGuard:
    """Return what refuses a backend to a forked child."""
    return backend._guard


def writing_of(backend: Any) -> Any:
    """Return what whoever writes to a backend is inside of."""
    return backend._writing


def shard_of(backend: Any) -> Any:
    """Return the shard of a Qdrant backend in a folder."""
    return backend._structure.connection._shard


def sorted_copy_of(column: KeyColumn) -> Any:
    """Return the sorted copy of a column of keys, None while it needs none."""
    return None if column._sorted is None else column._sorted._keys


def wake_with(guard: EngineGuard, monkeypatch: Any, wait: Any) -> None:
    """Let whoever waits for the guard do `wait()` instead."""
    monkeypatch.setattr(guard._changed, "wait", wait)


def as_if_forked(guard: EngineGuard, monkeypatch: Any) -> None:
    """Let the guard belong to another process than this one."""
    monkeypatch.setattr(guard, "_pid", guard._pid + 1)


def vector_reads(monkeypatch: Any) -> list[int]:
    """Return a list to which each fetch of vectors adds how many keys it asked for."""
    read: list[int] = []
    of_keys = Reader._of_keys

    def counting(self: Reader, statement: str, keys: list[int], **how: Any) -> Any:
        if statement in (self._sql.vectors, self._sql.joined):
            read.append(len(keys))
        return of_keys(self, statement, keys, **how)

    monkeypatch.setattr(Reader, "_of_keys", counting)
    return read


def reading(meter: Meter) -> AbstractContextManager[Any]:
    """Add up what was measured, for as long as the block lasts."""
    return meter._lock


def door_of(store: Any) -> Door:
    """What a framework's store stands on."""
    door: Door = store._door
    return door


def is_shared(path: Any) -> bool:
    """Whether stores of this process share the database at a path now."""
    return _key(path) in _shared


def let_threads_share(monkeypatch: Any, cores: int) -> None:
    """Let searches that take long be shared by so many threads, whatever the machine has."""
    monkeypatch.setattr(threads, "_SPARE", deque([None] * (cores - 1)))
    monkeypatch.setattr(candidates, "cores", lambda: cores)


def let_memory_be(monkeypatch: Any, most: int) -> None:
    """Let the collections of a database keep so many bytes of vectors."""
    monkeypatch.setattr(memory, "MOST_BYTES", most)


def kept_in_memory(collections: list[Collection]) -> list[bool]:
    """Tell of which collections the vectors are kept."""
    return [one._searcher._memory._nearby._at_hand is not None for one in collections]


def before_snapshots_beside(monkeypatch: Any, act: Callable[[], object]) -> None:
    """Have this done whenever a search is about to begin a snapshot for another thread."""
    begin = Reading._another

    def acted(reading: Reading) -> Reading:
        act()
        return begin(reading)

    monkeypatch.setattr(Reading, "_another", acted)

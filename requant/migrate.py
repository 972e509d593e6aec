"""Moving to another index: built beside the one in use, verified, switched to, and undone."""

from __future__ import annotations

import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from requant.adapters import making, registry
from requant.errors import ExistsError, InputError, RequantError, UnknownIndexError
from requant.feeding import Progress, sample
from requant.homes import Premises, on_disk
from requant.indexes import IndexSet
from requant.loaded import Loaded
from requant.planning import check_config, fit_quantizer, planned_spec
from requant.quantizers.arrays import Float32s
from requant.recall import recall_of
from requant.search import Found, Request, Search
from requant.store import ledger, migrations
from requant.store.ledger import IndexConfig, IndexRow
from requant.store.migrations import State
from requant.store.reader import CollectionState, Reader
from requant.store.schema import CollectionRow
from requant.verify import verify_collection

# Stored vectors that stand for queries where none are given.
QUERIES = 200
# Rows of the trial that a plan is reckoned from.
_TRIAL_ROWS = 2_000
_MOST_RESULTS = 1_000


@dataclass(frozen=True)
class MigrationPlan:
    """What a migration would do: `bytes` and `seconds` are reckoned from a trial of a few rows."""

    name: str
    rows: int
    carried: list[str]
    changed: list[str]
    dropped: list[str]
    bytes: int
    seconds: float | None


@dataclass(frozen=True)
class MigrationReport:
    """What a migration came to; `recall_before` is that of the index that was in use.

    It is None where that could not be asked.
    Recall is counted at `k`, over `queries` vectors `queries_from` "stored vectors" or "given".
    """

    name: str
    state: State
    items: int
    k: int
    queries: int
    queries_from: str
    recall_before: float | None
    recall_after: float
    checked: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong with the new index."""
        return not self.problems


@dataclass(frozen=True)
class MigrationInfo:
    """One migration: from which index to which, how it stands, and what its shadow has seen.

    `parity` is the share of the results of the index in use that the new one found as well, over
    `compared` results; None before the first.
    """

    name: str
    source: str | None
    state: State
    shadow: float
    compared: int
    parity: float | None


class Migrating:
    """What `Collection` does to move."""

    def __init__(self, premises: Premises, owner: CollectionRow, indexes: IndexSet) -> None:
        """Move `owner` between its indexes."""
        self._premises = premises
        self._store = premises.store
        self._owner = owner
        self._indexes = indexes

    def plan(self, name: str, config: IndexConfig) -> MigrationPlan:
        """Tell what would be carried, changed and dropped, and what it would cost."""
        check_config(config, self._premises.secrets, self._owner)
        with self._store.reading() as reader:
            state = reader.state_of(self._owner)
            rows = sample(reader, self._owner, state)
            count = reader.count(self._owner.id)
        known = {row.id: row for row in ledger.every(self._store, self._owner.id)}
        source = known[state.active].config if state.active is not None else None
        size, seconds = self._trial(config, rows, count)
        changed, dropped = _differences(source, config)
        kept = "ids, documents, metadata and float32 vectors stay in the store"
        carried = [f"{count:,} items: {kept}"]
        return MigrationPlan(name, count, carried, changed, dropped, size, seconds)

    def run(
        self,
        name: str,
        config: IndexConfig,
        queries: Float32s | None,
        k: int,
        tolerance: float,
        switch: bool,
        progress: Progress | None,
    ) -> MigrationReport:
        """Build or go on building, verify, and switch if nothing is wrong."""
        whole = isinstance(k, int) and not isinstance(k, bool)
        if not whole or not 1 <= k <= _MOST_RESULTS:
            raise InputError(f"k must be an integer from 1 to {_MOST_RESULTS}, not {k!r}")
        if not isinstance(tolerance, int | float) or not 0 <= tolerance <= 1:
            raise InputError(f"tolerance must be a share from 0 to 1, not {tolerance!r}")
        if queries is not None and not len(queries):
            raise InputError("queries must hold at least one vector")
        check_config(config, self._premises.secrets, self._owner)
        row = self._row(name, config)
        with self._store.reading() as reader:
            active = reader.state_of(self._owner).active
        migration = migrations.begin(
            self._store, self._owner.id, row, active if active != row.id else None
        )
        self._indexes.build(row, progress)
        report = self._verified(row, active, queries, k, tolerance)
        state: State = report.state
        if active == row.id:
            state = "switched"
        elif report.ok:
            migrations.note(self._store, migration, state, asdict(report))
            if switch:
                state = "switched"
                migrations.switch(self._store, self._owner.id, migration)
        return MigrationReport(**{**vars(report), "state": state})

    def rollback(self) -> str | None:
        """Go back to the index that was in use before the last switch; return its name.

        Raises UnknownIndexError if nothing was switched, or the old index has been dropped.
        """
        rows = migrations.every(self._store, self._owner.id)
        last = next((row for row in rows if row.state == "switched"), None)
        if last is None:
            raise UnknownIndexError(f"collection {self._owner.name!r} has not been migrated")
        names = self._names()
        if last.source is not None and last.source not in names:
            raise UnknownIndexError(
                f"the index that was in use before {names[last.index]!r} has been dropped: choose "
                "one with use_index"
            )
        migrations.roll_back(self._store, self._owner.id, last)
        return None if last.source is None else names[last.source]

    def shadow(self, name: str, share: float) -> None:
        """Let the index `name` answer a share of the searches as well; 0 ends it."""
        if not (isinstance(share, int | float) and 0 <= share <= 1):
            raise InputError(f"the share of searches must be from 0 to 1, not {share!r}")
        row = ledger.find(self._store, self._owner.id, name)
        for migration in migrations.every(self._store, self._owner.id):
            if migration.index == row.id:
                migrations.shadow(self._store, migration, float(share))
                return
        raise InputError(f"index {name!r} was not made by a migration: begin with migrate")

    def every(self) -> list[MigrationInfo]:
        """Return all migrations, the newest first."""
        names = self._names()
        return [
            MigrationInfo(
                names[row.index],
                None if row.source is None else names.get(row.source, "(dropped)"),
                row.state,
                row.shadow,
                row.wanted,
                row.found / row.wanted if row.wanted else None,
            )
            for row in migrations.every(self._store, self._owner.id)
        ]

    def _names(self) -> dict[int, str]:
        return {row.id: row.name for row in ledger.every(self._store, self._owner.id)}

    def _row(self, name: str, config: IndexConfig) -> IndexRow:
        """Return the row of the new index: a new one, or that of a run which was interrupted."""
        for row in ledger.every(self._store, self._owner.id):
            if row.name == name:
                if row.config == config:
                    return row
                raise ExistsError(
                    f"index {name!r} already exists and is another one ({row.config.engine} "
                    f"{row.config.precision}): choose another name"
                )
        return ledger.add(self._store, self._owner.id, name, config)

    def _verified(
        self,
        row: IndexRow,
        active: int | None,
        queries: Float32s | None,
        k: int,
        tolerance: float,
    ) -> MigrationReport:
        # No index but these two: an application may have many, of engines that take memory.
        both = {row.id} if active is None else {row.id, active}
        with self._indexes.pinned(both), self._store.reading() as reader:
            state = reader.state_of(self._owner)
            new = self._indexes.numbered(reader, state, row.id, wait=True)
            found = verify_collection(reader, self._owner, state, {row.name: new}, deep=False)
            asked = _queries(reader, self._owner, state) if queries is None else queries
            wanted = Search(reader, self._owner, state, None, Request(asked, k)).run()
            after = self._recall(reader, state, new, asked, k, wanted)
            before = after if active == row.id else None
            if active != row.id:
                try:
                    used = None
                    if active is not None:
                        used = self._indexes.numbered(reader, state, active, wait=True)
                    before = self._recall(reader, state, used, asked, k, wanted)
                except RequantError as error:
                    # That may be why it is left: the new index is all there is to look at.
                    found.checked.append(f"the index in use could not be asked: {error}")
            items = 0 if new is None else new.size
        problems = list(found.problems)
        if before is not None and after < before - tolerance:
            problems.append(
                f"recall@{k} falls from {before:.4f} to {after:.4f}, more than {tolerance:g}: "
                "use a finer precision, or allow more"
            )
        return MigrationReport(
            row.name,
            "building" if problems else "verified",
            items,
            k,
            len(asked),
            "stored vectors" if queries is None else "given",
            before,
            after,
            found.checked,
            problems,
        )

    def _recall(
        self,
        reader: Reader,
        state: CollectionState,
        loaded: Loaded | None,
        asked: Float32s,
        k: int,
        wanted: list[Found],
    ) -> float:
        answer = Search(reader, self._owner, state, loaded, Request(asked, k)).run()
        return recall_of(answer, wanted)

    def _trial(self, config: IndexConfig, rows: Float32s, count: int) -> tuple[int, float | None]:
        """Return bytes and seconds of an index of `count` items, from one of a few.

        From two sizes, since engines set some room aside whatever they hold. Of a server only the
        bytes of the codes are known.
        """
        few = rows[:: max(1, len(rows) // _TRIAL_ROWS)][:_TRIAL_ROWS]
        if len(few) < 2:
            return 0, 0.0
        quantizer = fit_quantizer(config, rows)
        if config.url is not None:
            return quantizer.spec.row_bytes * count, None
        spec = planned_spec(config, self._premises.secrets, self._owner.metric, quantizer, len(few))
        half = len(few) // 2
        sizes = []
        with tempfile.TemporaryDirectory(prefix="requant-trial-") as folder:
            where = Path(folder) / "index"
            start = time.perf_counter()
            engine = registry.load(config.engine)
            backend = making.create(engine, spec, str(where), sample=quantizer.encode(rows))
            for part in (slice(0, half), slice(half, len(few))):
                backend.upsert(np.arange(len(few))[part], quantizer.encode(few[part]))
                backend.flush(str(where))
                sizes.append(on_disk(where))
            seconds = time.perf_counter() - start
            backend.close()
        a_row = max((sizes[1] - sizes[0]) / (len(few) - half), quantizer.spec.row_bytes)
        size = max(sizes[1] - a_row * len(few), 0) + a_row * count
        return int(size), seconds * count / len(few)


def _queries(reader: Reader, owner: CollectionRow, state: CollectionState) -> Float32s:
    """Return stored vectors of the whole collection, to be asked for."""
    rows = sample(reader, owner, state)
    return rows[:: max(1, len(rows) // QUERIES)][:QUERIES]


def _differences(source: IndexConfig | None, target: IndexConfig) -> tuple[list[str], list[str]]:
    """Return what changes from one index to the other, and what of the first has no counterpart."""
    if source is None:
        return [f"searches were exact, and will ask {target.engine} {target.precision}"], []
    changed = [
        f"{what}: {old} becomes {new}"
        for what, old, new in (
            ("engine", source.engine, target.engine),
            ("precision", source.precision, target.precision),
            ("index type", source.index_type, target.index_type),
            ("place", source.url or "here", target.url or "here"),
        )
        if old != new
    ]
    lost = {**source.options, **source.params}
    given = {**target.options, **target.params}
    changed += [
        f"{name}: {lost[name]!r} becomes {given[name]!r}"
        for name in lost
        if name in given and lost[name] != given[name]
    ]
    dropped = [
        f"{name}={value!r} of {source.engine} {source.precision}: no counterpart was given"
        for name, value in lost.items()
        if name not in given
    ]
    abilities = {
        "filters pushed down into the engine": "key_sets",
        "candidates handed back with their codes": "codes",
    }
    old, new = (_support(config) for config in (source, target))
    dropped += [
        text
        for text, ability in abilities.items()
        if getattr(old, ability, False) and not getattr(new, ability, False)
    ]
    return changed, dropped


def _support(config: IndexConfig) -> Any:
    index_type: Any = config.index_type
    precision: Any = config.precision
    return registry.load(config.engine).capabilities.find(precision, index_type)

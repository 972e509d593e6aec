"""Moving to another index: built beside the one in use, verified, switched to, and undone."""

from __future__ import annotations

from dataclasses import asdict

from requant.errors import ExistsError, InputError, RequantError, UnknownIndexError
from requant.indexes import (
    IndexSet,
    Loaded,
    Progress,
    Workspace,
    check_config,
    sample,
)
from requant.migration.report import MigrationInfo, MigrationReport
from requant.quantizers.arrays import Float32s
from requant.search import Found, Request, Search, recall_of
from requant.store import (
    CollectionRow,
    CollectionState,
    IndexConfig,
    IndexRow,
    Reader,
    State,
    catalog,
    ledger,
    migrations,
)
from requant.verification import verify_collection

# Stored vectors that stand for queries where none are given.
QUERIES = 200
_MOST_RESULTS = 1_000


class Migrator:
    """What `Collection` does to move."""

    def __init__(self, workspace: Workspace, owner: CollectionRow, indexes: IndexSet) -> None:
        """Move `owner` between its indexes."""
        self._workspace = workspace
        self._store = workspace.store
        self._owner = owner
        self._indexes = indexes

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
        self._workspace.secrets.trust(config)
        check_config(config, self._workspace.secrets, self._owner)
        catalog.check_there(self._store, self._owner)  # before anything is noted
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
        catalog.check_there(self._store, self._owner)
        rows = migrations.every(self._store, self._owner.id)
        switched = [row for row in rows if row.state == "switched"]
        # Of an older version, which counted no switches, the newest migration.
        last = max(switched, key=lambda row: (row.turn, row.id), default=None)
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
        catalog.check_there(self._store, self._owner)
        row = ledger.find(self._store, self._owner.id, name)
        for migration in migrations.every(self._store, self._owner.id):
            if migration.index == row.id:
                migrations.shadow(self._store, migration, float(share))
                return
        raise InputError(f"index {name!r} was not made by a migration: begin with migrate")

    def every(self) -> list[MigrationInfo]:
        """Return all migrations, the newest first."""
        catalog.check_there(self._store, self._owner)
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
        self._store.number(self._owner.id, wait=True)
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


def _queries(reader: Reader, owner: CollectionRow, state: CollectionState) -> Float32s:
    """Return stored vectors of the whole collection, to be asked for."""
    rows = sample(reader, owner, state)
    return rows[:: max(1, len(rows) // QUERIES)][:QUERIES].copy()  # not the whole sample with it

"""What a session tells of its flushes: what it is about to write, and what it has written."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import sqlalchemy as sa
from sqlalchemy.orm import InstanceState, Mapper, Session
from sqlalchemy.orm.attributes import instance_state

from requant.integration.sqlalchemy.orm.embedding import embedded
from requant.integration.sqlalchemy.orm.held import held, let_go, saved
from requant.integration.sqlalchemy.orm.mapped import Mapped, has_changed
from requant.integration.sqlalchemy.orm.writing import Rows, write
from requant.quantizers.arrays import Float32s

if TYPE_CHECKING:
    from sqlalchemy.orm import UOWTransaction

_Where = tuple[Mapped, sa.Connection]


@dataclass
class Flush:
    """One flush of one session: vectors made before it, and the rows that it has written."""

    known: dict[Mapped, dict[str, Float32s]] = field(default_factory=dict)
    rows: dict[_Where, Rows] = field(default_factory=dict)
    states: dict[Mapped, list[InstanceState[Any]]] = field(default_factory=dict)
    # Those that had changed before the database made a value of it.
    changed: set[InstanceState[Any]] = field(default_factory=set)

    def of(self, mapped: Mapped, connection: sa.Connection) -> Rows:
        """Return what was written of a class through a connection."""
        found = self.rows.get((mapped, connection))
        if found is None:
            found = self.rows[mapped, connection] = Rows()
        return found


class Flushes:
    """The flushes that are under way, one a session."""

    def __init__(self, of: Callable[[type], list[Mapped]]) -> None:
        """Ask `of` which Vectors a class has."""
        self._of = of
        self._open: WeakKeyDictionary[Session, Flush] = WeakKeyDictionary()

    def before_flush(self, session: Session, _context: UOWTransaction, _some: Any) -> None:
        """Make vectors of the documents that are about to be written, many at once."""
        flush = self._open[session] = Flush()
        asked: dict[Mapped, list[tuple[str, str]]] = {}
        for instance in session.new:
            self._ask(asked, instance_state(instance), new=True)
        for instance in session.dirty:
            state = instance_state(instance)
            self._ask(asked, state, new=False)
            if any(mapped.is_changed(state) for mapped in self._of(state.class_)):
                flush.changed.add(state)
        for mapped, rows in asked.items():
            flush.known[mapped] = embedded(mapped, rows)

    def after_flush(self, session: Session, _context: UOWTransaction) -> None:
        """Write what has been flushed into the collections, in the same transaction."""
        flush = self._open.pop(session, None)
        if flush is None:
            return
        for (mapped, connection), rows in flush.rows.items():
            written = write(mapped, connection, rows, flush.known.get(mapped))
            for state in flush.states.get(mapped, ()):
                key = mapped.key_of(state)
                if key in written:
                    saved(state, mapped.name, written[key])

    def after_insert(
        self, mapper: Mapper[Any], connection: sa.Connection, state: InstanceState[Any]
    ) -> None:
        """Note a row that is new, or another one under the key of a deleted one."""
        for mapped, flush in self._here(mapper, state):
            rows, key = flush.of(mapped, connection), mapped.key_of(state)
            rows.new.add(key)
            found = held(state, mapped.name)
            if found is not None and found.given:
                rows.given[key] = found.vector
            flush.states.setdefault(mapped, []).append(state)

    def after_update(
        self, mapper: Mapper[Any], connection: sa.Connection, state: InstanceState[Any]
    ) -> None:
        """Note a row that has changed; this is told of rows that have not, too."""
        if state.key is None:  # it takes the row of one that was deleted
            self.after_insert(mapper, connection, state)
            return
        before = state.key[1][0]
        for mapped, flush in self._here(mapper, state):
            rows, key = flush.of(mapped, connection), mapped.key_of(state)
            found = held(state, mapped.name)
            if found is not None and found.unsaved:
                rows.given[key] = found.vector
            if key != before:
                rows.moved[before] = key
            elif state in flush.changed or mapped.is_changed(state):
                rows.changed.add(key)
            flush.states.setdefault(mapped, []).append(state)

    def after_delete(
        self, mapper: Mapper[Any], connection: sa.Connection, state: InstanceState[Any]
    ) -> None:
        """Note a row that is gone."""
        for mapped, flush in self._here(mapper, state):
            assert state.key is not None
            flush.of(mapped, connection).removed.add(state.key[1][0])

    def expire(self, state: InstanceState[Any], names: Iterable[str] | None) -> None:
        """Forget a vector with the columns of its row, or with its document."""
        for mapped in self._of(state.class_):
            if names is None:
                let_go(state, mapped.name)
            elif _is_read_with(mapped, names):
                _let_go_if_saved(state, mapped)

    def refresh(
        self, state: InstanceState[Any], _context: Any, names: Iterable[str] | None
    ) -> None:
        """Forget a vector whose row has been read again, by `populate_existing`, too."""
        for mapped in self._of(state.class_):
            if names is None or _is_read_with(mapped, names):
                _let_go_if_saved(state, mapped)

    def _here(self, mapper: Mapper[Any], state: InstanceState[Any]) -> list[tuple[Mapped, Flush]]:
        session = state.session
        flush = None if session is None else self._open.get(session)
        return [] if flush is None else [(one, flush) for one in self._of(mapper.class_)]

    def _ask(
        self,
        asked: dict[Mapped, list[tuple[str, str]]],
        state: InstanceState[Any],
        *,
        new: bool,
    ) -> None:
        for mapped in self._of(state.class_):
            document = mapped.vector.document
            if mapped.vector.embed is None or document is None:
                continue
            found = held(state, mapped.name)
            if found is not None and (found.given if new else found.unsaved):
                continue
            text = state.dict.get(document)
            # What the database makes is embedded once it is there.
            if isinstance(text, str) and (new or has_changed(state, document)):
                asked.setdefault(mapped, []).append((mapped.row_name(state), text))


def _is_read_with(mapped: Mapped, names: Iterable[str]) -> bool:
    """Whether the vector, which is made of the document, may be another when these are."""
    return mapped.vector.document is not None and mapped.vector.document in names


def _let_go_if_saved(state: InstanceState[Any], mapped: Mapped) -> None:
    found = held(state, mapped.name)
    if found is not None and not found.unsaved:
        let_go(state, mapped.name)

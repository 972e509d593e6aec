"""Statements that write many rows of a model: `insert()`, `update()`, `delete()` on a class.

Which rows a statement wrote is what it says itself, by RETURNING: rows that were selected before
might be others than those it meets, since other transactions commit in between.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapper, ORMExecuteState, Session

from requant.errors import UnsupportedError
from requant.integration.sqlalchemy.orm.held import let_go
from requant.integration.sqlalchemy.orm.mapped import Mapped, connection_of, in_session
from requant.integration.sqlalchemy.orm.writing import Rows, write
from requant.store import savepoint

# Rows that are written to the collection at a time, each with its vector in memory.
_AT_ONCE = 1000


class Bulk:
    """Follows the statements of sessions."""

    def __init__(self, every: Callable[[], list[Mapped]]) -> None:
        """Ask `every` what is bound."""
        self._every = every

    def do_orm_execute(self, state: ORMExecuteState) -> Any:
        """Run a statement that writes rows of a bound class, and write what it wrote."""
        if not (state.is_insert or state.is_update or state.is_delete):
            return None
        mapper = state.bind_mapper
        if mapper is None:
            return None
        concerned = [one for one in self._every() if _related(mapper, one.home)]
        if not concerned or not any(_matters(state, one, mapper) for one in concerned):
            return None
        name = _key_name(mapper)
        _refuse_new_keys(state, mapper, name)
        # Both or neither: whoever catches the error of a model may still commit.
        with savepoint(connection_of(state.session, concerned[0].home)):
            result, found = _run(state, mapper, name)
            keys = list(dict.fromkeys(found))
            try:
                for mapped in concerned:
                    _follow(state, mapped, keys)
            except BaseException:
                _take_back(state, concerned[0], keys)
                raise
        return result


def _run(state: ORMExecuteState, mapper: Mapper[Any], name: str) -> tuple[Any, list[Any]]:
    """Execute the statement; return its result, and the primary keys of the rows it wrote."""
    statement: Any = state.statement
    given = state.parameters
    if isinstance(given, list) and all(isinstance(one, dict) and name in one for one in given):
        return state.invoke_statement(), [one[name] for one in given]
    asked = len(statement._returning)  # an entity is one
    if not state.is_insert and not asked:
        if isinstance(given, list):
            raise UnsupportedError(
                f"{_what(state)} of {mapper.class_.__name__} with a list of values needs the "
                f"primary key {name!r} in each"
            )
        result: Any = state.invoke_statement(execution_options={"synchronize_session": "fetch"})
        return result, [row[0] for row in result.returned_defaults_rows or ()]
    if state.is_insert and not asked and given is None and _is_one_row(statement):
        result = state.invoke_statement()
        if result.inserted_primary_key is not None and result.inserted_primary_key[0] is not None:
            return result, [result.inserted_primary_key[0]]
        raise UnsupportedError(
            f"this insert() does not tell the primary key of the {mapper.class_.__name__} that it "
            f"wrote: add .returning({mapper.class_.__name__}.{name})"
        )
    key = mapper.attrs[name].class_attribute
    frozen = state.invoke_statement(statement=statement.returning(key)).freeze()
    keys = [row[-1] for row in frozen()]
    result = frozen()
    if asked:
        return result.columns(*range(asked)), keys
    result.close()
    result.rowcount = len(keys)
    return result, keys


def _follow(state: ORMExecuteState, mapped: Mapped, keys: Sequence[Any]) -> None:
    connection = connection_of(state.session, mapped.home)
    for start in range(0, len(keys), _AT_ONCE):
        part = set(keys[start : start + _AT_ONCE])
        if state.is_delete and _has_whole_rows(state.bind_mapper, mapped.home):
            rows = Rows(removed=part)
        elif state.is_insert and not _on_conflict(state.statement):
            rows = Rows(new=part)
        else:
            rows = Rows(changed=part)
        write(mapped, connection, rows)
        _forget(state.session, mapped, part)


def _has_whole_rows(mapper: Mapper[Any] | None, home: Mapper[Any]) -> bool:
    """Whether a DELETE of a class takes the whole row: a joined subclass's leaves the base's."""
    return mapper is not None and (mapper.local_table is home.local_table or home.isa(mapper))


def _take_back(state: ORMExecuteState, mapped: Mapped, keys: Iterable[Any]) -> None:
    """Let the session know no more of rows than before a statement that is taken back."""
    new = state.is_insert and not _on_conflict(state.statement)
    for key in keys:
        known = in_session(state.session, mapped, key)
        if known is not None:
            (state.session.expunge if new else state.session.expire)(known)


def _forget(session: Session, mapped: Mapped, keys: Iterable[Any]) -> None:
    for key in keys:
        known = in_session(session, mapped, key)
        if known is not None:
            let_go(sa.inspect(known), mapped.name)


def _related(mapper: Mapper[Any], home: Mapper[Any]) -> bool:
    return mapper.isa(home) or home.isa(mapper)


def _matters(state: ORMExecuteState, mapped: Mapped, mapper: Mapper[Any]) -> bool:
    """Whether a statement writes what the collection keeps; in doubt it does."""
    if not state.is_update:
        return True
    if isinstance(state.parameters, list):
        written = {name for one in state.parameters for name in one}
    else:
        written = _written(state.statement, mapper)
    kept = {mapped.key_name, *mapped.columns}
    return mapped.made_by_database or not written or bool(written & kept)


def _written(statement: Any, mapper: Mapper[Any]) -> set[str]:
    """Return the attributes that an UPDATE sets, as far as it tells."""
    names: set[str] = set()
    for attribute in ("_values", "_ordered_values"):  # the latter up to SQLAlchemy 2.0
        for column in dict(getattr(statement, attribute, None) or ()):
            known: Any = mapper.columns.get(column) if isinstance(column, str) else column
            try:
                names.add(mapper.get_property_by_column(known).key)
            except (sa.orm.exc.UnmappedColumnError, AttributeError):
                names.add(str(column))
    return names


def _refuse_new_keys(state: ORMExecuteState, mapper: Mapper[Any], name: str) -> None:
    if not state.is_update or isinstance(state.parameters, list):
        return
    if name in _written(state.statement, mapper):
        raise UnsupportedError(
            f"this update() changes primary keys of {mapper.class_.__name__}, and does not tell "
            f"which were which: assign {name} on objects, whose vectors then go with them"
        )


def _key_name(mapper: Mapper[Any]) -> str:
    return mapper.get_property_by_column(mapper.primary_key[0]).key


def _on_conflict(statement: Any) -> bool:
    return getattr(statement, "_post_values_clause", None) is not None


def _is_one_row(statement: Any) -> bool:
    """Whether an INSERT writes the row that it says, so that its result tells the primary key."""
    several = getattr(statement, "_multi_values", ()) or statement.select is not None
    return not several and not _on_conflict(statement)


def _what(state: ORMExecuteState) -> str:
    return "an update()" if state.is_update else "a delete()" if state.is_delete else "an insert()"

"""What is known of a Vector on one mapped class, once it is bound to a database."""

from __future__ import annotations

import datetime
import decimal
import enum
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import InstanceState, Mapper, Session
from sqlalchemy.orm.base import PASSIVE_NO_INITIALIZE

from requant.collection import Collection
from requant.errors import InputError

if TYPE_CHECKING:
    from requant.integration.sqlalchemy.orm.vector import Vector

Key = str | int | UUID
# What JSON has: nearly all values, and not worth a longer look.
_AS_THEY_ARE = frozenset({str, int, float, bool, type(None)})
_KINDS: dict[Any, type[Key]] = {str: str, int: int, UUID: UUID}


class Mapped:
    """A Vector on the class `home`, and the collection that keeps it."""

    def __init__(self, vector: Vector, home: Mapper[Any], collection: Collection) -> None:
        """Look at the class; raises InputError for what cannot be kept."""
        self.vector = vector
        self.name: str = vector.name
        self.home = home
        self.cls: type = home.class_
        self.collection = collection
        self.title: str = f"{self.cls.__name__}.{self.name}"
        self.key_name: str
        self.kind: type[Key]
        self.key_name, self.kind = _primary_key(home, self.title)
        for name in (vector.document, *vector.metadata):
            if name is not None and name not in home.column_attrs:
                raise InputError(f"{self.title}: {self.cls.__name__} has no column {name!r}")
        self.key: Any = getattr(self.cls, self.key_name)
        self.columns: list[str] = [
            name for name in (vector.document, *vector.metadata) if name is not None
        ]
        made = (column for name in self.columns for column in home.column_attrs[name].columns)
        self.made_by_database: bool = any(map(_is_made_by_database, made))

    def key_of(self, state: InstanceState[Any]) -> Any:
        """Return the primary key of an object; None while it has none."""
        if self.key_name in state.dict:
            return state.dict[self.key_name]
        return None if state.key is None else state.key[1][0]  # expired, and not changed since

    def row_name(self, state: InstanceState[Any]) -> str:
        """Name the row of an object."""
        key, name = self.key_of(state), state.class_.__name__
        return f"{name}({key!r}).{self.name}" if key is not None else f"a new {name}.{self.name}"

    def named(self, key: Any) -> str:
        """Name a row by its primary key."""
        return f"{self.cls.__name__}({key!r}).{self.name}"

    def as_key(self, item: object) -> Key | None:
        """Return the primary key that an id of the collection stands for; None if it is none."""
        if self.kind is str:
            return str(item)
        try:
            key = self.kind(str(item))
        except ValueError:
            return None
        return key if str(key) == str(item) else None

    def is_changed(self, state: InstanceState[Any]) -> bool:
        """Whether a write of this object may change what is kept of it."""
        return self.made_by_database or any(
            name not in state.dict or has_changed(state, name) for name in self.columns
        )

    def select(self) -> sa.Select[Any]:
        """Select the primary key, the document and the metadata of rows."""
        return self.rows(self.key, *(getattr(self.cls, name) for name in self.columns))

    def rows(self, *columns: Any) -> sa.Select[Any]:
        """Select of the rows that are kept here.

        A class whose subclasses have tables of their own selects these, too: their keys are others.
        """
        home, statement = self.home, sa.select(*columns)
        if home.concrete and home.with_polymorphic and home.polymorphic_on is not None:
            return statement.where(home.polymorphic_on == home.polymorphic_identity)
        return statement

    def item(self, row: Any) -> tuple[str | None, dict[str, Any]]:
        """Return the document and the metadata of a row that `select` has read."""
        if self.vector.document is None:
            return None, dict(zip(self.vector.metadata, map(plain, row[1:]), strict=True))
        document = row[1]
        if document is not None and not isinstance(document, str):
            kind = type(document).__name__
            raise InputError(
                f"{self.named(row[0])}: {self.vector.document} is a {kind}: a document is text"
            )
        return document, dict(zip(self.vector.metadata, map(plain, row[2:]), strict=True))


def has_changed(state: InstanceState[Any], name: str) -> bool:
    """Whether an object has another value in a column than the database."""
    # As `state.attrs[name].history`, which makes an object for each attribute and keeps them all.
    return state.get_history(name, PASSIVE_NO_INITIALIZE).has_changes()


def connection_of(session: Any, mapper: Mapper[Any]) -> sa.Connection:
    """Return the connection of a session's transaction; raises InputError where there is none."""
    connect = getattr(session, "connection", None)
    if not callable(connect) or not hasattr(session, "get_bind") or iscoroutinefunction(connect):
        raise InputError(
            f"a Session is needed, not {type(session).__name__}; asearch takes an AsyncSession, "
            "and all else await session.run_sync(...)"
        )
    try:
        connection: sa.Connection = connect(bind_arguments={"mapper": mapper})
    except sa.exc.SQLAlchemyError as error:
        if isinstance(error, sa.exc.DBAPIError):
            raise
        raise InputError(f"the session cannot be used: {error}") from error
    return connection


def identity(mapped: Mapped, key: Any) -> Any:
    """Return what a session knows a row by."""
    return mapped.home.identity_key_from_primary_key((key,))


def in_session(session: Session, mapped: Mapped, key: Any) -> Any:
    """Return the object that a session has of a row, without reading it."""
    return session.identity_map.get(identity(mapped, key))


def plain(value: Any) -> Any:
    """Return the value of a column as JSON has it; what it has not is left, and refused later.

    >>> plain(datetime.date(2024, 5, 1))
    '2024-05-01'
    """
    if type(value) in _AS_THEY_ARE:
        return value
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, UUID | decimal.Decimal):
        return str(value)
    if isinstance(value, enum.Enum):
        return value.value if isinstance(value.value, str | int) else value.name
    return value


def _primary_key(home: Mapper[Any], title: str) -> tuple[str, type[Key]]:
    columns = home.primary_key
    if len(columns) != 1:
        names = ", ".join(column.name for column in columns)
        raise InputError(
            f"{title}: the primary key of {home.class_.__name__} is composite ({names}), an id is "
            "one value: give the class a primary key of one column and make these unique"
        )
    stored = columns[0].type
    if isinstance(stored, sa.types.TypeDecorator):
        stored = stored.impl_instance
    try:
        kind = stored.python_type
    except NotImplementedError:
        kind = type(None)
    if kind not in _KINDS:
        raise InputError(
            f"{title}: the primary key {columns[0].name!r} is a {columns[0].type!r}: ids are text, "
            "integers or UUIDs"
        )
    return home.get_property_by_column(columns[0]).key, _KINDS[kind]


def _is_made_by_database(column: Any) -> bool:
    """Whether an UPDATE of other columns may change this one."""
    if not isinstance(column, sa.Column):
        return True
    makers = (column.onupdate, column.server_onupdate, column.computed)
    return any(made is not None for made in makers)

"""Models bound to a database: from then on, what their sessions write is kept in step."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlalchemy.orm import Mapper, Session, configure_mappers

from requant.collection import Collection
from requant.database import Database
from requant.errors import (
    CorruptIndexError,
    EngineError,
    EngineMissingError,
    InputError,
    UnknownCollectionError,
)
from requant.integration.sqlalchemy.orm.bulk import Bulk
from requant.integration.sqlalchemy.orm.listeners import Flushes
from requant.integration.sqlalchemy.orm.mapped import Mapped
from requant.integration.sqlalchemy.orm.vector import Vector, home_of, vectors_of

if TYPE_CHECKING:
    from requant.integration.sqlalchemy.aio import AsyncDatabase


def bind(db: Database | AsyncDatabase, models: Any, sessions: Any = None) -> Binding:
    """Keep the Vectors of models in `db`, in step with what sessions write.

    Args:
        db: the database, opened with the engine that the sessions use, or one to the same database;
            an AsyncDatabase, too.
        models: a declarative base (its classes that are mapped later, too), a mapped class, or a
            list of classes.
        sessions: whose flushes are followed: a sessionmaker, scoped_session, async_sessionmaker, a
            class of sessions, or one session; default: all sessions.

    Their collections are created where they are missing.

    Returns:
        What `unbind` undoes this with.

    Raises:
        InputError: a model that cannot be kept, by name; one that is bound already.
        ExistsError: a collection of that name has another dimension or metric.
    """
    found = getattr(db, "sync_database", db)
    if not isinstance(found, Database):
        raise InputError(f"bind takes what requant.open or aio.open returns first, not {db!r:.200}")
    return Binding(found, models, sessions)


class Binding:
    """Models and a database; made by `bind`."""

    def __init__(self, db: Database, models: Any, sessions: Any) -> None:
        """Listen from now on."""
        self._db = db
        self._wanted = _chosen(models)
        self._mapped: list[Mapped] = []
        self._by_class: dict[type, list[Mapped]] = {}
        self._listening: list[tuple[Any, str, Callable[..., Any]]] = []
        self._flushes = Flushes(self.of)
        target = _sessions(sessions)
        configure_mappers()
        try:
            self._look()
            if not self._mapped and not isinstance(models, type):
                raise InputError(f"bind: there is no Vector on {models!r:.200}")
            self._listen(Mapper, "after_configured", self._look)
            for name in ("before_flush", "after_flush"):
                self._listen(target, name, getattr(self._flushes, name))
            self._listen(target, "do_orm_execute", Bulk(lambda: self._mapped).do_orm_execute)
        except BaseException:
            self.unbind()
            raise

    def of(self, cls: type) -> list[Mapped]:
        """Return the Vectors of a class, those of the classes that it inherits from, too."""
        found = self._by_class.get(cls)
        if found is None:
            mine = {(one.vector, one.home): one for one in self._mapped}
            pairs = [(vector, home_of(cls, vector)) for vector in vectors_of(cls).values()]
            found = self._by_class[cls] = [mine[pair] for pair in pairs if pair in mine]
        return found

    def unbind(self) -> None:
        """Follow no session any more, and know no collection; what is stored stays."""
        for target, name, function in self._listening:
            sa.event.remove(target, name, function)
        self._listening = []
        for mapped in self._mapped:
            mapped.vector.homes.pop(mapped.home, None)
        self._mapped, self._by_class = [], {}

    def __repr__(self) -> str:
        """Show what is bound."""
        return f"<Binding: {', '.join(one.title for one in self._mapped) or 'nothing'}>"

    def _look(self) -> None:
        """Bind what is mapped by now."""
        for mapper in self._wanted():
            for vector in vectors_of(mapper.class_).values():
                home = home_of(mapper.class_, vector)
                assert home is not None
                known = vector.homes.get(home)
                if known is None:
                    self._bind(vector, home)
                elif known not in self._mapped:
                    raise InputError(
                        f"{known.title} is bound already, to collection "
                        f"{known.collection.name!r}: unbind() what bind returned then"
                    )

    def _bind(self, vector: Vector, home: Mapper[Any]) -> None:
        name = vector.collection_name(home)
        taken = next((one for one in self._mapped if one.collection.name == name), None)
        if taken is not None:
            raise InputError(
                f"{home.class_.__name__}.{vector.name} and {taken.title} share collection "
                f"{name!r}: ids of one would be those of the other; give each a collection= of "
                "its own"
            )
        collection = _collection(self._db, name, vector)
        mapped = Mapped(vector, home, collection)
        vector.homes[home] = mapped
        listening = any(one.home is home for one in self._mapped)
        self._mapped.append(mapped)
        self._by_class = {}
        if listening:
            return
        for event in ("after_insert", "after_update", "after_delete", "expire", "refresh"):
            self._listen(
                home.class_, event, getattr(self._flushes, event), propagate=True, raw=True
            )

    def _listen(self, target: Any, name: str, function: Callable[..., Any], **options: Any) -> None:
        sa.event.listen(target, name, function, **options)
        self._listening.append((target, name, function))


def _collection(db: Database, name: str, vector: Vector) -> Collection:
    """Return the collection of a Vector; created, or refused for what it is, if need be."""
    try:
        found = db.collection(name)
    except UnknownCollectionError:
        found = None
    if found is not None and (found.dim, found.metric) == (vector.dim, vector.metric):
        if found.published():
            # A session's searches use an index that is open, and open none: they have no
            # connection for it. Without it they are exact, and whoever searches plainly is told.
            with suppress(EngineError, EngineMissingError, CorruptIndexError):
                found.search(np.ones(found.dim), 1)
        return found  # nothing is written where all is there
    return db.create_collection(name, vector.dim, vector.metric, exist_ok=True)


def _chosen(models: Any) -> Callable[[], list[Mapper[Any]]]:
    """Return what tells the mappers of the models, those of a base as they are by then."""
    registry = getattr(models, "registry", None) or getattr(models, "_sa_registry", None)
    if isinstance(models, sa.orm.registry):
        registry = models
    if isinstance(models, type) and isinstance(sa.inspect(models, raiseerr=False), Mapper):
        return lambda: list(sa.inspect(models).self_and_descendants)
    if isinstance(registry, sa.orm.registry):
        return lambda: sorted(registry.mappers, key=lambda mapper: mapper.class_.__qualname__)
    if not isinstance(models, Iterable) or isinstance(models, str):
        raise InputError(f"bind takes a declarative base or mapped classes, not {models!r:.200}")
    chosen = [_chosen(model) for model in models]
    return lambda: list(dict.fromkeys(mapper for some in chosen for mapper in some()))


def _sessions(sessions: Any) -> Any:
    """Return what events of these sessions are listened for on."""
    if sessions is None:
        return Session
    if isinstance(getattr(sessions, "session_factory", None), async_sessionmaker):
        sessions = sessions.session_factory  # of an async_scoped_session
    if isinstance(sessions, async_sessionmaker):
        own = sessions.kw.get("sync_session_class")
        return own or sessions.class_.sync_session_class
    if isinstance(sessions, AsyncSession):
        return sessions.sync_session
    if isinstance(sessions, type) and issubclass(sessions, AsyncSession):
        return sessions.sync_session_class
    return sessions

"""Whose a database is: an identity of its own, and how a copy is told from the original.

Every database has a random identity, written when it is made, and beside it where it was found when
it was last opened: a SQLite file by machine, path and inode, a PostgreSQL database by the cluster's
system identifier and the database's number.

A SQLite file is the same database still if it stands where it stood (whatever was put there: a
backup that was restored in its place is the same database at an earlier time), or if it is the same
file under another path, or if it is elsewhere on the same machine and nothing of that identity
stands at the old path any more: it was moved. Anything else is a copy: a second file beside the
first, or another file on another machine. In PostgreSQL, a dump that was restored is a copy, and a
standby or a base backup is the original.

A copy gets an identity of its own and forgets the places that it shares with the original: those
that a URL names. It neither writes to them nor removes them. What cannot be told apart in this way
(a disk that was cloned with its machine, a snapshot of a whole cluster) is told by what stands in
the places themselves: see `requant.indexes.location`.
"""

from __future__ import annotations

import json
import os
import platform
import re
import sqlite3
import uuid
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeGuard

import sqlalchemy as sa

from requant.errors import CorruptDataError
from requant.store.engine import Store, insert_into
from requant.store.records import checked

_NAME = "identity"
_RANDOM = re.compile("[0-9a-f]{32}")
_MACHINE = Path("/etc/machine-id")

Home = Mapping[str, Any]


@dataclass(frozen=True)
class Identity:
    """The identity of a database, and those of the databases that it was copied from.

    `copied_from` says where the original stood, if the copy was told apart just now; `shared` how
    many places it no longer uses.
    """

    name: str
    ancestors: tuple[str, ...] = ()
    copied_from: str | None = None
    shared: int = 0

    def knows(self, name: str) -> bool:
        """Whether `name` is this database, or one that it was copied from."""
        return name == self.name or name in self.ancestors


def establish(store: Store) -> Identity:
    """Return the identity of a database; it gets one if it has none, or is a copy."""
    home = _home(store)
    while True:
        with store.connected() as connection:
            text = connection.scalar(_read(store))
        if text is None:
            _write_first(store, Identity(uuid.uuid4().hex), home)
            continue
        found, known = _parsed(text)
        if known == home:
            return found
        copy = _is_copy(store, known, home, found.name)
        fresh = found
        if copy:
            fresh = Identity(uuid.uuid4().hex, (*found.ancestors, found.name), _where(known))
        with store.writing_durably() as connection:
            meta = store.tables.meta
            same = sa.and_(meta.c.name == _NAME, meta.c.value == text)
            update = sa.update(meta).where(same).values(value=_text(fresh, home))
            if connection.execute(update).rowcount:
                return replace(fresh, shared=_disown(connection, store)) if copy else fresh


def look(store: Store) -> Identity:
    """Return the identity of a database that is only read; `copied_from` is said of a copy."""
    home = _home(store)
    with store.connected() as connection:
        text = connection.scalar(_read(store))
    if text is None:
        return Identity("", copied_from="an older version of requant, which did not say")
    found, known = _parsed(text)
    if known == home or not _is_copy(store, known, home, found.name):
        return found
    return replace(found, copied_from=_where(known))


def sees(store: Store, connection: sa.Connection) -> bool:
    """Whether a connection of whatever engine reads the tables of `store`, by their identity."""
    with store.connected() as own:
        ours = own.scalar(_read(store))
    try:
        return bool(connection.scalar(_read(store)) == ours)
    except sa.exc.DBAPIError:
        return False


def _read(store: Store) -> sa.Select[Any]:
    meta = store.tables.meta
    return sa.select(meta.c.value).where(meta.c.name == _NAME)


def _parsed(text: object) -> tuple[Identity, Home]:
    """Return an identity and its home; raises CorruptDataError.

    Names become those of files and folders, so that they are nothing but a number.
    """
    what = "the identity of the database"
    known = checked.mapping(text, what)
    ancestors, home = known.get("ancestors"), known.get("home")
    names: list[Any] = [known.get("name"), *ancestors] if isinstance(ancestors, list) else [None]
    if not _is_home(home) or not all(_is_name(one) for one in names):
        raise CorruptDataError(f"{what} is not what requant writes: {str(known)[:200]}")
    return Identity(names[0], tuple(names[1:])), home


def _is_home(value: Any) -> TypeGuard[Home]:
    """Whether it is the home of a database in SQLite or PostgreSQL."""
    if not isinstance(value, dict):
        return False
    if "path" not in value:
        return {"system", "database"} <= set(value)
    return isinstance(value["path"], str) and {"machine", "inode"} <= set(value)


def _is_name(value: object) -> bool:
    return isinstance(value, str) and _RANDOM.fullmatch(value) is not None


def _text(identity: Identity, home: Home) -> str:
    return json.dumps({"name": identity.name, "ancestors": identity.ancestors, "home": home})


def _write_first(store: Store, identity: Identity, home: Home) -> None:
    insert = insert_into(store.engine, store.tables.meta)
    insert = insert.values(name=_NAME, value=_text(identity, home))
    with store.writing() as connection:
        connection.execute(insert.on_conflict_do_nothing(index_elements=["name"]))


def _disown(connection: sa.Connection, store: Store) -> int:
    """Forget the places that a URL names, without touching what stands there."""
    places, g = store.tables.locations, store.tables.generations
    rows = connection.execute(sa.select(places.c.index_id, places.c.name, places.c.config)).all()
    shared = [(index, name) for index, name, config in rows if json.loads(config).get("url")]
    for index, name in shared:
        of_place = sa.and_(places.c.index_id == index, places.c.name == name)
        connection.execute(sa.delete(places).where(of_place))
        connection.execute(sa.delete(g).where(g.c.index_id == index, g.c.file == name))
    return len(shared)


def _home(store: Store) -> Home:
    with store.connected() as connection:
        if store.sql.name == "sqlite":
            raw: Any = connection.connection.driver_connection
            (path,) = [row[2] for row in raw.execute("PRAGMA database_list") if row[1] == "main"]
            path = os.path.realpath(path)
            return {"machine": _machine(), "path": path, "inode": Path(path).stat().st_ino}
        database = sa.text("SELECT oid FROM pg_database WHERE datname = current_database()")
        number = int(connection.scalar(database))
    return {"system": _system(store), "database": number}


def _system(store: Store) -> str:
    """Return the system identifier of a cluster, empty where a server does not tell."""
    try:
        with store.engine.connect() as connection:
            return str(
                connection.scalar(sa.text("SELECT system_identifier FROM pg_control_system()"))
            )
    except sa.exc.SQLAlchemyError:
        return ""


def _machine() -> str:
    try:
        return _MACHINE.read_text().strip() or platform.node()
    except OSError:
        return platform.node()


def _is_copy(store: Store, known: Home, now: Home, name: str) -> bool:
    if "path" not in known or "path" not in now:
        return True  # PostgreSQL: there is one home, and this is another one
    same_file, here = known["inode"] == now["inode"], known["machine"] == now["machine"]
    if known["path"] == now["path"]:
        return not (same_file or here)
    if here and _stands_at(store, known["path"], name):
        return not Path(known["path"]).samefile(now["path"])
    return not (same_file or here)


def _stands_at(store: Store, path: str, name: str) -> bool:
    """Whether a database of that identity, or one that cannot be looked into, is at `path`."""
    place = Path(path)
    if not os.path.lexists(path) or (place.exists() and not place.is_file()):
        return False
    try:
        with closing(sqlite3.connect(f"{Path(path).as_uri()}?mode=ro", uri=True)) as connection:
            read = store.tables.named("SELECT value FROM requant_meta WHERE name = ?")
            row = connection.execute(read, (_NAME,)).fetchone()
    except sqlite3.OperationalError as error:
        return "no such table" not in str(error)
    except sqlite3.DatabaseError:
        return False  # it is no database
    return row is not None and json.loads(row[0]).get("name") == name


def _where(home: Home) -> str:
    return str(home.get("path") or f"PostgreSQL cluster {home.get('system')}")

"""The way into a store: closed once it is, quiet while the process forks, refused where it must be.

A child inherits the connections of its parent, and neither database bears that. SQLite keeps its
locks in a table of the process, by file: a child whose parent had the file open believes to hold
locks that it does not have, through whatever connection. So before a fork newcomers are held back
for a moment, whoever is inside finishes, and idle connections are closed: the child starts clean,
and both open new ones. Where that cannot be had, the child is refused.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any

import sqlalchemy as sa

from requant.adapters import forks
from requant.errors import ForkedError, RequantError, StoreError
from requant.store.connections.standing import Standing, standing_of, watch_connections

# So long a fork waits for others to finish: a search takes milliseconds.
_PATIENCE = 1.0
_POLL = 0.001

SIDE_FILES = ("", "-wal", "-shm")  # what SQLite keeps of a database, by their endings


class Gate:
    """Counts who is inside a store, and decides who may go in.

    `idle` closes the connections that nobody uses, `forget` lets a child forget them unclosed.
    """

    def __init__(
        self, engine: sa.Engine, idle: Callable[[], None], forget: Callable[[], None]
    ) -> None:
        """Guard what is done by `engine`."""
        self._engine = engine
        self._idle = idle
        self._forget = forget
        self._numbers = count()
        self._inside: dict[int, int] = {}  # threads by the number of their pass
        self._shut = False
        self._forker = 0
        self._opened = threading.Event()
        self._pid = os.getpid()
        self._in_use = False
        self._refusal: Callable[[], RequantError] | None = None
        self._home: Path | None = None
        self._watched: Path | None = None
        self._standing: Standing | None = None
        self._lent = _lent_of(engine)
        _in_child()  # if this is one, forked by other means than Python's
        _listen()
        with _lock:
            _gates.add(self)

    def live_in(self, home: Path) -> None:
        """Tell children that the store is gone once its parent has removed this folder."""
        self._home = home

    def watch(self, connection: sa.Connection) -> None:
        """Let nobody in once the SQLite file that `connection` has open is not in its place."""
        self._standing = standing_of(connection.connection.driver_connection, self.file)

    def enter(self) -> int:
        """Return a pass.

        Raises StoreError once the store is closed, or its file was replaced or removed, and
        ForkedError in a child that is refused.
        """
        if self._refusal is not None or self._watched is not None or os.getpid() != self._pid:
            self.check()
        elif self._standing is not None:
            self._standing.check()
        number, me = next(self._numbers), threading.get_ident()
        if not self._shut:
            self._inside[number] = me
            if not self._shut:  # a fork may have begun between the two lines
                return number
        while not self._admitted(number, me):
            self._opened.wait(_POLL)
        return number

    def leave(self, number: int) -> None:
        """Give a pass back."""
        self._inside.pop(number, None)

    def knows(self, number: int) -> bool:
        """Whether a pass is valid: a child has none of its parent's."""
        return number in self._inside and os.getpid() == self._pid

    def entered(self) -> _Pass:
        """Return a context that is inside."""
        return _Pass(self)

    def check(self) -> None:
        """Raise what `enter` would."""
        self.check_open()
        self.check_standing()

    def check_open(self) -> None:
        """Raise what `enter` would, but for a file that is not in its place: that takes longer."""
        if os.getpid() != self._pid:
            _in_child()
        if self._refusal is not None:
            raise self._refusal()
        if self._watched is not None and not self._watched.exists():
            raise StoreError("this database in memory is gone: the process that opened it ended it")

    def check_standing(self) -> None:
        """Raise StoreError if the file is not where it was opened: to be asked after a commit."""
        if self._standing is not None:
            self._standing.check()

    @property
    def standing(self) -> Standing | None:
        """What watches the SQLite file."""
        return self._standing

    @property
    def file(self) -> str:
        """The SQLite file that is guarded, nothing once nobody is let in."""
        return "" if self._refusal is not None else _path_of(self._engine)

    def close(self) -> None:
        """Let nobody in any more; a child that was refused stays refused."""
        if self._refusal is None:
            self._refusal = self._closed

    def refused(self) -> RequantError:
        """Return the error for whoever goes on in a child with what is its parent's."""
        return ForkedError(
            f"{self._engine.url!r} was in use when its process was forked into {os.getpid()}: fork "
            f"while nothing is read or written, or {forks.SPAWN}"
        )

    # What the hooks of a fork do, in this order.

    def shut(self) -> None:
        """Hold newcomers back, but for threads that are inside already."""
        self._opened.clear()
        self._forker = threading.get_ident()
        self._in_use = self._shut = True

    def settle(self, deadline: float) -> None:
        """Wait until others have left, and close what nobody uses."""
        while set(list(self._inside.values())) - {self._forker} and time.monotonic() < deadline:
            time.sleep(_POLL)
        self._idle()
        if not self._lent:
            self._engine.dispose()
        self._in_use = bool(self._inside or self._lent)

    def open(self) -> None:
        """Let newcomers in again."""
        self._shut = False
        self._opened.set()

    def begin_anew(self) -> None:
        """Forget in the child what is its parent's, and refuse what cannot be sound."""
        self._pid = os.getpid()
        path = _path_of(self._engine)
        in_use = self._inside or (self._shut and self._in_use)
        if in_use or (path and forks.was_inherited(path)):
            self._refusal = self._refusal or self.refused
        if path:
            forks.cut_files(path + end for end in SIDE_FILES)
        _sever(self._lent)
        parents.append(self._engine.pool)
        self._forget()
        self._engine.dispose(close=False)
        self._inside, self._opened = {}, threading.Event()
        self._watched = self._home
        self.open()

    def _admitted(self, number: int, me: int) -> bool:
        self._inside.pop(number, None)
        if self._shut and me != self._forker and me not in list(self._inside.values()):
            return False
        self._inside[number] = me
        return True

    def _closed(self) -> RequantError:
        return StoreError(f"{self._engine.url!r} is closed: open it again with requant.open")


class _Pass:
    """A context that is inside a gate."""

    __slots__ = ("_gate", "_number")

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    def __enter__(self) -> None:
        self._number = self._gate.enter()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._gate.leave(self._number)


class _Severed:
    """Stands in a child for a connection of its parent, which it must not even close."""

    # What is asked of a connection that comes back to its pool: the child did nothing with it.
    in_transaction = False
    total_changes = 0

    def rollback(self) -> None:
        """Do nothing: the transaction is the parent's."""

    close = rollback

    def __getattr__(self, name: str) -> Any:
        raise ForkedError(
            f"this connection was made before its process was forked into {os.getpid()}: open "
            "one of the child's own"
        )


# Connections


_engines: weakref.WeakKeyDictionary[sa.Engine, dict[int, Any]] = weakref.WeakKeyDictionary()
parents: list[object] = []  # what a child has of its parent's connections: never closed


def _lent_of(engine: sa.Engine) -> dict[int, Any]:
    """Return the connections of an engine that are in somebody's hands, kept up to date."""
    known = _engines.get(engine)
    if known is not None:
        return known
    lent: dict[int, Any] = {}
    _engines[engine] = lent

    def out(_raw: Any, record: Any, _proxy: Any) -> None:
        lent[id(record)] = record

    def back(_raw: Any, record: Any) -> None:
        lent.pop(id(record), None)

    sa.event.listen(engine, "checkout", out)
    sa.event.listen(engine, "checkin", back)
    sa.event.listen(engine, "detach", back)
    if engine.dialect.name == "sqlite":
        sa.event.listen(engine, "do_connect", _check_file)
        watch_connections(engine, str(Path(_path_of(engine)).absolute()))
    return lent


def _check_file(_dialect: Any, _record: Any, arguments: Any, options: Any) -> None:
    path = _plain(arguments[0] if arguments else options.get("database", ""))
    if path and forks.was_inherited(path):
        raise ForkedError(
            f"{path} was open when process {os.getpid()} was forked, and SQLite loses writes in "
            f"such a process: close it before forking (`engine.dispose()`), or {forks.SPAWN}"
        )


def _path_of(engine: sa.Engine) -> str:
    """Return the file of a SQLite database, nothing for another."""
    if engine.dialect.name != "sqlite":
        return ""
    arguments, _ = engine.dialect.create_connect_args(engine.url)
    return _plain(arguments[0])


def _plain(path: Any) -> str:
    text = str(path)
    return text.removeprefix("file:").partition("?")[0] if text.startswith("file:") else text


def _sever(lent: dict[int, Any]) -> None:
    for record in lent.values():
        raw = record.dbapi_connection
        descriptor = getattr(raw, "fileno", None)
        if descriptor is not None:
            with suppress(Exception):  # a driver's own: it has no connection any more
                forks.cut_socket(descriptor())
        parents.append(raw)
        proxy = record.fairy_ref() if record.fairy_ref is not None else None
        record.dbapi_connection = _Severed()
        if proxy is not None:
            proxy.dbapi_connection = record.dbapi_connection
    lent.clear()


def open_files() -> list[str]:
    """Return the files of the SQLite databases that are open in this process."""
    return [path for gate in list(_gates) if (path := gate.file)]


# Hooks


_gates: weakref.WeakSet[Gate] = weakref.WeakSet()
_lock = threading.RLock()  # held during a fork, so that no store comes meanwhile
_forking: list[Gate] = []
_pid = os.getpid()


def _before() -> None:
    _lock.acquire()
    _forking[:] = _gates
    for gate in _forking:
        gate.shut()
    deadline = time.monotonic() + _PATIENCE
    for gate in _forking:
        with suppress(Exception):  # the child is refused then
            gate.settle(deadline)


def _in_parent() -> None:
    for gate in _forking:
        gate.open()
    _forking.clear()
    _lock.release()


def _in_child() -> None:
    global _lock, _pid
    if os.getpid() == _pid:
        return
    _lock, _pid = threading.RLock(), os.getpid()
    forks.look_around()
    gates = _forking or list(_gates)
    for gate in gates:
        gate.begin_anew()
    _forking.clear()


@cache
def _listen() -> None:
    """Have the hooks called, before a fork those first that were registered last.

    filelock's hold back whoever takes or gives back a lock: after ours, which wait for just that.
    """
    if hasattr(os, "register_at_fork"):
        import filelock  # noqa: F401

        os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)

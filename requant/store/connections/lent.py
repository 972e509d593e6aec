"""A connection that a caller lends: checked, and each call on it within a savepoint of its own."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias, Union

import sqlalchemy as sa

from requant.errors import InputError, UnsupportedError
from requant.store.connections.drivers import binary_cursor, raw_of, unchecked, unwritable
from requant.store.connections.opening import INSTEAD, check_engine, refuse_async
from requant.store.interrupted import handled_now, interruption

if TYPE_CHECKING:
    from sqlalchemy.orm import Session, scoped_session

_ACTIVE, _IN_ERROR = 1, 3  # what PostgreSQL's drivers call a transaction at work, or failed
_ROWS = {"tuple_row", "namedtuple_row", "Row"}  # row factories of drivers, all of which are tuples

# What `connection=` takes. Whoever has a session has imported SQLAlchemy's ORM; we need not.
Lent: TypeAlias = Union[sa.Connection, "Session", "scoped_session[Any]"]


def as_connection(given: Lent) -> sa.Connection:
    """Return the connection that a caller lends: itself, or the one of a session's transaction.

    A session begins its transaction if it has none, and flushes nothing.

    Raises:
        InputError: neither of these, or it is closed or its transaction has failed.
        UnsupportedError: asynchronous, or a driver of PostgreSQL other than psycopg.
    """
    refuse_async(given)
    connection = given if isinstance(given, sa.Connection) else _of_session(given)
    check_engine(connection)
    _check_alive(connection)
    check_rows(connection)
    return connection


def check_rows(connection: sa.Connection) -> None:
    """Refuse a connection whose rows are no tuples: SQLAlchemy takes the keys of a dict for values.

    Nothing is asked where the driver's rows are its own. Raises InputError.
    """
    factory = getattr(connection.connection.driver_connection, "row_factory", None)
    if factory is None or getattr(factory, "__name__", "") in _ROWS:
        return
    try:
        row = tuple(raw_of(connection).cursor().execute("SELECT 1 AS a, 2 AS b").fetchone())
    except (TypeError, ValueError, LookupError, AttributeError):
        row = ()
    if row != (1, 2):
        raise InputError(
            f"{connection.engine.url!r}: its row_factory makes no tuples, and SQLAlchemy reads "
            "them wrong: set it on cursors of your own, not on the connections of the engine"
        )


@contextmanager
def savepoint(
    connection: sa.Connection, first: Callable[[sa.Connection], None] | None = None
) -> Iterator[None]:
    """Take back what was done in the block if it fails, and nothing else of the transaction.

    `first` is called within as well; in SQLite it comes before the point, and stays.

    Raises InputError where every statement commits by itself.
    """
    handled = handled_now()
    _begin(connection)
    if first is not None and connection.dialect.name == "sqlite":
        # Four pages of 16 KB that change after the point make SQLite write a temporary file.
        _do_whole(first, connection)
        first = None
    # Past SQLAlchemy, whose own savepoints cost as much as a write does.
    cursor = raw_of(connection).cursor()
    cursor.execute("SAVEPOINT requant_write")
    try:
        if first is not None:
            first(connection)
        yield
    except BaseException as error:
        # Where the database has ended the whole transaction, the point is gone with it.
        driver: Any = connection.dialect.loaded_dbapi
        with unchecked(), contextlib.suppress(sa.exc.SQLAlchemyError, driver.Error):
            cursor.execute("ROLLBACK TO SAVEPOINT requant_write")
            cursor.execute("RELEASE SAVEPOINT requant_write")
        stopped = interruption(error, handled)
        if stopped is not None and stopped is not error:
            raise stopped from error
        raise
    cursor.execute("RELEASE SAVEPOINT requant_write")


@contextmanager
def as_sqlalchemy(connection: sa.Connection) -> Iterator[None]:
    """Raise what the driver raises in the block as SQLAlchemy does, which callers look out for.

    Whoever begins a transaction again after a deadlock need not know that we go by the driver.
    """
    dialect = connection.dialect
    driver: Any = dialect.loaded_dbapi
    try:
        yield
    except driver.Error as error:
        # The parameters are what the application stores, and no business of a log.
        raise sa.exc.DBAPIError.instance(
            "(a statement of requant)", None, error, driver.Error, True, False, dialect
        ) from error
    except UnicodeEncodeError as error:
        raise InputError(f"connection=: {error}{unwritable(error)}") from error
    except BaseException as error:
        if not isinstance(error, Exception | GeneratorExit) and _is_stuck(connection):
            connection.invalidate()  # as SQLAlchemy does: the caller could not even roll back
        raise


def _is_stuck(connection: sa.Connection) -> bool:
    """Whether Ctrl-C has left psycopg in the midst of a statement."""
    if connection.closed or connection.invalidated or connection.dialect.is_async:
        return False
    info = getattr(connection.connection.driver_connection, "info", None)
    return info is not None and bool(info.transaction_status == _ACTIVE)


def plain_cursor(connection: sa.Connection) -> Any:
    """Return a cursor of the driver whose rows are tuples, whatever the application has chosen."""
    raw = raw_of(connection)
    if connection.dialect.is_async:
        return raw.cursor()
    if connection.dialect.name != "sqlite":
        return binary_cursor(raw)
    cursor = raw.cursor()
    cursor.row_factory = None
    return cursor


def commits_alone(connection: sa.Connection) -> bool:
    """Whether each statement commits by itself, in PostgreSQL, as no BEGIN was one of them."""
    raw = raw_of(connection)
    info = getattr(raw, "info", None)  # which is psycopg's
    begun = info is not None and bool(info.transaction_status)
    return bool(raw.autocommit) and not begun


def check_transaction(connection: sa.Connection) -> None:
    """Refuse to go on where every statement commits by itself: a write could be torn."""
    raw = raw_of(connection)
    begun = raw.in_transaction if connection.dialect.name == "sqlite" else not raw.autocommit
    if not begun:
        raise InputError(
            "this connection commits every statement by itself (AUTOCOMMIT): requant writes "
            "in transactions, give it an engine or connection that has them"
        )


def _do_whole(first: Callable[[sa.Connection], None], connection: sa.Connection) -> None:
    """Call `first`, half of which must not stay: a turn whose run is not noted looks like a loss.

    Who is stopped in its midst has it done once more, which begins a run that is noted.
    """
    with unchecked():
        try:
            first(connection)
        except Exception:
            raise
        except BaseException:
            with contextlib.suppress(Exception):
                first(connection)
            raise


def _begin(connection: sa.Connection) -> None:
    if not connection.in_transaction():
        connection.begin()
    raw = raw_of(connection)
    if connection.dialect.name == "sqlite" and not raw.in_transaction:
        by_itself = getattr(raw, "autocommit", None) is True  # a choice since Python 3.12
        if raw.isolation_level is not None and not by_itself:
            # The driver begins before the first write, which is after the savepoint; to release
            # that would commit then.
            raw.execute(f"BEGIN {raw.isolation_level}")
    check_transaction(connection)


def _of_session(given: object) -> sa.Connection:
    """Return the connection of a session's transaction; raises InputError that says why not."""
    if not _is_session(given):
        raise InputError(f"connection= takes a sqlalchemy.Connection or a Session, {_cure(given)}")
    session: Any = given
    name = type(given).__name__
    try:
        connection: sa.Connection = session.connection()
    except sa.exc.MissingGreenlet as error:
        raise UnsupportedError(
            f"this {name} is that of an AsyncSession, and used outside of run_sync. {INSTEAD}"
        ) from error
    except sa.exc.UnboundExecutionError as error:
        raise InputError(
            f"connection=: this {name} is bound to no engine, or to several by class; pass "
            "session.connection(bind_arguments={'bind': engine}) of the one that requant is in"
        ) from error
    except (sa.exc.InvalidRequestError, sa.exc.PendingRollbackError) as error:
        raise InputError(
            f"connection=: this {name} is closed, or its transaction has ended or failed: "
            f"{error} (session.rollback(), or a new session, makes it usable)"
        ) from error
    refuse_async(connection)
    return connection


def _is_session(given: object) -> bool:
    orm = sys.modules.get("sqlalchemy.orm")
    return orm is not None and isinstance(given, orm.Session | orm.scoped_session)


def _cure(given: object) -> str:
    if isinstance(given, sa.Engine):
        return "not an engine: `with engine.begin() as connection:` gives one"
    if callable(given) and type(given).__name__.endswith("sessionmaker"):
        return "not a sessionmaker: call it, `with sessions() as session:` gives one"
    return f"not {type(given).__name__}: engine.connect() gives one"


def _check_alive(connection: sa.Connection) -> None:
    """Refuse a connection on which no statement can be executed; raises InputError."""
    if connection.closed:
        raise InputError("connection= is closed: lend one that is open")
    transaction = connection.get_nested_transaction() or connection.get_transaction()
    if transaction is not None and (connection.invalidated or not transaction.is_active):
        raise InputError("connection=: its transaction has ended or failed: roll it back first")
    info = getattr(connection.connection.driver_connection, "info", None)
    if info is not None and info.transaction_status == _IN_ERROR:
        raise InputError(
            "connection=: a statement failed before, and PostgreSQL refuses any other until the "
            "transaction, or a savepoint in it, is rolled back"
        )
    if getattr(info, "pipeline_status", 0):
        raise InputError(
            "connection= is in psycopg's pipeline mode, in which SQLAlchemy cannot read: leave it"
        )

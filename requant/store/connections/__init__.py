"""How the store comes by its connections: engines opened or refused, and what callers lend.

Nothing here knows of tables. `opening` makes engines, `lent` checks a caller's connection and keeps
a call within a savepoint, `held` and `taken` know what each thread holds, `unawaited` ends reads in
PostgreSQL, `checkpoints` keeps SQLite's log short, `drivers` gives those of asyncio one face with
the others, `in_use` keeps others off SQLite's files, and `forks` keeps a forked child from harming
its parent, and itself.
"""

from __future__ import annotations

from requant.store.connections import unawaited
from requant.store.connections.checkpoints import keep_log_short
from requant.store.connections.drivers import (
    BUSY,
    LEAST_COPIED,
    binary_cursor,
    checked,
    copies,
    copy_rows,
    end_readings,
    ended_in_time,
    is_pooled,
    raw_of,
    unwritable,
)
from requant.store.connections.forks import Gate, parents
from requant.store.connections.held import Held, sibling, working_for
from requant.store.connections.in_use import refuse_own_file
from requant.store.connections.lent import (
    Lent,
    as_connection,
    as_sqlalchemy,
    check_rows,
    check_transaction,
    commits_alone,
    plain_cursor,
    savepoint,
)
from requant.store.connections.opening import (
    check_durable,
    check_engine,
    engine_of,
    refuse_absent,
)
from requant.store.connections.standing import Standing
from requant.store.connections.taken import Taken, taken_of
from requant.store.connections.unawaited import Untried

__all__ = [
    "BUSY",
    "LEAST_COPIED",
    "Gate",
    "Held",
    "Lent",
    "Standing",
    "Taken",
    "Untried",
    "as_connection",
    "as_sqlalchemy",
    "binary_cursor",
    "check_durable",
    "check_engine",
    "check_rows",
    "check_transaction",
    "checked",
    "commits_alone",
    "copies",
    "copy_rows",
    "end_readings",
    "ended_in_time",
    "engine_of",
    "is_pooled",
    "keep_log_short",
    "parents",
    "plain_cursor",
    "raw_of",
    "refuse_absent",
    "refuse_own_file",
    "savepoint",
    "sibling",
    "taken_of",
    "unawaited",
    "unwritable",
    "working_for",
]

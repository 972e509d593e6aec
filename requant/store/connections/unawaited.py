"""A rollback in PostgreSQL that nobody waits for: its answer is taken when the next one begins."""

from __future__ import annotations

from typing import Any

_IDLE, _ACTIVE = 0, 1  # what psycopg calls the status of a transaction


def roll_back(raw: Any) -> None:
    """Tell the server to end the transaction of psycopg's connection; it does so at once.

    `settle` is called before anything else is done with the connection.
    """
    if raw.info.transaction_status != _IDLE:
        raw.pgconn.send_query(b"ROLLBACK")
        raw.pgconn.flush()


def settle(raw: Any) -> None:
    """Take the answer; if the connection is dead, its next statement tells."""
    if raw.info.transaction_status == _ACTIVE:
        while raw.pgconn.get_result() is not None:
            pass

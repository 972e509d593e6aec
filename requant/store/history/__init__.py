"""What has been written and when: turns at a collection, their runs, and the log of changes."""

from __future__ import annotations

from requant.store.history.change_log import ChangeLog
from requant.store.history.deleting import (
    Deleting,
    postgresql_clear,
    postgresql_deletes,
    postgresql_variables,
    sqlite_deletes,
)
from requant.store.history.turns import Turn, Turns

__all__ = [
    "ChangeLog",
    "Deleting",
    "Turn",
    "Turns",
    "postgresql_clear",
    "postgresql_deletes",
    "postgresql_variables",
    "sqlite_deletes",
]

"""What has been written and when: in turns, or beside one another and numbered afterwards.

In SQLite a write takes its turn at the collection (`turns`). In PostgreSQL writers leave notes of
what they wrote (`beside`), which are read as they are (`fresh`) until somebody numbers them
(`numbering`).
"""

from __future__ import annotations

from requant.store.history.beside import Beside
from requant.store.history.change_log import ChangeLog
from requant.store.history.deleting import (
    POSTGRESQL_VARIABLES,
    Deleting,
    postgresql_clear,
    postgresql_deletes,
    postgresql_renames,
    sqlite_deletes,
)
from requant.store.history.fresh import NOTHING, Fresh, fresh_of
from requant.store.history.in_turn import InTurn
from requant.store.history.keys import drop as drop_keys
from requant.store.history.keys import make as make_keys
from requant.store.history.keys import make_missing as make_missing_keys
from requant.store.history.numbering import Numbering
from requant.store.history.turns import Turn, Turns

__all__ = [
    "NOTHING",
    "POSTGRESQL_VARIABLES",
    "Beside",
    "ChangeLog",
    "Deleting",
    "Fresh",
    "InTurn",
    "Numbering",
    "Turn",
    "Turns",
    "drop_keys",
    "fresh_of",
    "make_keys",
    "make_missing_keys",
    "postgresql_clear",
    "postgresql_deletes",
    "postgresql_renames",
    "sqlite_deletes",
]

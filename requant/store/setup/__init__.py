"""What is done to a database when it is opened: its tables are found, made, or brought up to date.

`placing` settles which schema they are in, `upgrading` that they are of this version, and `same`
tells whether a connection that is lent later is to that database. `pooled` keeps psycopg from what
a pooler before the server cannot bear. `others` tells of tables that were not asked for, where
those that were are missing. `pages` chooses the size of SQLite's.
"""

from __future__ import annotations

from requant.store.setup import pooled
from requant.store.setup.others import hint_of_others
from requant.store.setup.pages import is_new, page_size, pages_of, rewrite
from requant.store.setup.placing import check_translated, place
from requant.store.setup.same import Same
from requant.store.setup.upgrading import prepare, upgrade, version_of

__all__ = [
    "Same",
    "check_translated",
    "hint_of_others",
    "is_new",
    "page_size",
    "pages_of",
    "place",
    "pooled",
    "prepare",
    "rewrite",
    "upgrade",
    "version_of",
]

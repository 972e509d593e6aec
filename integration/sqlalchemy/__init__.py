"""requant inside an application that uses SQLAlchemy: its models, its sessions, its transactions.

Nothing is imported before it is asked for; see docs/sqlalchemy.md.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from requant.integration.sqlalchemy.orm import (
        Binding,
        EmbedError,
        Match,
        UnboundError,
        Vector,
        bind,
        follow_deletes,
        unfollow_deletes,
    )
    from requant.integration.sqlalchemy.schema import (
        Tables,
        add_tables,
        include_object,
        upgrade,
    )

__all__ = [
    "Binding",
    "EmbedError",
    "Match",
    "Tables",
    "UnboundError",
    "Vector",
    "add_tables",
    "bind",
    "follow_deletes",
    "include_object",
    "unfollow_deletes",
    "upgrade",
]

_ORM = "requant.integration.sqlalchemy.orm"
_SCHEMA = "requant.integration.sqlalchemy.schema"
_WHERE = {
    "Binding": _ORM,
    "EmbedError": _ORM,
    "Match": _ORM,
    "Tables": _SCHEMA,
    "UnboundError": _ORM,
    "Vector": _ORM,
    "add_tables": _SCHEMA,
    "bind": _ORM,
    "follow_deletes": _ORM,
    "include_object": _SCHEMA,
    "unfollow_deletes": _ORM,
    "upgrade": _SCHEMA,
}


def __getattr__(name: str) -> Any:
    """Import what is asked for, and nothing else."""
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_WHERE[name]), name)

"""requant inside an application that uses SQLAlchemy: its models, its sessions, its transactions.

Nothing is imported before it is asked for; see docs/sqlalchemy.md.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from requant.integration.sqlalchemy.schema import (
        Tables,
        add_tables,
        include_object,
        upgrade,
    )

__all__ = [
    "Tables",
    "add_tables",
    "include_object",
    "upgrade",
]

_SCHEMA = "requant.integration.sqlalchemy.schema"
_WHERE = {
    "Tables": _SCHEMA,
    "add_tables": _SCHEMA,
    "include_object": _SCHEMA,
    "upgrade": _SCHEMA,
}


def __getattr__(name: str) -> Any:
    """Import what is asked for, and nothing else."""
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_WHERE[name]), name)

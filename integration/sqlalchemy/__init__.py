"""requant inside an application that uses SQLAlchemy: its models, its sessions, its transactions.

Nothing is imported before it is asked for; see docs/sqlalchemy.md.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from requant.integration.sqlalchemy.orm import (
        Binding,
        Match,
        Vector,
        bind,
        follow_deletes,
        unfollow_deletes,
    )

__all__ = [
    "Binding",
    "Match",
    "Vector",
    "bind",
    "follow_deletes",
    "unfollow_deletes",
]

_ORM = "requant.integration.sqlalchemy.orm"
_WHERE = {
    "Binding": _ORM,
    "Match": _ORM,
    "Vector": _ORM,
    "bind": _ORM,
    "follow_deletes": _ORM,
    "unfollow_deletes": _ORM,
}


def __getattr__(name: str) -> Any:
    """Import what is asked for, and nothing else."""
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_WHERE[name]), name)

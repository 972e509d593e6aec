"""Vectors of an application's own rows, kept in step by the session that writes these rows.

`vector` is what stands on a model, `mapped` what a bound one knows of its class, `binding` and
`listeners` hear of what a session writes, `writing` and `embedding` write it, `bulk` sees to
statements that write many rows, `searching` and `syncing` read, `triggers` are the database's own.
"""

from __future__ import annotations

from requant.integration.sqlalchemy.orm.binding import Binding, bind
from requant.integration.sqlalchemy.orm.errors import EmbedError, UnboundError
from requant.integration.sqlalchemy.orm.field import VectorField
from requant.integration.sqlalchemy.orm.searching import Match
from requant.integration.sqlalchemy.orm.triggers import follow_deletes, unfollow_deletes
from requant.integration.sqlalchemy.orm.vector import Vector

__all__ = [
    "Binding",
    "EmbedError",
    "Match",
    "UnboundError",
    "Vector",
    "VectorField",
    "bind",
    "follow_deletes",
    "unfollow_deletes",
]

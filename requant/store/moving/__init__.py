"""Two collections of the same items by two models: which they are, and what one lacks of the other.

While a collection moves to another model, triggers note which of its items are written, by whomever
and in the writer's own transaction; the other collection follows these notes (`marks`). One of the
two has the name that the world knows, and gives it away in one transaction (`moves`).
"""

from __future__ import annotations

from requant.store.moving import marks
from requant.store.moving.marks import is_of_move
from requant.store.moving.moves import (
    Move,
    alone,
    begin,
    drop_moves,
    find,
    remake,
    remove_all,
    switch,
)

__all__ = [
    "Move",
    "alone",
    "begin",
    "drop_moves",
    "find",
    "is_of_move",
    "marks",
    "remake",
    "remove_all",
    "switch",
]

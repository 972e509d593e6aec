"""Which tasks have lent which connections, so that none waits for a transaction of its own.

A task waits for itself by way of another one, too: `asyncio.wait_for` makes one before Python 3.12,
and so does `asyncio.gather`. So a task knows which of those that it comes from have lent, and those
that wait for it just now count as itself. One that goes on meanwhile does not: it may commit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any
from weakref import ReferenceType, WeakKeyDictionary, WeakSet, ref

import sqlalchemy as sa

_Task = asyncio.Task[Any]
# Those that a task comes from, and itself, as far as they have lent: the tasks it makes get a copy.
_FROM: ContextVar[tuple[ReferenceType[_Task], ...]] = ContextVar("requant_lenders", default=())


class Lenders:
    """The tasks that have lent connections to one database."""

    def __init__(self) -> None:
        """Nobody has yet."""
        self._lent: WeakKeyDictionary[_Task, WeakSet[sa.Connection]] = WeakKeyDictionary()

    def note(self, task: _Task | None, connection: sa.Connection) -> None:
        """Remember what a task lends; called by the task itself."""
        if task is None:
            return
        if task not in self._lent:
            self._lent[task] = WeakSet()
            alive = [one for one in _FROM.get() if one() is not None]
            _FROM.set((*alive, ref(task)))
        self._lent[task].add(connection)

    def lent_before(self, task: _Task | None) -> tuple[sa.Connection, ...]:
        """Return what was lent by the task that asks, and by those that wait for it."""
        found: list[sa.Connection] = []
        for known in _FROM.get():
            lender = known()
            if lender is not None and task is not None and _waits(lender, task):
                found += self._lent.get(lender, ())
        return tuple(found)


def _waits(waiting: _Task, task: _Task, depth: int = 0) -> bool:
    """Whether a task goes on only when another one has ended, or is that one."""
    if waiting is task:
        return True
    return depth < 8 and any(_waits(each, task, depth + 1) for each in _awaited(waiting))


def _awaited(task: _Task) -> Iterator[_Task]:
    """Yield the tasks that a task awaits: by itself, by `gather`, or by `wait_for`."""
    waiter: Any = getattr(task, "_fut_waiter", None)
    inner: Any = task.get_coro()
    held = [waiter, *getattr(waiter, "_children", ())]
    while inner is not None:
        frame = getattr(inner, "cr_frame", None)
        if frame is not None and frame.f_code is asyncio.wait_for.__code__:
            held.append(frame.f_locals.get("fut"))
        inner = getattr(inner, "cr_await", None)
    yield from (one for one in held if isinstance(one, asyncio.Task))

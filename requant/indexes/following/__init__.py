"""One index kept in step with the store: opened, built, caught up, published.

`FollowingIndex` does so for all threads of a process; the other modules are what it does it with.
"""

from __future__ import annotations

from requant.indexes.following.catch_up import Progress
from requant.indexes.following.index import FollowingIndex

__all__ = ["FollowingIndex", "Progress"]

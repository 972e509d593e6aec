"""A Vector as its class shows it: `Article.embedding`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from numpy.typing import ArrayLike
from sqlalchemy.orm import Session

from requant.collection import Collection
from requant.integration.sqlalchemy.orm import reading, searching, syncing
from requant.integration.sqlalchemy.orm.mapped import Mapped
from requant.integration.sqlalchemy.orm.searching import Match
from requant.quantizers.arrays import Float32s

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from requant.integration.sqlalchemy.orm.vector import Vector


class VectorField(property):  # what pydantic needs to hand assignments on to the Vector
    """The vectors of one class; made by `Vector`."""

    def __init__(self, vector: Vector, owner: type) -> None:
        """Stand for a Vector on the class `owner`."""
        super().__init__()
        self._vector = vector
        self._owner = owner

    def __set__(self, instance: Any, value: Any) -> None:
        """Give an object a vector, as assigning to its attribute does."""
        self._vector.__set__(instance, value)

    def __repr__(self) -> str:
        """Show where it stands, and what it is."""
        vector = self._vector
        return f"<{self._owner.__name__}.{vector.name}: {vector.dim} dimensions, {vector.metric}>"

    @property
    def mapped(self) -> Mapped:
        """What is known of the class; raises UnboundError."""
        return self._vector.mapped(self._owner)

    @property
    def collection(self) -> Collection:
        """The collection that keeps the vectors: for indexes, calibration and all else."""
        return self.mapped.collection

    def search(
        self,
        session: Session,
        query: ArrayLike | str,
        k: int = 10,
        *,
        where: Any = None,
        options: Sequence[Any] = (),
        **how: Any,
    ) -> list[Match]:
        """Return the k nearest rows as objects of the session, best first, with exact scores.

        What the session has written, and not committed, is found; it is flushed first, unless the
        session has `autoflush=False`. One connection is used, that of the session.

        Args:
            session: a Session of the same database.
            query: a vector, `(dim,)` real numbers, or a text for the model of `embed=`.
            k: how many.
            where: an SQL expression on columns of the class, a select of primary keys, or a dict,
                which is a filter of the collection's metadata.
            options: how the objects are loaded: `selectinload(Article.author)`...
            **how: options of `Collection.search`: `exact`, `oversample`, `effort`, `index`...

        Raises:
            DimensionError, NonFiniteError, InputError: the query is no good, or the session.
            UnboundError: the class is not bound.
        """
        asked = searching.asked_of(self.mapped, self._owner, query, k, where, how)
        return searching.search(asked, session, options)

    def nearest(
        self,
        session: Session,
        query: ArrayLike | str,
        k: int = 10,
        *,
        where: Any = None,
        **how: Any,
    ) -> sa.CTE:
        """Return the k nearest rows as a table to join: columns `id`, `score`, and `rank` from 1.

        The arguments are those of `search`. What is nearest is found now; the statement that joins
        it is yours:

        ```
        near = Article.embedding.nearest(session, query, 10)
        rows = session.execute(
            select(Article, near.c.score).join(near, near.c.id == Article.id).order_by(near.c.rank)
        )
        ```
        """
        asked = searching.asked_of(self.mapped, self._owner, query, k, where, how)
        return searching.nearest(asked, session)

    async def asearch(
        self,
        session: AsyncSession,
        query: ArrayLike | str,
        k: int = 10,
        *,
        where: Any = None,
        options: Sequence[Any] = (),
        **how: Any,
    ) -> list[Match]:
        """Search as `search` does, in an AsyncSession; a text is embedded in a thread."""
        asked = searching.asked_of(self.mapped, self._owner, query, k, where, how)
        return await session.run_sync(lambda inner: searching.search(asked, inner, options))

    def load(self, session: Session, objects: Sequence[Any]) -> list[Float32s | None]:
        """Return the vectors of objects, read at once instead of one by one; None for no vector.

        Under an AsyncSession, `await session.run_sync(lambda s: Article.embedding.load(s, found))`
        reads what the attribute then gives without reading.
        """
        return reading.load(self.mapped, session, objects)

    def sync(self, session: Session, *, batch: int = 500) -> tuple[int, int]:
        """Compare every row with the collection, and bring that to what the rows say.

        It finds what no session told of, such as statements of Core, and fills a collection for
        rows that were there before: rows that it lacks, documents and metadata that differ, ids
        without a row. Vectors are made of documents that are new or changed, and of those that
        have none; without `embed=` vectors stay as they are.

        It writes in the session's transaction, and commits nothing.

        Returns:
            How many rows were put, and how many ids removed.
        """
        return syncing.sync(self.mapped, session, batch)

"""The tables: ours, and beside them those of requant."""

from __future__ import annotations

from datetime import date

import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from articles.embedding import DIM, embed
from requant.integration.sqlalchemy import Vector, add_tables


class Base(DeclarativeBase):
    """What all models have in common."""


class Article(Base):
    """A text with a title. Its embedding is no column: requant keeps it, and finds by it."""

    __tablename__ = "articles"

    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str] = mapped_column(sa.String(200), unique=True)
    body: Mapped[str] = mapped_column(sa.Text)
    topic: Mapped[str] = mapped_column(sa.String(40), index=True)
    published: Mapped[date] = mapped_column(index=True)

    embedding = Vector(DIM, metric="cosine", collection="articles", document="body", embed=embed)


# In the same MetaData, so that Alembic knows them.
TABLES = add_tables(Base.metadata)

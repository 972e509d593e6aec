"""Rows written by a session, with vectors and without: `python -m benchmarks.application.orm`.

Both models have the same columns and are flushed in turns, in transactions of 1,000 rows; wall
time, since the server has its share. Vectors are assigned: what a model takes is another matter.
To be reached: 2.5 times.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

import requant
from benchmarks.dataset import Dataset, load
from requant.integration.sqlalchemy import Vector, bind
from tests.postgres import find_binaries, running_server

ROWS, ROUNDS = 1000, 7


class Base(DeclarativeBase):
    """The application's models."""


class Plain(Base):
    """A row without a vector."""

    __tablename__ = "plain"
    id: Mapped[int] = mapped_column(primary_key=True)
    body: Mapped[str]
    lang: Mapped[str]


class Article(Base):
    """The same row with one."""

    __tablename__ = "articles"
    id: Mapped[int] = mapped_column(primary_key=True)
    body: Mapped[str]
    lang: Mapped[str]
    embedding = Vector(384, document="body", metadata=("lang",))


def run(data: Dataset) -> None:
    """Print what SQLite takes, and PostgreSQL where it is installed."""
    with tempfile.TemporaryDirectory() as folder:
        measure("sqlite", f"sqlite:///{folder}/application.db", Path(folder), data)
    binaries = find_binaries()
    if binaries is not None:
        with running_server(binaries) as url, tempfile.TemporaryDirectory() as folder:
            measure("postgresql", url, Path(folder), data)


def measure(name: str, url: str, folder: Path, data: Dataset) -> None:
    """Print the milliseconds of each model, and how many times the plain one that is."""
    engine = sa.create_engine(url)
    Base.metadata.create_all(engine)
    with requant.open(engine, folder=folder / "indexes") as db:
        binding = bind(db, Base)
        work = {
            "insert": (inserted, Plain, Article),
            "update": (updated, Plain, Article),
            "delete": (deleted, Plain, Article),
        }
        times: dict[str, list[tuple[float, float]]] = {what: [] for what in work}
        for turn in range(ROUNDS):
            for what, (function, plain, article) in work.items():
                times[what].append(
                    (function(engine, plain, data, turn), function(engine, article, data, turn))
                )
        for what, pairs in times.items():
            plain_ms, ours = np.median(np.array(pairs[1:]), axis=0) * 1e3
            ratio = float(np.median([b / a for a, b in pairs[1:]]))
            print(
                f"{name}: {what} {ROWS:,} ORM rows {plain_ms:.0f} ms, "
                f"with vectors {ours:.0f} ms: {ratio:.2f} times",
                flush=True,
            )
        binding.unbind()
    engine.dispose()


def inserted(engine: sa.Engine, model: Any, data: Dataset, turn: int) -> float:
    """Return the seconds of a transaction that adds rows."""
    first = turn * ROWS
    with Session(engine) as session:
        begun = time.perf_counter()
        for number in range(first, first + ROWS):
            at = number % len(data.items)
            row = model(id=number, body=f"text {at} {data.items[at]['id']}", lang="en")
            if model is Article:
                row.embedding = data.vectors[at]
            session.add(row)
        session.commit()
        return time.perf_counter() - begun


def updated(engine: sa.Engine, model: Any, data: Dataset, turn: int) -> float:
    """Return the seconds of a transaction that changes rows, and their vectors."""
    with Session(engine) as session:
        rows = session.scalars(sa.select(model).where(model.id >= turn * ROWS)).all()
        begun = time.perf_counter()
        for number, row in enumerate(rows):
            row.body = f"changed {number}"
            if model is Article:
                row.embedding = data.vectors[(number + 7) % len(data.vectors)]
        session.commit()
        return time.perf_counter() - begun


def deleted(engine: sa.Engine, model: Any, data: Dataset, turn: int) -> float:
    """Return the seconds of a transaction that deletes rows."""
    with Session(engine) as session:
        rows = session.scalars(sa.select(model).where(model.id >= turn * ROWS)).all()
        begun = time.perf_counter()
        for row in rows:
            session.delete(row)
        session.commit()
        return time.perf_counter() - begun


def main() -> None:
    """Measure with the subset of the data."""
    run(load(None))


if __name__ == "__main__":
    main()

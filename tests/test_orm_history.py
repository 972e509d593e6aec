"""Random histories of a session's work against a dictionary, and searches against brute force."""

from __future__ import annotations

import random

import numpy as np
import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from requant.integration.sqlalchemy import Vector, follow_deletes
from tests.orm_app import DIM, Embedder, application, nearest, stored, vector_of

STEPS, KEYS = 120, 25


@pytest.fixture(params=["sqlite", "postgresql"])
def app(request, tmp_path):
    with application(request, tmp_path, begins=True) as opened:
        yield opened


def article(app):
    class Base(DeclarativeBase):
        pass

    class Article(Base):
        __tablename__ = "articles"
        id: Mapped[int] = mapped_column(primary_key=True)
        body: Mapped[str | None]
        lang: Mapped[str]
        embedding = Vector(DIM, document="body", metadata=("lang",), embed=Embedder())

    app.bind(Base)
    return Article


class History:
    """What a session does, and what ought to be there: (body, lang, vector) by key."""

    def __init__(self, session, model, seed, triggers):
        self.session, self.model, self.triggers = session, model, triggers
        self.rng = random.Random(seed)
        self.rows, self.committed, self.number = {}, {}, 0

    def text(self):
        self.number += 1
        return None if self.rng.random() < 0.1 else f"text {self.rng.randrange(40)}"

    def some(self):
        return self.rng.choice(sorted(self.rows)) if self.rows else None

    def put(self, key, body, lang):
        self.rows[key] = (body, lang, None if body is None else vector_of(body))

    def add(self):
        free = sorted(set(range(KEYS)) - self.rows.keys())
        if free:
            key, body, lang = self.rng.choice(free), self.text(), self.rng.choice(["en", "de"])
            self.session.add(self.model(id=key, body=body, lang=lang))
            self.put(key, body, lang)

    def add_given(self):
        free = sorted(set(range(KEYS)) - self.rows.keys())
        if free:
            key = self.rng.choice(free)
            vector = vector_of(f"given {self.rng.random()}")
            self.session.add(self.model(id=key, body="b", lang="en", embedding=vector))
            self.rows[key] = ("b", "en", vector)

    def change_body(self):
        key = self.some()
        if key is not None:
            body = self.text()
            self.session.get(self.model, key).body = body
            if body != self.rows[key][0]:
                self.put(key, body, self.rows[key][1])

    def change_lang(self):
        key = self.some()
        if key is not None:
            self.session.get(self.model, key).lang = "fr"
            self.rows[key] = (self.rows[key][0], "fr", self.rows[key][2])

    def give(self):
        key = self.some()
        if key is not None:
            vector = None if self.rng.random() < 0.3 else vector_of(f"given {self.rng.random()}")
            self.session.get(self.model, key).embedding = vector
            self.session.flush()  # else it is that of a text that is assigned later
            self.rows[key] = (*self.rows[key][:2], vector)

    def delete(self):
        key = self.some()
        if key is not None:
            self.session.delete(self.session.get(self.model, key))
            del self.rows[key]
            if self.rng.random() < 0.5:  # another in its place, in the same flush
                body = self.text()
                self.session.add(self.model(id=key, body=body, lang="en"))
                self.put(key, body, "en")
            self.session.flush()

    def rename(self):
        key, free = self.some(), sorted(set(range(KEYS)) - self.rows.keys())
        if key is not None and free:
            new = self.rng.choice(free)
            self.session.get(self.model, key).id = new
            self.session.flush()
            self.rows[new] = self.rows.pop(key)

    def bulk_update(self):
        lang, body = self.rng.choice(["en", "de", "fr"]), self.text()
        statement = sa.update(self.model).where(self.model.lang == lang).values(body=body)
        self.session.execute(statement)
        for key, (old, its, _) in list(self.rows.items()):
            if its == lang and old != body:
                self.put(key, body, its)

    def bulk_insert(self):
        free = sorted(set(range(KEYS)) - self.rows.keys())[:3]
        if free:
            rows = [{"id": key, "body": self.text(), "lang": "de"} for key in free]
            self.session.execute(sa.insert(self.model), rows)
            for row in rows:
                self.put(row["id"], row["body"], "de")

    def bulk_delete(self):
        low = self.rng.randrange(KEYS)
        inside = self.model.id.between(low, low + 3)
        self.session.execute(sa.delete(self.model).where(inside))
        self.forget(low)

    def by_hand(self):
        if self.triggers:
            low = self.rng.randrange(KEYS)
            self.session.flush()
            text = "DELETE FROM articles WHERE id BETWEEN :low AND :low + 3"
            self.session.connection().execute(sa.text(text), {"low": low})
            self.session.expire_all()
            for one in list(self.session):
                if low <= sa.inspect(one).identity[0] <= low + 3:
                    self.session.expunge(one)
            self.forget(low)

    def forget(self, low):
        self.rows = {k: row for k, row in self.rows.items() if not low <= k <= low + 3}

    def savepoint(self):
        self.session.flush()
        before, point = dict(self.rows), self.session.begin_nested()
        for _ in range(self.rng.randrange(1, 5)):
            self.rng.choice(
                [self.add, self.change_body, self.give, self.delete, self.bulk_update]
            )()
        if self.rng.random() < 0.6:
            point.rollback()
            self.rows = before
        else:
            point.commit()

    def commit(self):
        self.session.commit()
        self.committed = dict(self.rows)
        self.check_stored()

    def rollback(self):
        self.session.rollback()
        self.rows = dict(self.committed)

    def check_stored(self):
        assert stored(self.model.embedding.collection) == {
            key: (body, {"lang": lang}, None if vector is None else vector.tolist())
            for key, (body, lang, vector) in self.committed.items()
        }

    def search(self):
        query = vector_of(f"query {self.rng.random()}")
        lang = self.rng.choice([None, "en", "de"])
        where = None if lang is None else self.model.lang == lang
        found = self.model.embedding.search(self.session, query, 5, where=where)
        vectors = {k: row[2] for k, row in sorted(self.rows.items()) if lang in (None, row[1])}
        want = nearest(query, vectors, 5)
        assert [match.score for match in found] == [score for _, score in want]
        exact = dict(nearest(query, vectors, len(vectors)))
        assert all(exact[match.object.id] == match.score for match in found)
        for match in found:
            np.testing.assert_array_equal(match.object.embedding, self.rows[match.object.id][2])


@pytest.mark.parametrize("seed", range(6))
def test_a_random_history(app, seed):
    model = article(app)
    triggers = seed % 2 == 1
    if triggers:
        with app.engine.begin() as connection:
            follow_deletes(connection, model.embedding)
    if seed % 3 == 2:
        model.embedding.collection.add_index("main", precision="float32")
    with app.sessions() as session:
        history = History(session, model, seed, triggers)
        steps = [
            history.add, history.add, history.add_given, history.change_body, history.change_lang,
            history.give, history.delete, history.rename, history.bulk_update, history.bulk_insert,
            history.bulk_delete, history.by_hand, history.savepoint, history.commit,
            history.rollback, history.search, history.search,
        ]  # fmt: skip
        for _ in range(STEPS):
            history.rng.choice(steps)()
        history.commit()
        history.search()
        assert model.embedding.sync(session)[1] == 0
        session.rollback()
    assert model.embedding.collection.verify(deep=True).ok

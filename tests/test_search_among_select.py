"""Searches among the ids that a statement selects: joined in the database, in the same snapshot."""

from __future__ import annotations

import uuid

import numpy as np
import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, aliased, mapped_column

import requant
from requant.errors import InputError, StoreError
from requant.search.search import FEW
from tests.databases import metadata, vectors

DIM, N = 8, 300
UUIDS = [uuid.UUID(int=n * 0x1234_5678_9ABC_DEF0_1234) for n in range(N)]


class Base(DeclarativeBase):
    pass


class Hex(sa.types.TypeDecorator[uuid.UUID]):
    """As SQLAlchemy's documentation keeps a UUID in 32 characters."""

    impl = sa.CHAR(32)
    cache_ok = True

    def process_bind_param(self, value, _dialect):
        return None if value is None else value.hex

    def process_result_value(self, value, _dialect):
        return None if value is None else uuid.UUID(value)


class Article(Base):
    __tablename__ = "articles"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(sa.String(50))
    padded: Mapped[str] = mapped_column(sa.CHAR(20))
    named: Mapped[uuid.UUID]
    plain: Mapped[uuid.UUID] = mapped_column(sa.Uuid(native_uuid=False))
    hexed: Mapped[uuid.UUID] = mapped_column(Hex)
    absent: Mapped[int | None]
    share: Mapped[float]
    author: Mapped[int] = mapped_column(index=True)


@pytest.fixture
def notes(any_db):
    Base.metadata.create_all(any_db.engine)
    rows = [
        {"id": n, "name": f"n-{n}", "padded": f"n-{n}", "named": UUIDS[n], "plain": UUIDS[n],
         "hexed": UUIDS[n], "absent": n if n % 3 else None, "share": n / 7, "author": n % 30}
        for n in range(N)
    ]  # fmt: skip
    with any_db.engine.begin() as connection:
        connection.execute(sa.insert(Article), rows)
    return any_db.create_collection("notes", DIM)


def put(notes, ids):
    notes.upsert(ids, vectors(N, DIM), metadata=metadata(N))


KINDS = {
    "id": list(range(N)),
    "name": [f"n-{n}" for n in range(N)],
    "padded": [f"n-{n}" for n in range(N)],
    "named": UUIDS,
    "plain": UUIDS,
    "hexed": UUIDS,
}


@pytest.mark.parametrize("column", KINDS)
def test_a_select_means_what_its_ids_mean(notes, column):
    ids = KINDS[column]
    put(notes, ids)
    notes.add_index("main", precision="float32")
    for bound in (1, 3, 29, 30):
        chosen = sa.select(getattr(Article, column)).where(Article.author < bound)
        named = [ids[n] for n in range(N) if n % 30 < bound]
        for query in vectors(2, DIM, seed=4):
            wanted = notes.search(query, 7, among=named)
            assert notes.search(query, 7, among=chosen) == wanted
            where = {"even": True, "$id": {"$in": named[::2]}}
            wanted = notes.search(query, 7, where=where, among=named)
            assert notes.search(query, 7, where=where, among=chosen) == wanted
        batch = notes.search_many(vectors(2, DIM), 5, among=chosen)
        assert batch.ids == notes.search_many(vectors(2, DIM), 5, among=named).ids


def test_what_else_a_statement_may_be(notes):
    put(notes, range(N))
    query, author = np.ones(DIM), Article.author
    some = [n for n in range(N) if n % 30 == 4]
    wanted = notes.search(query, among=some)
    both = sa.union(sa.select(Article.id).where(author == 4), sa.select(Article.id).where(False))
    text = sa.text("SELECT id FROM articles WHERE author = :a").bindparams(a=4)
    for chosen in (
        both,
        text.columns(sa.column("id", sa.Integer)),
        text.columns(sa.column("id")),
        sa.select(sa.func.max(Article.id)).where(author == 4).group_by(Article.id),
        sa.select(Article.id).where(author == 4).order_by(Article.id).limit(100),
        sa.select(Article.id).where(author == 4, Article.name != "'; DROP TABLE articles"),
        sa.select(sa.literal_column("id").label("x")).select_from(Article).where(author == 4),
        Session().query(Article.id).where(author == 4),
    ):
        assert notes.search(query, among=chosen) == wanted
    nulls = sa.select(Article.absent).where(author == 4)
    assert notes.search(query, among=nulls) == notes.search(query, among=[n for n in some if n % 3])
    assert notes.search(query, among=sa.select(Article.id).where(False)) == []
    unknown = sa.select(Article.id + 1000)
    assert notes.search(query, among=unknown) == []


@pytest.mark.parametrize("few", [0, 9, 10, 11, FEW])
def test_few_are_read_with_their_vectors_and_many_are_joined(notes, monkeypatch, few):
    """Ten are selected, and more than that with duplicates: no way of answering differs."""
    monkeypatch.setattr("requant.search.answer.FEW", few)
    put(notes, range(N))
    notes.upsert([34], [None])
    query, some = np.ones(DIM), [n for n in range(N) if n % 30 == 4]
    wanted = notes.search(query, 20, among=some)
    assert len(wanted) == 9
    once = sa.select(Article.id).where(Article.author == 4)
    other = aliased(Article)
    often = once.join(other, other.author == Article.author)
    texts = sa.select(sa.cast(Article.id, sa.String)).where(Article.author == 4)
    for chosen in (once, often, texts):
        assert notes.search(query, 20, among=chosen) == wanted
        ids = [hit.id for hit in notes.search(query, 20, where={"even": True}, among=chosen)]
        assert ids == [hit.id for hit in wanted if hit.metadata["even"]]
        like = notes.more_like([4, 64], 3, among=chosen, mmr=0.5, vectors=True)
        same = notes.more_like([4, 64], 3, among=some, mmr=0.5, vectors=True)
        assert [(hit.id, hit.score) for hit in like] == [(hit.id, hit.score) for hit in same]


def test_it_sees_what_the_transaction_has_written(notes, any_db):
    put(notes, range(N))
    notes.add_index("main", precision="int8")
    query = np.ones(DIM)
    chosen = sa.select(Article.id).where(Article.author == 77)
    assert notes.search(query, among=chosen) == []
    with Session(any_db.engine) as session:
        session.execute(sa.update(Article).where(Article.id < 3).values(author=77))
        notes.upsert([1], [query], connection=session)
        notes.delete([2], connection=session)
        found = notes.search(query, among=chosen, connection=session)
        assert [hit.id for hit in found] == [1, 0]
        assert notes.search(query, among=chosen) == []
        session.commit()
    assert notes.search(query, among=chosen) == found


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        (sa.select(Article), "one column of ids; this has 9: id, name"),
        (sa.select(Article.id).subquery(), "not Subquery"),
        (Article.id, "not"),
        (sa.select(Article.share), "ids row 0"),
    ],
)
def test_what_is_no_select_of_ids_is_refused(notes, wrong, text):
    put(notes, range(N))
    with pytest.raises(InputError, match=text):
        notes.search(np.ones(DIM), among=wrong)


def test_a_table_of_another_database_is_named(notes, any_db):
    chosen = sa.select(sa.table("elsewhere", sa.column("id", sa.Integer)).c.id)
    put(notes, range(N))
    with pytest.raises(StoreError, match=r"(?s)among= selects.*elsewhere.*connection="):
        notes.search(np.ones(DIM), among=chosen)
    assert len(notes.search(np.ones(DIM))) == 10
    with any_db.engine.connect() as connection, pytest.raises(sa.exc.DBAPIError, match="elsewhere"):
        notes.search(np.ones(DIM), among=chosen, connection=connection)


def test_a_column_with_a_collation_of_its_own(empty_postgres, tmp_path):
    with requant.open(empty_postgres, folder=tmp_path / "indexes") as db:
        notes = db.create_collection("notes", DIM)
        notes.upsert(["a", "B"], vectors(2, DIM))
        table = sa.Table("t", sa.MetaData(), sa.Column("id", sa.Text(collation="C")))
        table.create(db.engine)
        with db.engine.begin() as connection:
            connection.execute(sa.insert(table), [{"id": "a"}, {"id": "b"}])
        found = notes.search(np.ones(DIM), among=sa.select(table.c.id))
        assert [hit.id for hit in found] == ["a"]


def test_a_search_takes_three_round_trips(empty_postgres, tmp_path, monkeypatch):
    with requant.open(empty_postgres, folder=tmp_path / "indexes") as db:
        notes = db.create_collection("notes", DIM)
        notes.upsert(range(N), vectors(N, DIM))
        notes.add_index("main", precision="int8")
        wanted, trips = notes.search(np.ones(DIM), oversample=4), []
        wait = psycopg.Connection.wait

        def counted(self, *given, **options):
            trips.append(1)
            return wait(self, *given, **options)

        monkeypatch.setattr(psycopg.Connection, "wait", counted)
        assert notes.search(np.ones(DIM), oversample=4) == wanted
        assert len(trips) == 3

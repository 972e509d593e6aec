"""In a transaction of each driver of asyncio, verbs do what they do in a database of their own."""

import asyncio
import random

import numpy as np
import pytest
from sqlalchemy.ext.asyncio import AsyncSession

import requant
from tests.aio import DRIVERS, async_url, opened

DIM = 6
IDS = [*(f"id {n}" for n in range(25)), *range(15)]
WORDS = [
    "en",
    "de",
    'f"r',
    "{a,b}",
    "\\N",
    "NULL",
    "x" * 300,
    "日本",
    1,
    2.5,
    True,
    None,
    ["a", 1],
    {},
]


class Script:
    """Random verbs with their arguments, the same for both."""

    def __init__(self, seed):
        self.chance = random.Random(seed)
        self.floats = np.random.default_rng(seed)

    def verb(self):
        verbs = [
            self.upsert, self.upsert, self.add, self.many, self.update, self.update_where,
            self.delete, self.delete_where, self.rarely_clear,
        ]  # fmt: skip
        return self.chance.choice(verbs)()

    def upsert(self):
        ids = self.ids()
        taken = self.chance.choice(["replace", "replace", "skip", "error"])
        return "upsert", (ids, *self.columns(len(ids))), {"on_conflict": taken}

    def add(self):
        ids = self.ids()
        return "add", (ids, *self.columns(len(ids))), {}

    def many(self):
        ids, vectors = self.ids(), self.floats.standard_normal((40, DIM)).astype(np.float32)
        rows = [
            {"id": one, "vector": vectors[n], "metadata": self.metadata()}
            for n, one in enumerate(ids)
        ]
        return "upsert_many", (rows,), {"batch": 7}

    def update(self):
        ids = self.ids(most=12)
        vectors, documents, metadata = self.columns(len(ids))
        return "update", (ids,), {"vectors": vectors, "documents": documents, "metadata": metadata}

    def update_where(self):
        return (
            "update",
            (),
            {"where": self.where(), "metadata": {"n": self.chance.randint(0, 9), "t": None}},
        )

    def delete(self):
        return "delete", (self.ids(most=9),), {}

    def delete_where(self):
        return "delete", (), {"where": {"n": self.chance.randint(0, 9)}}

    def rarely_clear(self):
        return ("clear", (), {}) if self.chance.random() < 0.3 else self.upsert()

    def where(self):
        value = self.chance.choice([word for word in WORDS if isinstance(word, str)])
        return self.chance.choice(
            [{"t": value}, {"n": {"$gte": self.chance.randint(0, 9)}}, {"$not": {"t": value}}]
        )

    def ids(self, most=40):
        return self.chance.sample(IDS, self.chance.choice([1, 1, self.chance.randint(1, most)]))

    def columns(self, n):
        vectors = list(self.floats.standard_normal((n, DIM)).astype(np.float32))
        if self.chance.random() < 0.3:
            vectors = [self.chance.choice([None, one]) for one in vectors]
        words = ["", "text", '日本 \\ "', "{", None]
        documents = [self.chance.choice(words) for _ in range(n)]
        metadata = [self.metadata() for _ in range(n)]
        columns = [vectors, documents, metadata]
        missing = self.chance.choice([None, None, 0, 1, 2])
        if missing is not None:
            columns[missing] = None
        return columns

    def metadata(self):
        if self.chance.random() < 0.1:
            return None
        return {"t": self.chance.choice(WORDS), "n": self.chance.randint(0, 9)}


async def outcome(call):
    try:
        return await call
    except requant.RequantError as error:
        return type(error), str(error)


def sync_outcome(call, *given, **options):
    try:
        return call(*given, **options)
    except requant.RequantError as error:
        return type(error), str(error)


def told(items):
    return [
        (one.id, one.document, one.metadata, None if one.vector is None else one.vector.tobytes())
        for one in items
    ]


async def compare(script, notes, twin, lent):
    assert told([one async for one in notes.iter(connection=lent)]) == told(twin.iter())
    for where in (script.where(), {"n": {"$lt": 5}}):
        assert await notes.count(where, connection=lent) == twin.count(where)
    for field in ("t", "n"):
        assert await notes.distinct(field, connection=lent) == twin.distinct(field)
    ids = script.ids()
    assert told(await notes.get(ids, vectors=True, connection=lent)) == told(
        twin.get(ids, vectors=True)
    )
    query = script.floats.standard_normal(DIM).astype(np.float32)
    for where in (None, script.where()):
        hits = await notes.search(query, k=5, where=where, connection=lent)
        there = twin.search(query, k=5, where=where, exact=True)
        assert [hit.id for hit in hits] == [hit.id for hit in there]


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("seed", range(2))
def test_random_verbs(driver, seed, tmp_path, request):
    url = async_url(driver, tmp_path, request)
    fields = ["t", "n"] if seed % 2 == 0 else []
    script = Script(seed)

    async def transaction(engine, notes, twin):
        async with AsyncSession(engine) as session:
            for _ in range(script.chance.randint(1, 6)):
                verb, given, options = script.verb()
                here = outcome(getattr(notes, verb)(*given, **options, connection=session))
                there = sync_outcome(getattr(twin, verb), *given, **options)
                assert await here == there, (verb, given, options)
                await compare(script, notes, twin, session)
            await session.commit()

    async def rolled_back(engine, notes):
        async with AsyncSession(engine) as session:
            for _ in range(script.chance.randint(1, 3)):
                verb, given, options = script.verb()
                await outcome(getattr(notes, verb)(*given, **options, connection=session))
            await session.rollback()

    async def main():
        async with opened(url, tmp_path, DIM, **pool()) as (engine, db, _):
            notes = await db.create_collection("same", DIM, index_fields=fields)
            with requant.open(":memory:") as beside:
                twin = beside.create_collection("same", DIM, index_fields=fields)
                await notes.add_index("main", engine="faiss", precision="float32")
                for _ in range(6):
                    await transaction(engine, notes, twin)
                    await rolled_back(engine, notes)
                    await compare(script, notes, twin, None)
                assert (await notes.verify(deep=True)).ok

    asyncio.run(main())


def pool():
    """One connection is enough for everything."""
    return {"pool_size": 1, "max_overflow": 0, "pool_timeout": 5}

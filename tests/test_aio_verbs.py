"""The asynchronous classes have all verbs of the synchronous ones, and take and return the same."""

import ast
import asyncio
import inspect
import runpy
from pathlib import Path
from typing import ForwardRef

import numpy as np
import pytest

import requant
from requant.collection import Collection
from requant.database import Database
from requant.errors import InputError, UnknownIdError, UnsupportedError
from requant.integration.sqlalchemy import aio
from requant.integration.sqlalchemy.aio.search_options import AsyncSearchOptions
from requant.search import SearchOptions

MAKE = runpy.run_path(str(Path(__file__).parents[1] / "docs" / "make_async.py"))
TWINS = {Collection: aio.AsyncCollection, Database: aio.AsyncDatabase}
# What does no I/O and stays a property; the engine is an asynchronous one.
PROPERTIES = {"name", "dim", "metric", "closed", "read_only", "engine"}
# What each has that the other has not.
WITHIN = {
    node.name
    for kind in TWINS
    for text in [Path(inspect.getsourcefile(kind)).read_text("utf-8")]
    for node in ast.walk(ast.parse(text))
    if isinstance(node, ast.FunctionDef) and node.lineno > MAKE["within"](text)
}
OWN = {"sync_collection", "sync_database", "sees"}
MEMBERS = [
    (kind, name)
    for kind in TWINS
    for name in vars(kind)
    if not name.startswith("_") and name not in WITHIN
]


def public(kind):
    return {name for name in dir(kind) if not name.startswith("_")}


@pytest.mark.parametrize("kind", TWINS)
def test_none_lacks_a_verb(kind):
    assert public(TWINS[kind]) - OWN == public(kind) - WITHIN


@pytest.mark.parametrize(("kind", "name"), MEMBERS)
def test_each_takes_and_returns_the_same(kind, name):
    sync, twin = getattr(kind, name), getattr(TWINS[kind], name)
    if name in PROPERTIES:
        assert isinstance(twin, property)
        return
    assert inspect.iscoroutinefunction(twin) or name == "iter"
    if isinstance(sync, property):
        assert list(inspect.signature(twin).parameters) == ["self"]
        sync = sync.fget
    ours, theirs = inspect.signature(twin), inspect.signature(sync)
    for one, other in zip(ours.parameters.values(), theirs.parameters.values(), strict=True):
        assert (one.name, one.kind, one.default) == (other.name, other.kind, other.default)
        if one.name == "connection":
            assert one.annotation == "AsyncLent | None"
        elif one.kind is one.VAR_KEYWORD:
            assert one.annotation.replace("[AsyncSearch", "[Search") == other.annotation
        elif name == "upsert_many" and one.name == "rows":
            assert one.annotation.startswith(other.annotation)
        else:
            assert one.annotation == other.annotation
    returns = {"Collection": "AsyncCollection", "Iterator[Item]": "Stream[Item]"}
    assert ours.return_annotation == returns.get(theirs.return_annotation, theirs.return_annotation)


def test_what_opens_takes_the_same():
    ours, theirs = (
        inspect.signature(aio.open).parameters,
        inspect.signature(requant.open).parameters,
    )
    assert set(ours) - {"sync_engine"} == set(theirs)
    for name in set(theirs) - {"target"}:
        assert (ours[name].default, ours[name].annotation) == (
            theirs[name].default,
            theirs[name].annotation,
        )


@pytest.mark.parametrize("path", MAKE["modules"](), ids=lambda path: path.name)
def test_what_is_generated_is_current(path):
    assert path.read_text("utf-8") == MAKE["modules"]()[path], "run: python docs/make_async.py"


def test_a_search_may_be_asked_the_same():
    ours, theirs = AsyncSearchOptions.__annotations__, SearchOptions.__annotations__
    assert ours.keys() == theirs.keys()
    assert len(ours) > 10
    assert (
        ours.get("connection", ForwardRef("AsyncLent | None")).__forward_arg__ == "AsyncLent | None"
    )


def test_every_kind_of_verb_works(tmp_path):
    async def run():
        async with await aio.open(tmp_path / "notes.requant") as db:
            assert not db.read_only
            await db.keep_up()
            notes = await db.create_collection("notes", 2, index_fields=["lang"])
            assert (notes.name, notes.dim, notes.metric, notes.closed) == (
                "notes", 2, "cosine", False,
            )  # fmt: skip
            assert (
                await notes.upsert(["a", "b"], [[1, 0], [0, 1]], metadata=[{"lang": "en"}] * 2) == 2
            )
            assert await notes.add(["c"], [[1, 1]], documents=["text"]) == 1
            assert (
                await notes.upsert_texts(["d"], ["four"], lambda texts: [[0, 2]] * len(texts)) == 1
            )
            rows = ({"id": n, "vector": [n, 1]} for n in range(10))
            assert await notes.upsert_many(rows) == 10
            assert await notes.update(["c"], metadata={"lang": "de"}) == 1
            assert await notes.count({"lang": "en"}) == 2
            assert (await notes.distinct("lang"))[0] == ("en", 2)
            assert (await notes.extent("lang")).greatest == "en"
            assert [item.id for item in await notes.get(["b", "x", "a"])] == ["b", "a"]
            assert (await notes.vectors(["c"])).tolist() == [[1, 1]]
            with pytest.raises(UnknownIdError):
                await notes.vectors(["x"])
            told = []
            await notes.add_index("main", engine="faiss", progress=lambda *at: told.append(at))
            assert told[-1] == (14, 14)
            assert [index.name for index in await notes.indexes()] == ["main"]
            assert (await notes.fields())[0].name == "lang"
            hits = await notes.search([1, 0], k=1, where={"lang": "en"})
            assert [hit.id for hit in hits] == ["a"]
            assert (await notes.search_many([[1, 0], [0, 1]], k=1)).ids == [["a"], ["b"]]
            assert [hit.id for hit in await notes.more_like("b", k=1)] == ["d"]
            assert (await notes.search_text("x", k=1))[0].id in ("b", "d")
            report = await notes.migrate("small", engine="faiss", precision="int4", k=1)
            assert (report.ok, len(await notes.migrations())) == (True, 1)
            assert await notes.rollback() == "main"
            assert (await notes.verify(deep=True)).ok
            await notes.flush()
            assert (await notes.export(tmp_path / "out", format="parquet")).rows == 14
            await db.backup(tmp_path / "all.backup")
            assert (tmp_path / "all.backup").exists()
            assert await notes.delete(where={"lang": "en"}) == 2
            assert await notes.ids(limit=2) == ["c", "d"]
            assert await notes.clear() == 12
            assert await db.collections() == ["notes"]
            assert (await db.collection("notes")).sync_collection is notes.sync_collection
            with pytest.raises(InputError):
                await notes.upsert([""], [[1, 0]])
            await notes.close()
            assert notes.closed
            await db.drop_collection("notes")
            assert await db.collections() == []

    asyncio.run(run())


def test_an_iterator_reads_one_snapshot(tmp_path):
    async def run():
        async with await aio.open(tmp_path / "notes.requant") as db:
            notes = await db.create_collection("notes", 2)
            floats = np.ones((100, 2), np.float32)
            await notes.upsert(range(100), floats)
            found = []
            async for item in notes.iter(batch=7):
                found.append(item.id)
                if len(found) == 10:
                    await notes.clear()
            assert found == list(range(100))
            assert [item async for item in notes.iter()] == []
            await notes.upsert(range(100), floats)
            items = notes.iter(batch=1, vectors=False)
            assert (await anext(items)).vector is None
            await items.aclose()
            with pytest.raises(requant.StoreError, match="iterator was closed"):
                await anext(items)
            with pytest.raises(InputError, match="batch"):
                await anext(notes.iter(batch=0))
            with pytest.raises(requant.FilterError):
                await anext(notes.iter(where={"$nonsense": 1}))

    asyncio.run(run())


def test_a_row_iterator_may_be_asynchronous(tmp_path):
    async def rows(n, fails=False):
        for number in range(n):
            await asyncio.sleep(0)
            yield {"id": number, "vector": [number, 1]}
        if fails:
            raise ZeroDivisionError

    async def run():
        async with await aio.open(tmp_path / "notes.requant") as db:
            notes = await db.create_collection("notes", 2)
            assert await notes.upsert_many(rows(1000), batch=64) == 1000
            assert await notes.ids() == list(range(1000))
            await notes.clear()
            with pytest.raises(ZeroDivisionError):
                await notes.upsert_many(rows(1000, fails=True), batch=300)
            assert await notes.ids() == list(range(900))  # the whole batches before

    asyncio.run(run())


def test_what_is_open_here_is_not_pickled(tmp_path):
    import pickle

    async def run():
        async with await aio.open(tmp_path / "notes.requant") as db:
            for one in (db, await db.create_collection("notes", 2)):
                with pytest.raises(UnsupportedError, match="let each process"):
                    pickle.dumps(one)

    asyncio.run(run())

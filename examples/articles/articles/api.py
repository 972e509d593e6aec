"""What the application answers. Each request that writes is one transaction of both: its rows and
their vectors come to stay together, or neither does."""

from __future__ import annotations

import os
from datetime import date
from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import APIRouter, HTTPException, Query, Request, Response
from fastapi.responses import FileResponse
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.ext.asyncio import AsyncSession

from articles.database import sessions
from articles.models import Article
from articles.settings import HOME

router = APIRouter()


class Draft(BaseModel):
    """A new article."""

    title: str = Field(min_length=1, max_length=200)
    body: str = Field(min_length=1, max_length=100_000)
    topic: str = Field(default="", max_length=40)
    published: date = Field(default_factory=date.today)


class Change(BaseModel):
    """What is to be changed of an article; what is not given stays."""

    model_config = ConfigDict(extra="forbid")

    title: str | None = Field(default=None, min_length=1, max_length=200)
    body: str | None = Field(default=None, min_length=1, max_length=100_000)
    topic: str | None = Field(default=None, max_length=40)
    published: date | None = None


class Shown(BaseModel):
    """An article as it is answered."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    title: str
    body: str
    topic: str
    published: date


class Found(Shown):
    """An article that was searched for, and how near it is: 1 is the same."""

    score: float


class Wanted(BaseModel):
    """Which articles are searched: conditions on our own columns."""

    topic: str | None = None
    since: date | None = None
    until: date | None = None
    contains: str | None = None
    k: int = Field(default=10, ge=1, le=100)

    def where(self) -> sa.ColumnElement[bool]:
        """Return it as SQL."""
        conditions = []
        if self.topic is not None:
            conditions.append(Article.topic == self.topic)
        if self.since is not None:
            conditions.append(Article.published >= self.since)
        if self.until is not None:
            conditions.append(Article.published <= self.until)
        if self.contains is not None:
            text = self.contains
            conditions.append(
                sa.or_(
                    Article.title.icontains(text, autoescape=True),
                    Article.body.icontains(text, autoescape=True),
                )
            )
        return sa.and_(sa.true(), *conditions)

    @property
    def any(self) -> bool:
        """Whether there is a condition at all."""
        return any((self.topic, self.since, self.until, self.contains))


Conditions = Annotated[Wanted, Query()]


@router.get("/", include_in_schema=False)
async def page() -> FileResponse:
    return FileResponse(HOME / "articles" / "page.html", media_type="text/html")


@router.post("/articles", status_code=201)
async def create(draft: Draft) -> Shown:
    async with sessions.begin() as session:  # commits at its end, before we answer
        article = Article(**draft.model_dump())
        session.add(article)
        await session.flush()  # embeds the body, and writes the row and its vector
        return Shown.model_validate(article)


@router.post("/articles/batch", status_code=201)
async def create_many(drafts: list[Draft]) -> list[int]:
    """Store all of them or, if one cannot be stored, none."""
    async with sessions.begin() as session:
        articles = [Article(**draft.model_dump()) for draft in drafts]
        session.add_all(articles)
        await session.flush()
        return [article.id for article in articles]


@router.get("/articles")
async def listed(wanted: Conditions) -> list[Shown]:
    """The newest articles that meet the conditions; no vector is looked at."""
    async with sessions() as session:
        newest = sa.select(Article).where(wanted.where())
        newest = newest.order_by(Article.published.desc(), Article.id.desc()).limit(wanted.k)
        return [Shown.model_validate(article) for article in await session.scalars(newest)]


@router.get("/articles/{number}")
async def shown(number: int) -> Shown:
    async with sessions() as session:
        return Shown.model_validate(await existing(session, number))


@router.patch("/articles/{number}")
async def change(number: int, wanted: Change) -> Shown:
    async with sessions.begin() as session:
        article = await existing(session, number)
        for name, value in wanted.model_dump(exclude_none=True).items():
            setattr(article, name, value)
        await session.flush()  # another body is another vector
        return Shown.model_validate(article)


@router.delete("/articles/{number}", status_code=204)
async def delete(number: int) -> Response:
    async with sessions.begin() as session:
        await session.delete(await existing(session, number))
    return Response(status_code=204)


@router.get("/search")
async def search(q: Annotated[str, Query(min_length=1)], wanted: Conditions) -> list[Found]:
    """The articles nearest in meaning, of those that meet the conditions."""
    async with sessions() as session:
        return await nearest(session, q, wanted.k, wanted)


@router.get("/articles/{number}/similar")
async def similar(number: int, wanted: Conditions) -> list[Found]:
    """The articles nearest to one of them."""
    async with sessions() as session:
        article = await existing(session, number)
        (vector,) = await session.run_sync(lambda inner: Article.embedding.load(inner, [article]))
        found = await nearest(session, vector, wanted.k + 1, wanted)
        return [one for one in found if one.id != number][: wanted.k]


@router.get("/topics")
async def topics() -> dict[str, int]:
    """How many articles there are, by topic."""
    async with sessions() as session:
        counts = sa.select(Article.topic, sa.func.count()).group_by(Article.topic)
        counts = counts.order_by(Article.topic)
        return {topic: count for topic, count in await session.execute(counts)}


@router.get("/metrics")
async def metrics(request: Request) -> dict[str, Any]:
    """What this worker has done with requant; see docs/operations.md."""
    return {"worker": os.getpid(), **(await request.app.state.db.metrics()).as_dict()}


async def nearest(session: AsyncSession, query: Any, k: int, wanted: Wanted) -> list[Found]:
    where = wanted.where() if wanted.any else None
    matches = await Article.embedding.asearch(session, query, k, where=where)
    return [
        Found(**Shown.model_validate(match.object).model_dump(), score=match.score)
        for match in matches
    ]


async def existing(session: AsyncSession, number: int) -> Article:
    article = await session.get(Article, number)
    if article is None:
        raise HTTPException(404, f"there is no article {number}")
    return article

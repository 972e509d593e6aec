"""The application: `uvicorn articles.main:app --workers 4`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from sqlalchemy.exc import IntegrityError

from articles.api import router
from articles.database import opened
from articles.embedding import NoKnownWordError
from requant.errors import RequantError


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Open the database as a worker begins: each has its own, and all see the same."""
    async with opened() as db:
        app.state.db = db
        yield


app = FastAPI(title="Articles", lifespan=lifespan)
app.include_router(router)


@app.exception_handler(IntegrityError)
async def taken(_request: Request, _error: IntegrityError) -> JSONResponse:
    """The transaction is rolled back by now, that of the vectors with it."""
    return JSONResponse({"detail": "there is an article of that title already"}, 409)


@app.exception_handler(NoKnownWordError)
async def unknown_words(_request: Request, error: NoKnownWordError) -> JSONResponse:
    return JSONResponse({"detail": str(error)}, 422)


@app.exception_handler(RequantError)
async def refused(_request: Request, error: RequantError) -> JSONResponse:
    """What requant says of a request; an embedding that fails in a flush comes as its cause."""
    unknown = isinstance(error.__cause__, NoKnownWordError)
    return JSONResponse({"detail": str(error)}, 422 if unknown else 500)

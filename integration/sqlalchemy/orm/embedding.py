"""Documents to vectors during a flush: many at once, and beside the event loop if there is one."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeVar

from requant.embeddings import embed
from requant.errors import RequantError
from requant.integration.sqlalchemy.orm.errors import EmbedError
from requant.integration.sqlalchemy.orm.mapped import Mapped
from requant.quantizers.arrays import Float32s

T = TypeVar("T")
# What `requant.embeddings.embed` hands to a model at once; its errors count rows within that.
_BATCH = 1024
_NAMED = 5


def embedded(mapped: Mapped, rows: Sequence[tuple[str, str]]) -> dict[str, Float32s]:
    """Return the vectors of documents, by document; `rows` are (name of the row, document).

    Raises EmbedError, or what is wrong with a vector, with the name of the row.
    """
    names: dict[str, str] = {}
    for name, document in rows:
        names.setdefault(document, name)
    texts = list(names)
    found: dict[str, Float32s] = {}
    for start in range(0, len(texts), _BATCH):
        part = texts[start : start + _BATCH]
        vectors = _run(mapped, part, [names[text] for text in part])
        found.update(zip(part, vectors, strict=True))
    return found


def query_vector(mapped: Mapped, text: str) -> Float32s:
    """Return the vector of a text that is searched for."""
    vector: Float32s = asked(mapped.vector.embed, [text], "query", mapped.vector.dim)[0]
    return vector


def asked(model: Any, texts: list[str], kind: Literal["document", "query"], dim: int) -> Float32s:
    """Ask a model, in a thread where an event loop would wait for it."""
    return _beside_the_loop(lambda: embed(model, texts, kind, dim, progress=_nobody, patient=False))


def _nobody(_done: int, _total: int) -> None:
    """Show no bar in the middle of an application's transaction."""


def _run(mapped: Mapped, texts: list[str], names: list[str]) -> Float32s:
    vector = mapped.vector
    try:
        return asked(vector.embed, texts, "document", vector.dim)
    except RequantError as error:
        row = re.search(r"\brow (\d+)", str(error))
        raise type(error)(f"{_few(names, row and int(row[1]))}: {error}") from error
    except Exception as error:
        raise EmbedError(
            f"{_few(names, None)}: embed= raised {type(error).__name__}: {error}"
        ) from error


def _few(names: list[str], row: int | None) -> str:
    if row is not None and row < len(names):
        return names[row]
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _beside_the_loop(work: Callable[[], T]) -> T:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return work()
    from sqlalchemy.util.concurrency import await_only, in_greenlet

    if not in_greenlet():  # a Session that was made for a thread, used in one that has a loop
        return work()
    found: T = await_only(asyncio.to_thread(work))
    return found

"""Fill the database with definitions of WordNet: `python -m articles.seed [HOW_MANY]`."""

from __future__ import annotations

import asyncio
import sys
from datetime import date, timedelta

import sqlalchemy as sa

from articles.database import opened, sessions
from articles.embedding import definitions
from articles.models import Article

_AT_ONCE = 500
_BEGIN = date(2020, 1, 1)
# What the example data calls by number.
_TOPICS = {
    3: "top", 4: "act", 5: "animal", 6: "artifact", 7: "attribute", 8: "body", 9: "cognition",
    10: "communication", 11: "event", 12: "feeling", 13: "food", 14: "group", 15: "location",
    16: "motive", 17: "object", 18: "person", 19: "phenomenon", 20: "plant", 21: "possession",
    22: "process", 23: "quantity", 24: "relation", 25: "shape", 26: "state", 27: "substance",
    28: "time",
}  # fmt: skip


async def fill(count: int) -> int:
    """Store up to `count` articles, those whose titles are taken left out; return how many."""
    items, _ = definitions()
    step = max(len(items) // max(count, 1), 1)  # of every kind some
    by_title = {item["lemmas"][0]: item for item in items[::step][:count]}
    async with opened(), sessions() as session:
        taken = set(await session.scalars(sa.select(Article.title)))
        await session.commit()
        articles = [
            Article(
                title=title,
                body=item["text"],
                topic=_TOPICS.get(item["lexname"], item["pos"]),
                published=_BEGIN + timedelta(days=row % 2000),
            )
            for row, (title, item) in enumerate(by_title.items())
            if title not in taken
        ]
        for start in range(0, len(articles), _AT_ONCE):
            session.add_all(articles[start : start + _AT_ONCE])
            await session.commit()
    return len(articles)


if __name__ == "__main__":
    wanted = int(sys.argv[1]) if len(sys.argv) > 1 else 8000
    print(f"{asyncio.run(fill(wanted))} articles stored")

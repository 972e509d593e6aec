"""Fill the database with definitions of WordNet: `python -m articles.seed [HOW_MANY]`."""

from __future__ import annotations

import asyncio
import sys
from datetime import date, timedelta

from articles.database import opened, sessions
from articles.embedding import definitions
from articles.models import Article

_AT_ONCE = 500
# What the example data calls by number.
_TOPICS = {
    3: "top", 4: "act", 5: "animal", 6: "artifact", 7: "attribute", 8: "body", 9: "cognition",
    10: "communication", 11: "event", 12: "feeling", 13: "food", 14: "group", 15: "location",
    16: "motive", 17: "object", 18: "person", 19: "phenomenon", 20: "plant", 21: "possession",
    22: "process", 23: "quantity", 24: "relation", 25: "shape", 26: "state", 27: "substance",
    28: "time",
}  # fmt: skip


async def fill(count: int) -> int:
    """Store the first articles of `count`, those of a title that is taken left out."""
    items, _ = definitions()
    step = max(len(items) // max(count, 1), 1)  # of every kind some
    by_title = {f"{item['lemmas'][0]} ({item['id']})": item for item in items[::step]}
    begin = date(2020, 1, 1)
    articles = [
        Article(
            title=title,
            body=item["text"],
            topic=_TOPICS.get(item["lexname"], item["pos"]),
            published=begin + timedelta(days=row % 2000),
        )
        for row, (title, item) in enumerate(by_title.items())
    ]
    async with opened():
        for start in range(0, len(articles), _AT_ONCE):
            async with sessions.begin() as session:
                session.add_all(articles[start : start + _AT_ONCE])
    return len(articles)


if __name__ == "__main__":
    wanted = int(sys.argv[1]) if len(sys.argv) > 1 else 8000
    print(f"{asyncio.run(fill(wanted))} articles stored")

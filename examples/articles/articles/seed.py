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
_TOPICS = [
    "adj.all",
    "adj.pert",
    "adv.all",
    "noun.Tops",
    "noun.act",
    "noun.animal",
    "noun.artifact",
    "noun.attribute",
    "noun.body",
    "noun.cognition",
    "noun.communication",
    "noun.event",
    "noun.feeling",
    "noun.food",
    "noun.group",
    "noun.location",
    "noun.motive",
    "noun.object",
    "noun.person",
    "noun.phenomenon",
    "noun.plant",
    "noun.possession",
    "noun.process",
    "noun.quantity",
    "noun.relation",
    "noun.shape",
    "noun.state",
    "noun.substance",
    "noun.time",
    "verb.body",
    "verb.change",
    "verb.cognition",
    "verb.communication",
    "verb.competition",
    "verb.consumption",
    "verb.contact",
    "verb.creation",
    "verb.emotion",
    "verb.motion",
    "verb.perception",
    "verb.possession",
    "verb.social",
    "verb.stative",
    "verb.weather",
    "adj.ppl",
]


async def fill(count: int) -> int:
    """Store the first articles of `count`, those of a title that is taken left out."""
    items, _ = definitions()
    by_title = {f"{item['lemmas'][0]} ({item['id']})": item for item in items[:count]}
    begin = date(2020, 1, 1)
    articles = [
        Article(
            title=title,
            body=item["text"],
            topic=_TOPICS[item["lexname"]].rpartition(".")[2],
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

"""The examples of docs/async.md run, and what the page says of threads is what there is."""

import re
import subprocess
import sys
from pathlib import Path

from requant.integration.sqlalchemy.aio.streams import MOST
from requant.integration.sqlalchemy.aio.threads import SIZES

PAGE = (Path(__file__).parents[1] / "docs" / "async.md").read_text("utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)

AROUND = """
import asyncio
import numpy as np
from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from requant.integration.sqlalchemy import aio

async def main():
    engine = create_async_engine("sqlite+aiosqlite:///beside.db")
    url, ids, vectors = "sqlite:///beside.db", ["a"], np.ones((1, 2))
{opening}
    articles = await db.create_collection("articles", dim=2)
    async with AsyncSession(engine) as session, session.begin():
{within}
    print(await articles.ids())
    await db.close()
    await engine.dispose()

asyncio.run(main())
"""


def run(code, tmp_path):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert not done.returncode, done.stderr
    return done.stdout.splitlines()


def indented(code, by):
    return "".join(f"{' ' * by}{line}\n" for line in code.splitlines())


def test_the_first_example(tmp_path):
    lines = run(EXAMPLES[0], tmp_path)
    assert lines[:2] == ["north up", "['north', 'east', 'south']"]
    assert len(lines) == 5


def test_the_others(tmp_path):
    opening = EXAMPLES[1].replace("connect_args=...", "connect_args={'timeout': 60}")
    code = AROUND.format(opening=indented(opening, 4), within=indented(EXAMPLES[2], 8))
    assert run(code, tmp_path) == ["['a']"]
    assert len(EXAMPLES) == 3


def test_the_threads_are_as_many_as_it_says():
    text = re.sub(r"\s+", " ", PAGE)
    assert f"{SIZES['reads']} for searches and other reads, {SIZES['writes']} for writes" in text
    assert f"{SIZES['builds']} for what takes long" in text
    assert f"of at most {MOST}" in text

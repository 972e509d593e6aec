"""examples/articles, as people run it: Alembic, uvicorn with two workers, HTTP, a browser."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa

import requant
from tests import browser

EXAMPLE = Path(__file__).parents[1] / "examples" / "articles"
ROOT = Path(__file__).parents[1]
BODIES = {
    "Fresco": ("artifact", "2024-01-01", "a durable method of painting on a wall with watercolors"),
    "Easel": ("artifact", "2021-06-01", "an upright tripod for displaying a picture of a painter"),
    "Seurat": ("person", "2022-03-04", "French painter who developed pointillism"),
    "Trout": ("animal", "2023-05-06", "a freshwater fish that is caught and eaten"),
    "Pike": ("animal", "2020-07-08", "a large fish of northern rivers and lakes"),
    "Oboe": ("artifact", "2024-02-03", "a slender double-reed instrument of the orchestra"),
}
DRAFTS = [
    {"title": title, "topic": topic, "published": published, "body": body}
    for title, (topic, published, body) in BODIES.items()
]


def environment(url, folder):
    path = os.pathsep.join([str(EXAMPLE), str(ROOT)])
    ours = {
        "ARTICLES_DATABASE_URL": url,
        "ARTICLES_INDEXES": str(folder / "indexes"),
        "PYTHONPATH": path,
        "OMP_NUM_THREADS": "1",
    }
    return {**os.environ, **ours}


def own_database(url, name):
    """Make a database on a PostgreSQL server, beside the one that other tests empty."""
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    engine.dispose()
    return engine.url.set(database=name).render_as_string(hide_password=False)


def seed(env):
    command = [sys.executable, "-m", "articles.seed", "20"]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


def alembic(env, *commands):
    """Run commands of Alembic, one after the other in one process, and return what it said."""
    ini = str(EXAMPLE / "alembic.ini")
    code = f"from alembic.config import main\nfor one in {commands!r}: main(['-c', {ini!r}, *one])"
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@contextmanager
def running(env, folder):
    """The URL of the application, with two workers."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    command = [sys.executable, "-m", "uvicorn", "articles.main:app", "--workers", "2"]
    command += ["--port", str(port), "--log-level", "warning"]
    log = folder / "log"
    with log.open("w") as out:
        server = subprocess.Popen(command, env=env, cwd=folder, stdout=out, stderr=out)
        try:
            wait_for(f"http://127.0.0.1:{port}", server, log)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()
            server.wait(30)
    said = log.read_text()
    assert "Traceback" not in said, said
    assert "Warning" not in said, said


def wait_for(url, server, log):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and server.poll() is None:
        try:
            if len({worker(url) for _ in range(8)}) == 2:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    pytest.fail(f"the example does not run:\n{log.read_text()}")


def worker(url):
    """Which process answers, of a new connection."""
    return httpx.get(f"{url}/metrics", timeout=30).json()["worker"]


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def env(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("articles")
    url = f"sqlite+aiosqlite:///{folder}/articles.db"
    if request.param == "postgresql":
        url = own_database(request.getfixturevalue("postgres_url"), "articles")
        url = url.replace("+psycopg", "+asyncpg")
    found = environment(url, folder)
    # Migrations say what the models say.
    assert "No new upgrade operations" in alembic(found, ["upgrade", "head"], ["check"])
    return found, folder


@pytest.fixture(scope="module")
def url(env):
    with running(*env) as found:
        yield found


@pytest.fixture
def client(url):
    """A client of an application that holds the drafts; every request may meet another worker."""
    limits = httpx.Limits(max_keepalive_connections=0)
    with httpx.Client(base_url=url, limits=limits, timeout=30) as found:
        for one in found.get("/articles", params={"k": 100}).json():
            assert found.delete(f"/articles/{one['id']}").status_code == 204
        assert found.post("/articles/batch", json=DRAFTS).status_code == 201
        yield found


def titles(client, path="/search", **asked):
    answer = client.get(path, params=asked)
    assert answer.status_code == 200, answer.text
    return [one["title"] for one in answer.json()]


def number(client, title):
    (found,) = [one for one in client.get("/articles?k=100").json() if one["title"] == title]
    return found["id"]


def test_what_is_written_is_found_by_every_worker(client):
    body = "a stringed instrument that is played with a bow in the orchestra"
    made = client.post("/articles", json={"title": "Viola", "body": body})
    assert made.status_code == 201
    assert made.json()["body"] == body
    for _ in range(6):
        assert set(titles(client, q="instrument of an orchestra", k=2)) == {"Oboe", "Viola"}
    assert client.get(f"/articles/{made.json()['id']}").json() == made.json()


def test_another_body_is_another_vector(client):
    at = number(client, "Pike")
    changed = client.patch(f"/articles/{at}", json={"body": "a painter of pictures"})
    assert changed.json()["title"] == "Pike"
    for _ in range(4):
        assert "Pike" in titles(client, q="painter", k=3)
        assert titles(client, q="fish", k=1) == ["Trout"]


def test_another_title_keeps_the_vector(client):
    before = client.get("/search", params={"q": "fish", "k": 2}).json()
    renamed = client.patch(f"/articles/{number(client, 'Pike')}", json={"title": "Northern pike"})
    assert renamed.status_code == 200
    after = client.get("/search", params={"q": "fish", "k": 2}).json()
    assert [one["score"] for one in after] == [one["score"] for one in before]
    assert "Northern pike" in [one["title"] for one in after]


def test_what_is_deleted_is_gone(client):
    at = number(client, "Trout")
    assert client.delete(f"/articles/{at}").status_code == 204
    assert client.delete(f"/articles/{at}").status_code == 404
    for _ in range(4):
        assert "Trout" not in titles(client, q="fish", k=100)


def test_conditions_on_our_own_columns(client):
    every = titles(client, q="painting", k=100)
    assert set(every) == set(BODIES)
    for asked, meets in [
        ({"topic": "artifact"}, lambda topic, _day, _body: topic == "artifact"),
        ({"since": "2022-01-01"}, lambda _topic, day, _body: day >= "2022-01-01"),
        ({"until": "2021-12-31"}, lambda _topic, day, _body: day <= "2021-12-31"),
        ({"contains": "WALL"}, lambda _topic, _day, body: "wall" in body),
        (
            {"topic": "artifact", "since": "2024-01-01"},
            lambda topic, day, _body: topic == "artifact" and day >= "2024-01-01",
        ),
        ({"topic": "none of them"}, lambda *_: False),
        ({"contains": "50%_"}, lambda *_: False),
    ]:
        wanted = [title for title in every if meets(*BODIES[title])]
        assert titles(client, q="painting", k=100, **asked) == wanted, asked
        assert set(titles(client, "/articles", k=100, **asked)) == set(wanted), asked


def test_more_like_one(client):
    similar = f"/articles/{number(client, 'Trout')}/similar"
    assert titles(client, similar, k=1) == ["Pike"]
    assert "Trout" not in titles(client, similar, k=100)
    assert titles(client, similar, k=1, topic="person") == ["Seurat"]


@pytest.mark.parametrize(
    ("spoils", "status"),
    [
        ({"title": "Oboe", "body": "an instrument"}, 409),
        ({"title": "Nonsense", "body": "xqzt vrrrk"}, 422),
    ],
)
def test_all_of_it_or_nothing(client, spoils, status):
    good = {"title": "Carp", "body": "a freshwater fish of ponds"}
    assert client.post("/articles/batch", json=[good, spoils]).status_code == status
    assert set(titles(client, q="fish", k=100)) == set(BODIES)
    assert set(titles(client, "/articles", k=100)) == set(BODIES)
    change = client.patch(f"/articles/{number(client, 'Trout')}", json=spoils)
    assert change.status_code == status
    assert titles(client, q="freshwater fish", k=1) == ["Trout"]
    assert client.post("/articles", json=good).status_code == 201  # the ids are not used up
    assert "Carp" in titles(client, q="fish", k=3)


@pytest.mark.parametrize(
    "path",
    ["/search", "/search?q=", "/search?q=fish&k=0", "/search?q=xqzt", "/articles?since=soon"],
)
def test_what_cannot_be_asked(client, path):
    assert client.get(path).status_code == 422


def test_many_at_once(client):
    def write(row):
        draft = {"title": f"Fish {row}", "body": f"a fish of the lake, {row}", "topic": "animal"}
        return client.post("/articles", json=draft).status_code

    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(write, range(40))) == {201}
    found = titles(client, q="fish", k=100, topic="animal")
    assert set(found) == {"Trout", "Pike", *(f"Fish {row}" for row in range(40))}


def test_what_a_killed_worker_has_acknowledged_is_there(client, url):
    def write(row):
        if row == 20:
            os.kill(worker(url), signal.SIGKILL)
        draft = {"title": f"Fish {row}", "body": f"a fish of the lake, {row}", "topic": "lake"}
        try:
            return row if client.post("/articles", json=draft).status_code == 201 else None
        except httpx.TransportError:
            return None  # it may be stored all the same

    with ThreadPoolExecutor(4) as threads:
        acknowledged = [row for row in threads.map(write, range(60)) if row is not None]
    assert len(acknowledged) >= 40
    found = titles(client, q="fish", k=100, topic="lake")
    assert set(found) >= {f"Fish {row}" for row in acknowledged}
    assert set(found) == set(titles(client, "/articles", k=100, topic="lake"))
    deadline = time.monotonic() + 60
    while len({worker(url) for _ in range(8)}) < 2:  # another one is started
        assert time.monotonic() < deadline


def test_numbers_for_operators(client, url):
    titles(client, q="fish")
    told = [httpx.get(f"{url}/metrics", timeout=30).json() for _ in range(20)]
    searches = {
        one["worker"]: one["collections"].get("articles", {}).get("searches", {}).get("count", 0)
        for one in told
    }
    assert len(searches) == 2
    assert sum(searches.values()) >= 1


def test_the_guide_shows_what_is_there():
    code = "".join(path.read_text() for path in EXAMPLE.rglob("*.py"))
    blocks = re.findall(r"```python\n(.*?)```", (EXAMPLE / "README.md").read_text(), re.DOTALL)
    assert len(blocks) >= 6
    for block in blocks:
        assert block in code, block


def test_without_migrations_it_says_what_to_run(tmp_path):
    env = environment(f"sqlite+aiosqlite:///{tmp_path}/new.db", tmp_path)
    alembic(env, ["upgrade", "0001"])
    done = seed(env)
    assert done.returncode != 0
    assert "StoreError" in done.stderr
    assert "call requant.integration.sqlalchemy.upgrade(connection) in a migration" in done.stderr


def test_by_psycopg(empty_postgres, tmp_path):
    env = environment(empty_postgres, tmp_path)
    alembic(env, ["upgrade", "head"])
    done = seed(env)
    assert (done.returncode, done.stdout) == (0, "20 articles stored\n"), done.stderr
    with requant.open(empty_postgres, folder=tmp_path / "indexes") as db:
        assert len(db.collection("articles")) == 20


@pytest.mark.skipif(
    browser.CHROMIUM is None, reason="no Chromium is installed (apt-get install chromium)"
)
def test_the_page_in_a_browser(client, url):
    with browser.opened(f"{url}/?q=fish&topic=animal") as page:
        page.until("document.querySelectorAll('article').length == 2")
        assert sorted(page.texts("article h2")) == ["Pike", "Trout"]
        assert "person (1)" in page.texts("select option")
        page.run("document.forms.search.reset()")
        search(page, "painter")
        page.until("document.querySelectorAll('article').length == 6")
        assert page.texts("article h2")[0] in ("Seurat", "Easel")
        page.run("document.querySelector('article button').click()")  # more like this
        page.until("document.querySelectorAll('article').length == 5")
        write(page, "<b>Perch</b>", "a spiny fish <img src=x>")
        page.until("document.getElementById('message').textContent.startsWith('Stored')")
        assert page.texts("article h2")[0] in ("Trout", "Pike")
        search(page, "spiny fish")
        page.until("document.querySelector('article h2')?.textContent == '<b>Perch</b>'")
        assert page.run("document.querySelectorAll('article img').length") == 0
        page.run("document.querySelectorAll('article button')[1].click()")  # delete
        page.until("document.querySelector('article h2')?.textContent != '<b>Perch</b>'")
        write(page, "Oboe", "a fish")
        page.until("document.getElementById('message').textContent.includes('already')")
    assert "<b>Perch</b>" not in titles(client, "/articles", k=100)


def search(page, text):
    page.run(f"document.forms.search.q.value = {text!r}; document.forms.search.requestSubmit()")


def write(page, title, body):
    page.run(
        f"const form = document.forms.write; form.title.value = {title!r};"
        f"form.body.value = {body!r}; form.requestSubmit()"
    )

"""Secrets go to the hosts they are for, whatever host a database names.

`0.0.0.0` reaches the server of these tests and is not this machine's loopback address: it stands
for a host somewhere else.
"""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing

import pytest

import requant
from requant.adapters.hosts import host_of, masked, told_host
from requant.errors import IndexWarning, InputError, UntrustedHostError
from tests.cli import refused
from tests.databases import vectors
from tests.qdrant_server import QdrantServer

# The warnings that a key is sent over plain http are right here and of no account.
pytestmark = pytest.mark.filterwarnings("ignore:.*(insecure|plain http|plain text).*")

KEY = "the-secret-key"
N = 100


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch):
    for name in ("REQUANT_QDRANT_API_KEY", "QDRANT_API_KEY", "REQUANT_TRUSTED_HOSTS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def server():
    running = QdrantServer()
    yield running
    running.stop()


@pytest.fixture
def elsewhere(server):
    """The same server by an address that is not loopback."""
    return server.url.replace("127.0.0.1", "0.0.0.0")


@pytest.fixture
def path(tmp_path, elsewhere, server):
    """A database with an index on the server, as it comes from somebody else."""
    path = tmp_path / "x.db"
    with requant.open(path) as db:
        notes = db.create_collection("notes", 8)
        notes.upsert(range(N), vectors(N))
        notes.add_index("main", engine="qdrant", url=elsewhere, params={"retries": 0})
    server.sent_keys.clear()
    return path


def search(path, **options):
    with requant.open(path, **options) as db:
        return [hit.id for hit in db.collection("notes").search(vectors(1)[0], k=1)]


def test_without_a_secret_nothing_is_asked_for(path, server):
    assert search(path) == [0]
    assert server.sent_keys == {None}


def test_a_secret_by_engine_does_not_go_where_the_database_says(path, server, elsewhere):
    with pytest.raises(UntrustedHostError) as told:
        search(path, secrets={"qdrant": {"api_key": KEY}})
    assert not server.sent_keys
    text = str(told.value)
    assert f"requant.open(trust=['{elsewhere}'])" in text
    assert f"secrets={{'{elsewhere}': {{'api_key': ...}}}}" in text
    assert f"REQUANT_TRUSTED_HOSTS={elsewhere}" in text
    assert KEY not in text


@pytest.mark.parametrize("name", ["REQUANT_QDRANT_API_KEY", "QDRANT_API_KEY"])
def test_nor_does_one_of_the_environment(path, server, monkeypatch, name):
    monkeypatch.setenv(name, KEY)
    with pytest.raises(UntrustedHostError, match=name):
        search(path)
    assert not server.sent_keys


def test_one_line_makes_it_work_again(path, server, elsewhere, monkeypatch):
    ways = [
        {"secrets": {elsewhere: {"api_key": KEY}}},
        {"secrets": {"qdrant": {"api_key": KEY}}, "trust": [elsewhere]},
        {"secrets": {"qdrant": {"api_key": KEY}}, "trust": ["0.0.0.0"]},
    ]
    for way in ways:
        assert search(path, **way) == [0]
        assert server.sent_keys == {KEY}, way
        server.sent_keys.clear()
    monkeypatch.setenv("REQUANT_TRUSTED_HOSTS", f"qdrant.example, {elsewhere}")
    monkeypatch.setenv("QDRANT_API_KEY", KEY)
    assert search(path) == [0]
    assert server.sent_keys == {KEY}


def test_hosts_that_the_caller_names_are_trusted_while_the_database_is_open(
    path, server, elsewhere
):
    with requant.open(path, secrets={"qdrant": {"api_key": KEY}}) as db:
        notes = db.collection("notes")
        notes.add_index("second", engine="qdrant", url=elsewhere)
        assert server.sent_keys == {KEY}
        notes.search(vectors(1)[0])  # by "main", which is there as well
    with pytest.raises(UntrustedHostError):
        search(path, secrets={"qdrant": {"api_key": KEY}})


def test_loopback_is_trusted(tmp_path, server, monkeypatch):
    monkeypatch.setenv("QDRANT_API_KEY", KEY)
    with requant.open(tmp_path / "y.db") as db:
        notes = db.create_collection("notes", 8)
        notes.upsert(range(N), vectors(N))
        notes.add_index("main", engine="qdrant", url=server.url)
    assert search(tmp_path / "y.db") == [0]
    assert server.sent_keys == {KEY}


def test_a_secret_of_one_host_is_not_told_to_another(path, server):
    other = {"https://0.0.0.0": {"api_key": KEY}, "http://0.0.0.0:1": {"api_key": KEY}}
    assert search(path, secrets=other) == [0]
    assert server.sent_keys == {None}


def test_dropping_an_index_tells_no_secret_either(path, server):
    with (
        requant.open(path, secrets={"qdrant": {"api_key": KEY}}) as db,
        pytest.warns(IndexWarning, match="cannot be removed"),
    ):
        db.collection("notes").drop_index("main")
    assert not server.sent_keys


@pytest.mark.parametrize(
    ("engine", "params"),
    [
        ("qdrant", {"api_key": "theirs"}),
        ("lancedb", {"storage_options": {"endpoint": "http://evil.example"}}),
    ],
)
def test_what_is_never_stored_is_not_taken_from_the_store(path, engine, params):
    with closing(sqlite3.connect(path)) as raw:
        (text,) = raw.execute("SELECT config FROM requant_indexes").fetchone()
        config = json.dumps(json.loads(text) | {"engine": engine, "params": params})
        raw.execute("UPDATE requant_indexes SET config = ?", (config,))
        raw.commit()
    with pytest.raises(UntrustedHostError, match="never stores"):
        search(path)


@pytest.mark.parametrize(
    ("url", "params", "host"),
    [
        ("db://ours", {}, "db://ours"),
        ("db://ours", {"host_override": "https://evil.example"}, "https://evil.example"),
        ("s3://theirs/notes", {"host_override": "https://ours.example"}, "s3://theirs"),
        ("s3://theirs/notes", {}, "s3://theirs"),
    ],
)
def test_the_host_that_is_asked_counts(path, monkeypatch, url, params, host):
    monkeypatch.setenv("LANCEDB_API_KEY", KEY)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    with closing(sqlite3.connect(path)) as raw:
        (text,) = raw.execute("SELECT config FROM requant_indexes").fetchone()
        config = json.loads(text) | {"engine": "lancedb", "url": url, "params": params}
        raw.execute("UPDATE requant_indexes SET config = ?", (json.dumps(config),))
        raw.commit()
    trust = ["https://ours.example"] + (["db://ours"] if params else [])
    with pytest.raises(UntrustedHostError, match=host):
        search(path, trust=trust)


@pytest.mark.parametrize(
    ("database", "region"), [("ours.evil.example", "us-east-1"), ("ours", "evil.example/")]
)
def test_a_cloud_database_is_at_no_other_host(tmp_path, database, region):
    with requant.open(tmp_path / "y.db", secrets={"lancedb": {"api_key": KEY}}) as db:
        notes = db.create_collection("notes", 8)
        notes.upsert(range(N), vectors(N))
        with pytest.raises(InputError, match="no database or region"):
            notes.add_index(
                "main", engine="lancedb", url=f"db://{database}", params={"region": region}
            )


@pytest.mark.parametrize(
    "secrets",
    [{"qdrnat": {"api_key": KEY}}, {"qdrant.example:6333": {"api_key": KEY}}, {"qdrant": KEY}],
)
def test_secrets_for_nobody_are_refused(tmp_path, secrets):
    with pytest.raises(InputError, match="secrets") as told:
        requant.open(tmp_path / "y.db", secrets=secrets)
    assert KEY not in str(told.value)


@pytest.mark.parametrize(
    "trust", ["https://host", [7], ["a folder/x"], "/folder", ["http://me:pw@host"], 7]
)
def test_hosts_that_are_none_are_refused(tmp_path, trust):
    with pytest.raises(InputError) as told:
        requant.open(tmp_path / "y.db", trust=trust)
    assert "pw" not in str(told.value)


def test_which_host_covers_which():
    def covers(known, url):
        return told_host(known).covers(host_of(url))

    assert covers("qdrant.example", "https://qdrant.example:6333/a")
    assert covers("https://qdrant.example", "https://QDRANT.example:443/a")
    assert covers("https://qdrant.example/team", "https://qdrant.example/team/notes")
    assert not covers("https://qdrant.example/team", "https://qdrant.example/team-b")
    assert not covers("https://qdrant.example", "http://qdrant.example")
    assert not covers("https://qdrant.example", "https://qdrant.example:6333")
    assert not covers("https://qdrant.example", "https://qdrant.example.evil")
    assert not host_of("s3://localhost/notes").loopback
    assert host_of("http://[::1]:6333").loopback
    assert not host_of("http://127.0.0.1.evil.example").loopback
    with pytest.raises(InputError, match="leads out"):
        host_of("https://qdrant.example/team/%2e%2e/other")


USERS = ["s3://user:hush@bucket/notes", "http://user:hush@host:6333", "user:hush@host:6333"]


@pytest.mark.parametrize("url", [*USERS, "https://host/a?api_key=hush"])
@pytest.mark.parametrize("engine", ["qdrant", "lancedb"])
def test_no_error_repeats_a_password(tmp_path, url, engine):
    """Whichever call is given such a URL: it is refused, and never stored."""
    path = tmp_path / "y.db"
    with requant.open(path) as db:
        notes = db.create_collection("notes", 8)
        notes.upsert(range(N), vectors(N))
        calls = [
            lambda: notes.add_index("main", engine=engine, url=url),
            lambda: notes.migrate("main", engine=engine, url=url),
            lambda: notes.plan_migration("main", engine=engine, url=url),
            lambda: notes.attach_index("main", engine=engine, location=f"{url}/a"),
        ]
        for call in calls:
            with pytest.raises(requant.RequantError) as told:
                call()
            assert "hush" not in str(told.value)
            assert "hush" not in repr(told.value.__cause__)
        assert "hush" not in repr(db) + repr(notes) + repr(notes.stats())
    assert b"hush" not in path.read_bytes()


def test_masked():
    assert masked("cannot reach s3://user:hush@bucket/a: 's3://user:hush@bucket'") == (
        "cannot reach s3://***@bucket/a: 's3://***@bucket'"
    )
    assert masked("https://host/a?api_key=hush") == "https://host/a?***"
    assert masked("what is this? a=b") == "what is this? a=b"


@pytest.mark.parametrize("to", ["lancedb", "qdrant", "parquet"])
@pytest.mark.parametrize("target", ["s3://user:hush@bucket/a", "s3://bucket/a?secret_key=hush"])
def test_nor_does_an_export(tmp_path, to, target):
    with requant.open(tmp_path / "y.db") as db:
        db.create_collection("notes", 8).upsert(range(N), vectors(N))
    told = refused("export", tmp_path / "y.db", "notes", target, "--to", to)
    assert "hush" not in told


def test_nor_does_the_command_line_whatever_it_is_told(tmp_path):
    told = refused("import", "none://user:hush@host/a", tmp_path / "y.db", "notes")
    assert "hush" not in told
    told = refused("search", "file://user:hush@host/a", "notes", "--vector", "[1]", "--read-only")
    assert "hush" not in told

"""Folders that a database names by `url=`: used where the user has given them to it, once."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import warnings
from contextlib import closing, contextmanager

import pytest

import requant
from requant.errors import (
    CorruptDataError,
    CorruptIndexError,
    IndexWarning,
    InputError,
    UntrustedHostError,
)
from tests import inside
from tests.databases import expected, held, vectors

N = 100


@pytest.fixture(params=["lancedb", "qdrant"])
def engine(request):
    return request.param


@pytest.fixture
def path(tmp_path):
    return tmp_path / "x.db"


@pytest.fixture
def served(tmp_path):
    return tmp_path / "served"


def make(path, engine, url=None, seed=0):
    with requant.open(path) as db:
        notes = db.create_collection("notes", 8)
        notes.upsert(range(N), vectors(N, seed=seed))
        notes.add_index("main", engine=engine, precision="int8", url=url)


def tamper(path, *statements):
    with closing(sqlite3.connect(path)) as raw:
        for statement, *parameters in statements:
            raw.execute(statement, parameters)
        raw.commit()


def point_at(path, url, **more):
    """Let a database name a folder, as a stranger's may."""
    with closing(sqlite3.connect(path)) as raw:
        (text,) = raw.execute("SELECT config FROM requant_indexes").fetchone()
    config = json.dumps(json.loads(text) | {"url": str(url)} | more)
    tamper(path, ("UPDATE requant_indexes SET config = ?", config))
    tamper(path, ("UPDATE requant_locations SET config = ?", config))


def forget_places(path):
    tamper(path, ("DELETE FROM requant_locations",), ("DELETE FROM requant_generations",))


def places_in(folder):
    return sorted(place.name for place in folder.glob("[!.]*"))


def is_whole(notes):
    """Warnings are errors: what is there is used."""
    for query in vectors(5, seed=1):
        found = [hit.id for hit in notes.search(query, k=5, oversample=8)]
        assert found == [hit.id for hit in notes.search(query, k=5, exact=True)]
    assert held(notes) == expected(notes)
    assert notes.verify(deep=True).ok


@contextmanager
def warned(match):
    with warnings.catch_warnings(record=True) as every:
        warnings.simplefilter("always")
        yield
    assert any(match in str(one.message) for one in every), [str(one.message) for one in every]


def is_refused(path, folder, seed=0, **options):
    with requant.open(path, **options) as db:
        notes = db.collection("notes")
        with pytest.raises(UntrustedHostError) as told:
            notes.search(vectors(1, seed=seed)[0])
        assert f"requant.open(trust=['{folder}'])" in str(told.value)
        assert f"REQUANT_TRUSTED_HOSTS={folder}" in str(told.value)
        assert notes.search(vectors(1, seed=seed)[0], k=1, exact=True)[0].id == 0
        if not options:
            with pytest.raises(UntrustedHostError):
                notes.rebuild()
            with pytest.raises(UntrustedHostError):
                notes.flush()
            assert str(folder) in str(notes.verify().problems)


def test_no_index_is_made_where_a_stranger_says(path, engine, served):
    make(path, engine)
    point_at(path, served)
    for lost in (False, True):
        if lost:
            forget_places(path)
        is_refused(path, served)
        with (
            requant.open(path, read_only=True) as db,
            pytest.warns(IndexWarning, match="searches are exact"),
        ):
            assert db.collection("notes").search(vectors(1)[0], k=1)[0].id == 0
        assert not served.exists()
    with requant.open(path) as db:
        tamper(path, ("INSERT INTO requant_locations (index_id, name, config, made, reaching, "
                      "applied_key, applied_seq, item_count) SELECT id, 'there', config, 1, 0, 0, "
                      "0, 0 FROM requant_indexes",))  # fmt: skip
        with pytest.warns(IndexWarning, match="cannot be removed"):
            db.collection("notes").drop_index("main")
    assert not served.exists()


def test_an_index_of_another_database_is_neither_opened_nor_removed(path, tmp_path, engine, served):
    make(path, engine, str(served))
    shutil.rmtree(served / ".requant")
    (name,) = places_in(served)
    before = sorted(file.relative_to(served) for file in served.rglob("*"))
    theirs = tmp_path / "theirs.db"
    make(theirs, engine, seed=5)
    point_at(theirs, served)
    tamper(theirs, ("UPDATE requant_locations SET name = ?, serial = 0, token = ''", name))
    tamper(theirs, ("UPDATE requant_generations SET file = ?", name))
    is_refused(theirs, served, seed=5)
    with requant.open(theirs) as db, pytest.warns(IndexWarning, match="cannot be removed"):
        db.collection("notes").drop_index("main")
    assert sorted(file.relative_to(served) for file in served.rglob("*")) == before
    with requant.open(path) as db:
        is_whole(db.collection("notes"))


def test_a_folder_that_the_user_named_serves_from_then_on(path, engine, served):
    make(path, engine, str(served))
    with requant.open(path) as db:
        notes = db.collection("notes")
        is_whole(notes)
        notes.upsert(range(50, 150), vectors(100, seed=2))
        is_whole(notes)
        notes.rebuild()
        is_whole(notes)
    with requant.open(path, read_only=True) as db:
        assert db.collection("notes").search(vectors(1)[0], k=1)[0].id == 0
    (name,) = places_in(served)
    shutil.rmtree(served / name)
    with requant.open(path) as db, warned("it is made again"):
        is_whole(db.collection("notes"))
    assert len(places_in(served)) == 1


def test_an_index_from_before_there_were_marks(path, engine, served):
    make(path, engine, str(served))
    for what in ("search", "rebuild", "drop"):
        shutil.rmtree(served / ".requant")
        with requant.open(path) as db:
            notes = db.collection("notes")
            if what == "rebuild":
                notes.rebuild()
            elif what == "drop":
                notes.drop_index("main")
                break
            is_whole(notes)
        assert (served / ".requant").is_dir()
    assert list(served.iterdir()) == []  # not even a mark is left


def trusting(folder, monkeypatch, way):
    """Return the options of one way to trust a folder."""
    if way == "environment":
        monkeypatch.setenv("REQUANT_TRUSTED_HOSTS", f"https://host,{folder}")
        return {}
    return {"trust": [{"text": str(folder), "path": folder, "above": folder.parent}[way]]}


@pytest.mark.parametrize("way", ["text", "path", "above", "environment"])
def test_a_folder_that_is_gone_is_trusted_once_more(path, served, way, monkeypatch):
    make(path, "lancedb", str(served))
    shutil.rmtree(served)
    is_refused(path, served)
    assert not served.exists()
    with requant.open(path, **trusting(served, monkeypatch, way)) as db, warned("made again"):
        is_whole(db.collection("notes"))
    monkeypatch.delenv("REQUANT_TRUSTED_HOSTS", raising=False)
    with requant.open(path) as db:
        is_whole(db.collection("notes"))


def test_a_folder_beside_a_trusted_one_is_not(path, served):
    make(path, "lancedb")
    point_at(path, served)
    forget_places(path)
    inside_it = served.parent / "mine"
    inside_it.mkdir()
    is_refused(path, served, trust=[str(inside_it), f"{served}2"])
    (inside_it / "link").symlink_to(served)
    point_at(path, inside_it / "link")
    is_refused(path, inside_it / "link", trust=[inside_it])
    assert not served.exists()


def test_the_same_index_asked_for_again_names_its_folder(path, served):
    make(path, "lancedb", str(served))
    shutil.rmtree(served)
    with requant.open(path) as db, warned("it is made again"):
        notes = db.collection("notes")
        notes.add_index("main", engine="lancedb", url=str(served), exist_ok=True)
        is_whole(notes)


def test_a_migration_names_its_folder(path, served):
    make(path, "faiss")
    with requant.open(path) as db:
        db.collection("notes").migrate("other", engine="lancedb", url=str(served))
    with requant.open(path) as db:
        is_whole(db.collection("notes"))
        db.collection("notes").rebuild("other")


WAYS = ["requant.restore here", "requant.restore there", "sqlite backup", "moved", "copied"]


@pytest.mark.parametrize("way", WAYS)
def test_a_database_that_comes_back_finds_its_folder(path, tmp_path, engine, served, way):
    """Restored, copied or moved: the folder was given to that database, or to its original."""
    make(path, engine, str(served))
    there = tmp_path / "there.db"
    if way.startswith("requant.restore"):
        with requant.open(path) as db:
            db.backup(tmp_path / "kept")
        there = path if way.endswith("here") else there
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", IndexWarning)
            requant.restore(tmp_path / "kept", there, overwrite=True)
    elif way == "moved":
        path.rename(there)
        shutil.move(f"{path}.indexes", f"{there}.indexes")
    elif way == "copied":
        shutil.copy(path, there)
    else:
        with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(there)) as target:
            source.backup(target)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IndexWarning)  # a copy is told apart
        with requant.open(there) as db:
            db.collection("notes").search(vectors(1)[0])
            is_whole(db.collection("notes"))
    with requant.open(there) as db:
        is_whole(db.collection("notes"))


@pytest.mark.parametrize("url", ["served", "../served", "local:/srv/a", "file:served", "/srv/\0"])
def test_a_path_that_is_none_of_ours(path, url):
    make(path, "qdrant")
    point_at(path, url)
    with requant.open(path) as db, pytest.raises(CorruptDataError, match="no whole path"):
        db.collection("notes").search(vectors(1)[0])


@pytest.mark.parametrize("engine", ["faiss", "usearch", "lancedb", "qdrant"])
def test_an_attached_index_that_is_a_pipe_is_not_waited_for(path, tmp_path, engine):
    """Attached indexes are only read, and need no word; but nothing is read without an end."""
    make(path, "lancedb")
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    point_at(path, pipe, engine=engine, precision="attached")
    with requant.open(path) as db:
        notes = db.collection("notes")
        for call in (
            lambda: notes.search(vectors(1)[0]),
            lambda: notes.attach_index("more", engine=engine, location=pipe),
        ):
            with pytest.raises(CorruptIndexError, match="neither a file nor a folder"):
                call()


def test_a_folder_of_its_own_needs_no_word(path):
    make(path, "lancedb", f"{path}.indexes/mine")
    shutil.rmtree(f"{path}.indexes/mine")
    with requant.open(path) as db, warned("it is made again"):
        is_whole(db.collection("notes"))


IDENTITIES = [
    {"name": "../../../../../etc", "ancestors": []},
    {"name": "x" * 32, "ancestors": []},
    {"name": "0" * 32, "ancestors": ["../x"]},
    {"name": "0" * 32, "ancestors": "abc"},
    {"name": "0" * 32},
    {"name": 7, "ancestors": []},
    {"name": "0" * 32, "ancestors": [], "home": {"path": 7, "machine": "", "inode": 1}},
    {"name": "0" * 32, "ancestors": [], "home": {"path": "/x"}},
    {"name": "0" * 32, "ancestors": [], "home": []},
]


@pytest.mark.parametrize("identity", IDENTITIES)
@pytest.mark.parametrize("read_only", [False, True])
def test_an_identity_that_requant_does_not_write(path, identity, read_only):
    """It becomes the name of a file and of a folder."""
    make(path, "faiss")
    home = {"home": {"path": str(path), "machine": "", "inode": 1}}
    tamper(path, ("UPDATE requant_meta SET value = ? WHERE name = 'identity'",
                  json.dumps(home | identity)))  # fmt: skip
    with pytest.raises(CorruptDataError, match="identity"):
        requant.open(path, read_only=read_only)


def test_marks_are_the_only_thing_that_is_added(path, served):
    make(path, "lancedb", str(served))
    with requant.open(path) as db:
        (mark,) = (served / ".requant").iterdir()
        assert mark.name == inside.identity_of(db).name
        assert mark.read_bytes() == b""
        notes = db.collection("notes")
        notes.add_index("other", engine="lancedb", url=str(served))
        notes.drop_index("other")
        assert mark.exists()
        notes.drop_index("main")
        assert list(served.iterdir()) == []


def test_a_folder_is_trusted_by_its_whole_path(path, served, monkeypatch):
    """What is no whole path is the name of a host."""
    make(path, "lancedb")
    point_at(path, served)
    forget_places(path)
    monkeypatch.chdir(served.parent)
    is_refused(path, served, trust=["served"])
    with pytest.raises(InputError, match="list of hosts and folders"):
        requant.open(path, trust=str(served))

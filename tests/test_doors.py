"""What the stores of frameworks stand on: databases opened once, collections made when needed."""

import gc
import multiprocessing
import os
import threading

import pytest
import sqlalchemy as sa

import requant
from requant.errors import InputError, RequantError, StoreError
from requant.integration.doors import Door
from requant.integration.locations import borrow


def test_ways_to_name_one_file_share_one_database(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link.db").symlink_to(tmp_path / "a.db")
    ways = ["a.db", tmp_path / "a.db", f"sqlite:///{tmp_path}/a.db", "link.db"]
    borrowed = [borrow(way) for way in ways]
    assert len({id(database) for database, _ in borrowed}) == 1
    for _, give_back in borrowed[:-1]:
        give_back()
        give_back()
    database, last = borrowed[-1]
    assert database.collections() == []
    last()
    with pytest.raises(StoreError):
        database.collections()
    again, give_back = borrow("a.db")
    assert again is not database
    give_back()


def test_memory_is_each_ones_own_and_a_database_stays_its_owners():
    (one, close_one), (two, close_two) = borrow(":memory:"), borrow(":memory:")
    assert one is not two
    close_one()
    close_two()
    with requant.open(":memory:") as database:
        same, give_back = borrow(database)
        give_back()
        assert same is database
        assert database.collections() == []


def test_an_engine_is_shared_and_not_disposed(tmp_path):
    engine = sa.create_engine(f"sqlite:///{tmp_path}/a.db")
    (one, close_one), (two, close_two) = borrow(engine), borrow(engine)
    assert one is two
    close_one()
    close_two()
    with engine.connect() as connection:
        assert connection.scalar(sa.text("SELECT count(*) FROM requant_collections")) == 0
    engine.dispose()


@pytest.mark.parametrize("location", [None, 7, "", "nonsense://x"])
def test_a_location_that_is_none_is_named(location):
    with pytest.raises((InputError, StoreError)):
        borrow(location)


def test_one_folder_a_database(tmp_path):
    door = Door(tmp_path / "a.db", name="c", folder=tmp_path / "one")
    Door(tmp_path / "a.db", name="c").close()
    with pytest.raises(InputError, match="one"):
        Door(tmp_path / "a.db", name="c", folder=tmp_path / "two")
    door.close()
    with requant.open(tmp_path / "b.db") as database, pytest.raises(InputError, match="folder"):
        Door(database, name="c", folder=tmp_path)


def test_many_threads_open_it_once(tmp_path):
    ready, opened = threading.Barrier(8), []

    def work():
        ready.wait()
        opened.append(borrow(tmp_path / "a.db"))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(database) for database, _ in opened}) == 1
    for _, give_back in opened:
        give_back()


def test_a_collection_is_made_with_its_index_when_its_dimension_is_known(tmp_path):
    door = Door(tmp_path / "a.db", name="notes", metric="ip", engine="usearch", precision="binary")
    assert door.found() is None
    made = door.made(3)
    made.upsert(["a"], [[1, 2, 3]])
    assert (made.dim, made.metric) == (3, "ip")
    assert [(index.engine, index.precision) for index in made.indexes] == [("usearch", "binary")]
    assert door.made(3) is made is door.found()
    door.close()


def test_a_collection_that_is_there_keeps_its_own_index(tmp_path):
    with requant.open(tmp_path / "a.db") as database:
        database.create_collection("notes", dim=2).add_index("mine", engine="usearch")
        door = Door(database, name="notes")
        assert [index.name for index in door.found().indexes] == ["mine"]
        assert door.made(9).dim == 2
        with pytest.raises(InputError, match="cosine"):
            Door(database, name="notes", metric="l2")


def test_two_stores_make_one_collection(tmp_path):
    doors = [Door(tmp_path / "a.db", name="notes", engine="qdrant") for _ in range(2)]
    made = [door.made(2) for door in doors]
    assert made[0] is made[1]
    made[0].upsert(["a", "b"], [[1, 0], [0, 1]])
    assert [hit.id for hit in made[1].search([1, 0], k=1)] == ["a"]
    for door in doors:
        door.close()


def test_a_dropped_collection_is_made_again(tmp_path):
    door = Door(tmp_path / "a.db", name="notes")
    door.made(2).upsert(["a"], [[1, 0]])
    door.dropped()
    door.dropped()
    assert door.found() is None
    assert door.made(5).dim == 5
    door.close()


def test_a_collection_that_another_process_drops_is_looked_for_again(tmp_path):
    door = Door(tmp_path / "a.db", name="notes")
    count = {"work": len, "nothing": lambda: None}
    door.made(2).upsert(["a"], [[1, 0]])
    with requant.open(tmp_path / "a.db") as other:  # as another process would
        other.drop_collection("notes")
        assert door.asked(lambda found: found.ids(), lambda: None) is None
        assert door.asked(**count) is None
        assert door.written(3, lambda found: found.upsert(["b"], [[1, 0, 0]])) == 1
        other.drop_collection("notes")
        # It may find the collection that it knows, or one that is made anew.
        assert door.written(5, lambda found: found.upsert(["c"], [[1, 0, 0, 0, 0]])) == 1
        other.drop_collection("notes")
        other.create_collection("notes", dim=2).upsert(["d", "e"], [[1, 0], [0, 1]])
        assert door.asked(lambda found: found.ids(), lambda: None) == ["d", "e"]
        assert [index.name for index in door.found().indexes] == ["main"]
        other.drop_collection("notes")
        other.create_collection("notes", dim=2, metric="l2").upsert(["f"], [[1, 0]])
        with pytest.raises(InputError, match="with metric 'l2'"):
            door.asked(lambda found: found.search([1, 0]), list)
    door.close()


def test_a_closed_store_says_so(tmp_path):
    door = Door(tmp_path / "a.db", name="notes")
    door.close()
    door.close()
    with pytest.raises(StoreError, match="closed"):
        door.made(2)


def test_a_store_that_nobody_holds_gives_its_database_back(tmp_path):
    door = Door(tmp_path / "a.db", name="notes")
    door.made(2).upsert(["a"], [[1, 0]])
    database = door.database
    del door
    gc.collect()
    with pytest.raises(StoreError):
        database.collections()


def test_stores_may_be_collected_while_another_is_opened(tmp_path, monkeypatch):
    """As pipelines are, whose components know each other; the lock is held by then."""
    door = Door(tmp_path / "a.db", name="notes")
    door.made(2).upsert(["a"], [[1, 0]])
    first = door.database
    door.itself = door
    del door
    opened = requant.open

    def opening(*args, **options):
        gc.collect()
        return opened(*args, **options)

    monkeypatch.setattr(requant, "open", opening)
    _, give_back = borrow(tmp_path / "b.db")
    with pytest.raises(StoreError):
        first.collections()
    again, give_back_again = borrow(tmp_path / "a.db")
    assert again.collection("notes").ids() == ["a"]
    give_back()
    give_back_again()


def test_a_store_that_cannot_be_made_holds_nothing(tmp_path):
    with requant.open(tmp_path / "a.db") as database:
        database.create_collection("notes", dim=2)
    with pytest.raises(InputError):
        Door(tmp_path / "a.db", name="notes", metric="l2")
    first, give_back = borrow(tmp_path / "a.db")
    give_back()
    with pytest.raises(StoreError):
        first.collections()


def _child(path):
    database, give_back = borrow(path)
    database.collection("notes").upsert(["child"], [[0, 1]])
    give_back()
    os._exit(0)


def test_a_forked_child_borrows_what_its_parent_shares(tmp_path):
    door = Door(tmp_path / "a.db", name="notes")
    door.made(2).upsert(["parent"], [[1, 0]])
    child = multiprocessing.get_context("fork").Process(target=_child, args=(tmp_path / "a.db",))
    child.start()
    child.join(60)
    assert child.exitcode == 0
    assert sorted(door.found().ids()) == ["child", "parent"]
    door.close()


def test_fields_are_indexed_in_what_is_made_and_in_what_is_there(tmp_path):
    with requant.open(tmp_path / "a.db") as database:
        database.create_collection("old", dim=2).upsert(["a"], metadata=[{"author": {"name": "x"}}])
        for name in ("old", "new"):
            door = Door(database, name=name, fields=("author.name",))
            ready = {field.name for field in door.made(2).fields if field.ready}
            assert ready == {"author.name"}
            door.close()
    with requant.open(tmp_path / "a.db", read_only=True) as database:
        assert Door(database, name="old", fields=("year",)).found().ids() == ["a"]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"engine": "annoy"}, "annoy"),
        ({"precision": "int7"}, "int7"),
        ({"index": {"persist_directory": "x"}}, "persist_directory"),
        ({"index": {"params": {1, 2}}}, "params"),
    ],
)
def test_an_index_that_cannot_be_is_refused_at_once(tmp_path, wrong, said):
    with pytest.raises(RequantError, match=said):
        Door(tmp_path / "a.db", name="notes", **wrong)
    with requant.open(tmp_path / "a.db") as database:
        assert database.collections() == []
        database.create_collection("notes", dim=2).add_index("mine")
        Door(database, name="notes", **wrong)  # it has an index: none is made


@pytest.mark.parametrize("wrong", [{"name": "../notes"}, {"metric": "hamming"}])
def test_a_name_or_metric_that_is_none_is_refused_before_a_file_is_made(tmp_path, wrong):
    with pytest.raises(InputError):
        Door(tmp_path / "a.db", **{"name": "notes", **wrong})
    assert not (tmp_path / "a.db").exists()


def test_documents_are_found_by_their_words_where_that_is_asked_for(tmp_path):
    with requant.open(tmp_path / "a.db") as database:
        Door(database, name="plain").made(2).upsert(["a"], [[1, 0]], ["a black cat"])
        Door(database, name="words", full_text=True).made(2).upsert(
            ["a"], [[1, 0]], ["a black cat"]
        )
        assert not database.collection("plain").full_text
        assert [hit.id for hit in database.collection("words").search_documents("cat")] == ["a"]
        # One that is there already, too, with what is in it.
        found = Door(database, name="plain", full_text=True).found()
        assert [hit.id for hit in found.search_documents("cat")] == ["a"]
    with requant.open(tmp_path / "b.db") as database:
        database.create_collection("plain", dim=2)
    with requant.open(tmp_path / "b.db", read_only=True) as database:
        assert not Door(database, name="plain", full_text=True).found().full_text


@pytest.mark.parametrize("index", [{"precision": "int7"}, {"engine": "none"}, {"index": {"x": 1}}])
def test_a_refused_store_leaves_no_file(tmp_path, index):
    with pytest.raises(requant.RequantError):
        Door(tmp_path / "a.db", name="notes", **index)
    assert list(tmp_path.iterdir()) == []


def test_a_database_in_memory_has_no_folder(tmp_path):
    with pytest.raises(InputError, match="memory"):
        borrow(":memory:", tmp_path)

"""`verify(deep=True)` looks at the lists of indexed fields, too."""

from __future__ import annotations

import numpy as np
import pytest
import sqlalchemy as sa

from requant.store import PART, packed, unpacked

N = 40


@pytest.fixture
def notes(any_db):
    notes = any_db.create_collection("notes", 2, index_fields=["lang", "n"])
    entries = [
        {"lang": ["en", "de"][n % 2], "n": n, "tags": [n % 3, "x", None]} if n % 10 != 9 else None
        for n in range(N)
    ]
    notes.upsert(range(N), np.ones((N, 2)), metadata=entries)
    notes.index_field("tags")
    notes.delete([3])
    notes.update([4], metadata={"lang": "fr", "n": 4.0})
    return notes


def lists(db, name):
    """Return the rows of `requant_values` of a field: {value: keys}."""
    with db.engine.connect() as connection:
        text = sa.text(
            "SELECT v.value, v.keys FROM requant_values AS v JOIN requant_fields AS f "
            "ON f.id = v.field_id WHERE f.name = :name"
        )
        return {bytes(v): bytes(k) for v, k in connection.execute(text, {"name": name})}


def put(db, name, value, keys):
    """Write a list as nobody should."""
    at = "field_id = (SELECT id FROM requant_fields WHERE name = :name) AND value = :value"
    with db.engine.begin() as connection:
        given = {"name": name, "value": value, "keys": keys}
        if keys is None:
            connection.execute(sa.text(f"DELETE FROM requant_values WHERE {at}"), given)
        elif not connection.execute(
            sa.text(f"UPDATE requant_values SET keys = :keys WHERE {at}"), given
        ).rowcount:
            connection.execute(
                sa.text(
                    "INSERT INTO requant_values (field_id, part, value, keys) SELECT id, 0, "
                    ":value, :keys FROM requant_fields WHERE name = :name"
                ),
                given,
            )


def test_what_is_right_is_said_to_be_looked_at(notes):
    report = notes.verify(deep=True)
    assert report.ok
    assert "what is listed of every item in 3 indexed field(s)" in report.checked
    assert not any("listed" in line for line in notes.verify().checked)


@pytest.mark.parametrize("field", ["lang", "n", "tags", ""])
def test_a_list_that_lacks_or_has_an_item_too_many_is_named(notes, any_db, field):
    value, keys = next(iter(sorted(lists(any_db, field).items())))
    which = f"the lists of indexed field {field!r}" if field else "the lists of all items"
    places = unpacked(keys)
    for wrong in (
        packed(places[1:]),
        packed(sorted({*places, 30, 31, 3} - {places[0]})),
        None,
        b"\x01",
        b"\xff\xff",
    ):
        put(any_db, field, value, wrong)
        (problem,) = notes.verify(deep=True).problems
        assert which in problem
        assert notes.verify().ok
        put(any_db, field, value, keys)
        assert notes.verify(deep=True).ok
    put(any_db, field, b"\x05zz", packed([7]))
    (problem,) = notes.verify(deep=True).problems
    assert "1 item(s) are wrong" in problem
    assert which in problem


def test_what_the_message_says_mends_it(notes, any_db):
    put(any_db, "lang", b"\x05de", packed([0]))
    assert "unindex_field it, and index_field it again" in notes.verify(deep=True).problems[0]
    notes.unindex_field("lang")
    notes.index_field("lang")
    assert notes.verify(deep=True).ok
    assert notes.count({"lang": "de"}) == len([n for n in range(N) if n % 2 and n % 10 != 9]) - 1


def test_lists_of_several_parts(any_db):
    rows = PART + 100
    notes = any_db.create_collection("long", 2, index_fields=["n"])
    notes.upsert(range(rows), np.ones((rows, 2)), metadata=[{"n": n % 7} for n in range(rows)])
    assert notes.verify(deep=True).ok
    with any_db.engine.begin() as connection:
        connection.execute(sa.text("UPDATE requant_values SET part = 2 WHERE part = 1"))
    problems = notes.verify(deep=True).problems
    assert len(problems) == 2
    assert "101 item(s) are wrong in the lists of indexed field 'n'" in problems[1] + problems[0]

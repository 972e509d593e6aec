"""The statements whose speed matters, in each database's own words, for its driver.

Everything else goes through SQLAlchemy Core. Lists of keys and ids travel as one parameter: a JSON
array in SQLite, an array in PostgreSQL.

This file is long because every statement whose speed matters is found here, for both databases.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from typing import Any

from requant.errors import UnsupportedError
from requant.store.gate import PASSING, SHUT
from requant.store.schema import Tables


@dataclass(frozen=True)
class HotSql:
    """The hot statements of one database; `keys` and `texts` make the parameter of a list.

    Here all tables are called requant_...; `named` gives a statement their true names.
    """

    name: str
    keys: Callable[[list[int]], Any]
    texts: Callable[[Sequence[str]], Any]
    state: str  # and, a row each, what has no number yet
    state_model: str  # the same, and last what is noted of the model, or of the words
    state_text: str
    index_number: str
    index_info: str
    head: str
    vectors: str
    state_page: str  # read a page: one that a snapshot has just read, or one that is hardly written
    vectors_page: str
    joined: str  # how many vectors of these keys there are, and they themselves as one value
    scan: str
    block: str  # the rows of a range of keys as one, see `decoding.block_of`
    scan_checked: str
    changed: str
    log: str
    items: str
    metadata: str
    ids: str
    items_with_vectors: str
    existing: str
    existing_named: str  # the same of a collection that has a name still
    note: str
    vectors_named: str  # of those that have one
    block_named: str  # the same rows as one, as `block` has them
    aliases: str
    insert_item: str
    insert_new: str
    put_vector: str
    put_item: str
    put_document: str
    put_metadata: str
    delete_items: str
    delete_vectors: str
    log_changes: str
    next_key: str
    take_turn: str
    replace_one: str  # an item that is stored, with its vector
    begin_run: str
    forget_runs: str
    run_at: str
    join: str
    join_model: str  # the same, and last what is noted of the model
    write_one: str  # an item if it is new, and all that is to be noted of it
    write_one_model: str
    join_alone: str
    draw_keys: str
    lock_items: str
    insert_items: str
    leave: str
    shut_door: str
    take_row: str
    unnumbered: str
    lists_of: str
    add_values: str
    put_values: str
    drop_values: str
    clear_values: str
    # PostgreSQL, psycopg 3: see `requant.store.contents.loading`.
    copy_items: str = ""
    copy_vectors: str = ""
    copy_values: str = ""
    put_items: str = ""
    put_vectors: str = ""
    named: Callable[[str], str] = str

    def of_keys(self, statement: str, keys: list[int]) -> tuple[str, Sequence[Any]]:
        """Return a statement that takes a list of keys, and its parameters."""
        if self.name == "sqlite" and len(keys) <= _FEW:
            # A few are told as values: SQLite reads them faster than JSON.
            missing = -len(keys) % _STEP if keys else _STEP
            return _of_values(statement, len(keys) + missing), [*keys, *_NONE[:missing]]
        return statement, (self.keys(keys),)

    def items_with(self, fields: frozenset[str]) -> str:
        """Return `items` with NULL for what is not among `fields`."""
        return with_fields(self.items, fields)


# What is stored of an item beside its id and its vector.
FIELDS: frozenset[str] = frozenset({"document", "metadata"})


@lru_cache(maxsize=64)
def with_fields(statement: str, fields: frozenset[str]) -> str:
    """Return a statement about items `i` with NULL for what is not among `fields`."""
    for field in FIELDS - fields:
        statement = statement.replace(f"i.{field}", "NULL")
    return statement


# So many keys are few. Statements are kept for each multiple of a step: NULL is no key.
_FEW, _STEP = 64, 8
_NONE = (None,) * _STEP


@lru_cache(maxsize=64)
def _of_values(statement: str, count: int) -> str:
    """Return a statement whose list is JSON with so many parameters in its place."""
    values = f"(VALUES {', '.join(['(?)'] * count)})"
    return statement.replace("json_each(?)", values).replace("j.value", "j.column1")


_STATE = (
    "SELECT next_key, seq, log_floor, active, run, CASE WHEN fields_at = seq THEN fields END, "
    "name<noted> FROM requant_collections WHERE id = ?"
)
_STATE_BESIDE = (
    "SELECT c.next_key, c.seq, c.log_floor, c.active, c.run, "
    "CASE WHEN c.fields_at = c.seq THEN c.fields END, c.name, "
    "w.token, w.fields, w.added, w.changed, w.touched<noted> FROM requant_collections AS c "
    "LEFT JOIN requant_writes AS w ON w.collection_id = c.id WHERE c.id = %s"
)
_NOTED = ", (SELECT value FROM requant_meta WHERE name = '{} of ' || {}.id)"

_HEAD = (
    "SELECT l.name, l.reaching, l.applied_key, l.applied_seq, l.item_count "
    "FROM requant_generations AS g JOIN requant_locations AS l "
    "ON l.index_id = g.index_id AND l.name = g.file "
    "WHERE g.index_id = {} ORDER BY g.generation DESC LIMIT 1"
)

# Of PostgreSQL alone, see `requant.store.history.beside`; SQLite has one writer at a time.
_BESIDE: dict[str, Any] = {
    # The gate bars nobody but who has to be alone, see `requant.store.gate`; the lock of
    # the row lets whoever waited there see what that one has left, and bars nobody else.
    "join": (
        "SELECT CASE WHEN fields_at = seq THEN fields END, own_keys, "
        "<gate><noted> FROM requant_collections "
        "WHERE id = %s AND name = %s FOR KEY SHARE"
    ),
    "join_alone": (
        "SELECT CASE WHEN fields_at = seq THEN fields END, own_keys FROM requant_collections "
        "WHERE id = %s AND name = %s FOR UPDATE"
    ),
    # All of a write that adds one item: what `join` does, the item if it is new, and its note,
    # whose keys stand as `requant.store.history.fresh` reads them.
    "write_one": (
        "WITH here AS (SELECT id, CASE WHEN fields_at = seq THEN fields END AS fields, own_keys, "
        "<gate> FROM requant_collections "
        "WHERE id = %s AND name = %s FOR KEY SHARE), item AS ("
        "INSERT INTO requant_items (key, collection_id, ext_id, id_kind, document, metadata) "
        "SELECT (here.id << 40) + "
        "nextval(CASE WHEN here.own_keys THEN %s::text "
        "ELSE pg_get_serial_sequence(%s::text, 'id') END::regclass), "
        "%s::bigint, given.ext_id, %s::smallint, %s::text, %s::text "
        "FROM here CROSS JOIN (SELECT %s::text AS ext_id) AS given WHERE NOT EXISTS ("
        "SELECT FROM requant_items AS i WHERE i.collection_id = here.id "
        "AND i.ext_id = given.ext_id) "
        "ON CONFLICT DO NOTHING RETURNING key), floats AS ("
        "INSERT INTO requant_vectors (key, vec, crc) SELECT item.key, given.vec, given.crc FROM "
        "item CROSS JOIN (SELECT %s::bytea AS vec, %s::bigint AS crc) AS given "
        "WHERE given.vec IS NOT NULL), note AS ("
        "INSERT INTO requant_writes (collection_id, token, fields, added, changed, touched) "
        "SELECT here.id, %s::bigint, here.fields, "
        "int8send(item.key) || int8send(item.key + 1), '', '' "
        "FROM here CROSS JOIN item) "
        "SELECT here.fields, here.own_keys, item.key<noted> FROM here LEFT JOIN item ON true"
    ),
    "draw_keys": "SELECT nextval(%s::text::regclass) FROM generate_series(1, %s::int)",
    "lock_items": (
        "SELECT key, ext_id FROM requant_items "
        "WHERE key = ANY((SELECT %s::text::bigint[])::bigint[]) ORDER BY key FOR NO KEY UPDATE"
    ),
    # In the order of the ids: two who add the same ones wait for each other in one direction.
    "insert_items": (
        "INSERT INTO requant_items (key, collection_id, ext_id, id_kind, document, metadata) "
        "SELECT n.key, %s::bigint, n.ext_id, n.id_kind, n.document, n.metadata FROM "
        "unnest(%s::bigint[], %s::text[], %s::smallint[], %s::text[], %s::text[]) "
        "AS n (key, ext_id, id_kind, document, metadata) "
        "ON CONFLICT DO NOTHING RETURNING ext_id"
    ),
    "leave": (
        "INSERT INTO requant_writes (collection_id, token, fields, added, changed, touched, lists) "
        "VALUES (%s, %s, %s, %s, %s, %s, %s)"
    ),
    # What is lost of this by a crash of the server is numbered again, under another name.
    "shut_door": SHUT,
    "take_row": (
        "SELECT next_key, seq, logging, run, fields, fields_at, "
        "set_config('synchronous_commit', 'off', true) FROM requant_collections WHERE id = %s "
        "FOR NO KEY UPDATE SKIP LOCKED"
    ),
    "unnumbered": (
        "SELECT id, fields, added, changed, lists, gone FROM requant_writes "
        "WHERE collection_id = %s ORDER BY id LIMIT %s"
    ),
}
for _name, _of in (("join", "requant_collections"), ("write_one", "here")):
    _BESIDE[f"{_name}_model"] = _BESIDE[_name].replace("<noted>", _NOTED.format("model", _of))
    _BESIDE[_name] = _BESIDE[_name].replace("<noted>", "")
_BESIDE = {name: text.replace("<gate>", PASSING) for name, text in _BESIDE.items()}
_NOT_BESIDE: dict[str, Any] = dict.fromkeys(_BESIDE, "")
# A backup, which is a SQLite file, holds nothing without a number.
_NOT_BESIDE["unnumbered"] = _BESIDE["unnumbered"].replace("%s", "?")

_TURNS = {
    # Where nobody follows, a later follower must not take the missing log for no changes.
    "take_turn": (
        "UPDATE requant_collections SET seq = seq + 1, next_key = next_key + ?, "
        "run = CASE WHEN run = ? AND seq >= ? THEN run ELSE ? END, "
        "log_floor = CASE WHEN logging THEN log_floor ELSE seq + 1 END, "
        # Fields that another requant has not kept in step stay as they are.
        "fields_at = CASE WHEN fields_at = seq THEN seq + 1 END "
        "WHERE id = ? AND name = ? RETURNING seq, next_key - ? AS first, logging, run, "
        "CASE WHEN fields_at = seq THEN fields END AS fields"
    ),
    "next_key": "UPDATE requant_collections SET next_key = ? WHERE id = ?",
    "begin_run": "INSERT INTO requant_runs (collection_id, start, name) VALUES (?, ?, ?)",
    "forget_runs": (
        "DELETE FROM requant_runs WHERE collection_id = ? AND start < "
        "(SELECT max(start) FROM requant_runs WHERE collection_id = ? AND start <= ?)"
    ),
    "run_at": (
        "SELECT name FROM requant_runs WHERE collection_id = ? AND start <= ? "
        "ORDER BY start DESC LIMIT 1"
    ),
}


def _turns(mark: str) -> dict[str, Any]:
    return {name: text.replace("?", mark) for name, text in _TURNS.items()}


def _array(keys: list[int]) -> str:
    """Return an array as PostgreSQL writes it: psycopg takes ten times as long for a list.

    Statements say that it is a text: asyncpg asks the server what a parameter is.
    """
    return f"{{{str(keys)[1:-1]}}}"


def json_texts(texts: Sequence[str]) -> str:
    """Return texts as JSON, which is how `existing` takes them in both databases."""
    return json.dumps(texts, ensure_ascii=False)


_SQLITE = HotSql(
    name="sqlite",
    # str() of a list of integers is JSON, and twice as fast as json.dumps.
    keys=str,
    texts=json_texts,
    state=_STATE.replace("<noted>", ""),
    state_model=_STATE.replace("<noted>", _NOTED.format("model", "requant_collections")),
    state_text=_STATE.replace("<noted>", _NOTED.format("text", "requant_collections")),
    index_number="SELECT id FROM requant_indexes WHERE collection_id = ? AND name = ?",
    index_info="SELECT info FROM requant_indexes WHERE collection_id = ? AND name = ?",
    head=_HEAD.format("?"),
    # CROSS JOIN keeps SQLite from turning the loop round.
    vectors=(
        "SELECT v.key, v.vec FROM json_each(?) AS j CROSS JOIN requant_vectors AS v "
        "ON v.key = j.value"
    ),
    state_page="SELECT id FROM requant_collections WHERE id > 0 LIMIT 1",
    vectors_page="SELECT key FROM requant_vectors LIMIT 1",
    joined=(
        "SELECT count(*), CAST(group_concat(v.vec, x'a55ac57f') AS BLOB) FROM json_each(?) AS j "
        "CROSS JOIN requant_vectors AS v ON v.key = j.value"
    ),
    scan="SELECT key, vec FROM requant_vectors WHERE key >= ? AND key < ? ORDER BY key LIMIT ?",
    # A row is a value as a whole here, for a third of what the driver takes to hand out each. The
    # keys tell in what order they are, the separator whether each vector is where it should be.
    block=(
        "SELECT group_concat(key), CAST(group_concat(vec, x'a55ac57f') AS BLOB) "
        "FROM requant_vectors WHERE key >= ? AND key < ?"
    ),
    scan_checked=(
        "SELECT key, vec, crc FROM requant_vectors WHERE key >= ? AND key < ? ORDER BY key LIMIT ?"
    ),
    changed=(
        "SELECT DISTINCT key FROM requant_changes WHERE collection_id = ? AND seq > ? "
        "AND key < ? ORDER BY key"
    ),
    log=(
        "SELECT seq, key FROM requant_changes WHERE collection_id = ? "
        "AND (seq, key) > (?, ?) AND key < ? ORDER BY seq, key LIMIT ?"
    ),
    items=(
        "SELECT i.key, i.ext_id, i.id_kind, i.document, i.metadata FROM json_each(?) AS j "
        "CROSS JOIN requant_items AS i ON i.key = j.value"
    ),
    metadata=(
        "SELECT i.key, i.metadata FROM json_each(?) AS j "
        "CROSS JOIN requant_items AS i ON i.key = j.value"
    ),
    ids=(
        "SELECT i.key, i.ext_id, i.id_kind FROM json_each(?) AS j "
        "CROSS JOIN requant_items AS i ON i.key = j.value"
    ),
    items_with_vectors=(
        "SELECT i.key, i.ext_id, i.id_kind, i.document, i.metadata, v.vec FROM requant_items AS i "
        "LEFT JOIN requant_vectors AS v ON v.key = i.key WHERE i.key >= ? AND i.key < ? "
        "ORDER BY i.key LIMIT ?"
    ),
    existing=(
        "SELECT i.ext_id, i.key FROM json_each(?) AS j CROSS JOIN requant_items AS i "
        "ON i.collection_id = ? AND i.ext_id = j.value"
    ),
    existing_named=(
        "SELECT i.ext_id, i.key FROM json_each(?) AS j CROSS JOIN requant_items AS i "
        "ON i.collection_id = ? AND i.ext_id = j.value "
        "WHERE EXISTS (SELECT 1 FROM requant_collections WHERE id = ? AND name = ?)"
    ),
    note="SELECT value FROM requant_meta WHERE name = ?",
    vectors_named=(
        "SELECT v.key, v.vec FROM json_each(?) AS j CROSS JOIN requant_items AS i "
        "ON i.collection_id = ? AND i.ext_id = j.value "
        "CROSS JOIN requant_vectors AS v ON v.key = i.key"
    ),
    block_named=(
        "SELECT group_concat(v.key), CAST(group_concat(v.vec, x'a55ac57f') AS BLOB) "
        "FROM json_each(?) AS j CROSS JOIN requant_items AS i "
        "ON i.collection_id = ? AND i.ext_id = j.value "
        "CROSS JOIN requant_vectors AS v ON v.key = i.key"
    ),
    aliases=(
        "SELECT a.foreign_id, a.key FROM json_each(?) AS j CROSS JOIN requant_aliases AS a "
        "ON a.index_id = ? AND a.foreign_id = j.value"
    ),
    insert_item=(
        "INSERT INTO requant_items (key, collection_id, ext_id, id_kind, document, metadata) "
        "VALUES (?, ?, ?, ?, ?, ?)"
    ),
    insert_new=(
        "INSERT INTO requant_items (key, collection_id, ext_id, id_kind, document, metadata) "
        "VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (collection_id, ext_id) DO NOTHING RETURNING key"
    ),
    put_vector=(
        "INSERT INTO requant_vectors (key, vec, crc) VALUES (?, ?, ?) "
        "ON CONFLICT (key) DO UPDATE SET vec = excluded.vec, crc = excluded.crc"
    ),
    put_item="UPDATE requant_items SET document = ?, metadata = ? WHERE key = ?",
    put_document="UPDATE requant_items SET document = ? WHERE key = ?",
    put_metadata="UPDATE requant_items SET metadata = ? WHERE key = ?",
    delete_items="DELETE FROM requant_items WHERE key IN (SELECT value FROM json_each(?))",
    delete_vectors="DELETE FROM requant_vectors WHERE key IN (SELECT value FROM json_each(?))",
    log_changes=(
        "INSERT INTO requant_changes (collection_id, seq, key) SELECT ?, ?, value FROM json_each(?)"
    ),
    **_turns("?"),
    **_NOT_BESIDE,
    replace_one="",
    lists_of="SELECT value, keys FROM requant_values WHERE field_id = ? AND part = ? AND value IN",
    add_values=("INSERT INTO requant_values (field_id, part, value, keys) VALUES (?, ?, ?, ?)"),
    put_values=("UPDATE requant_values SET keys = ? WHERE field_id = ? AND part = ? AND value = ?"),
    drop_values="DELETE FROM requant_values WHERE field_id = ? AND part = ? AND value = ?",
    clear_values="DELETE FROM requant_values WHERE field_id = ?",
)

_POSTGRES = HotSql(
    name="postgresql",
    keys=_array,
    texts=list,
    # Lists of keys are cast in a SELECT of their own, which is evaluated once; in a condition they
    # are parsed anew for each row where the planner scans the table (25,000 keys: a minute).
    # In one statement, as others may commit between two; rows are planned faster than aggregates.
    state=_STATE_BESIDE.replace("<noted>", ""),
    state_model=_STATE_BESIDE.replace("<noted>", _NOTED.format("model", "c")),
    state_text=_STATE_BESIDE.replace("<noted>", _NOTED.format("text", "c")),
    index_number="SELECT id FROM requant_indexes WHERE collection_id = %s AND name = %s",
    index_info="SELECT info FROM requant_indexes WHERE collection_id = %s AND name = %s",
    head=_HEAD.format("%s"),
    vectors=(
        "SELECT key, vec FROM requant_vectors "
        "WHERE key = ANY((SELECT %s::text::bigint[])::bigint[]) ORDER BY key"
    ),
    state_page="",
    vectors_page="",
    joined="",
    scan="SELECT key, vec FROM requant_vectors WHERE key >= %s AND key < %s ORDER BY key LIMIT %s",
    block=(
        "SELECT string_agg(int8send(key), ''::bytea), "
        "string_agg(vec, decode('a55ac57f', 'hex')) "
        "FROM requant_vectors WHERE key >= %s AND key < %s"
    ),
    scan_checked=(
        "SELECT key, vec, crc FROM requant_vectors WHERE key >= %s AND key < %s "
        "ORDER BY key LIMIT %s"
    ),
    changed=(
        "SELECT DISTINCT key FROM requant_changes WHERE collection_id = %s AND seq > %s "
        "AND key < %s ORDER BY key"
    ),
    log=(
        "SELECT seq, key FROM requant_changes WHERE collection_id = %s "
        "AND (seq, key) > (%s, %s) AND key < %s ORDER BY seq, key LIMIT %s"
    ),
    items=(
        "SELECT i.key, i.ext_id, i.id_kind, i.document, i.metadata FROM requant_items AS i "
        "WHERE i.key = ANY((SELECT %s::text::bigint[])::bigint[])"
    ),
    metadata=(
        "SELECT key, metadata FROM requant_items "
        "WHERE key = ANY((SELECT %s::text::bigint[])::bigint[])"
    ),
    ids=(
        "SELECT key, ext_id, id_kind FROM requant_items "
        "WHERE key = ANY((SELECT %s::text::bigint[])::bigint[])"
    ),
    items_with_vectors=(
        "SELECT i.key, i.ext_id, i.id_kind, i.document, i.metadata, v.vec FROM requant_items AS i "
        "LEFT JOIN requant_vectors AS v ON v.key = i.key WHERE i.key >= %s AND i.key < %s "
        "ORDER BY i.key LIMIT %s"
    ),
    # Id by id: with ANY, a plan that was made while the table was small reads all of it. As JSON,
    # which is made ten times as fast as an array.
    existing=(
        "SELECT i.ext_id, i.key "
        "FROM json_array_elements_text(%s::text::json) AS given(ext_id) CROSS JOIN LATERAL ("
        "SELECT ext_id, key FROM requant_items AS stored WHERE stored.collection_id = %s "
        "AND stored.ext_id = given.ext_id LIMIT 1) AS i"
    ),
    existing_named=(
        "SELECT i.ext_id, i.key "
        "FROM json_array_elements_text(%s::text::json) AS given(ext_id) CROSS JOIN LATERAL ("
        "SELECT ext_id, key FROM requant_items AS stored WHERE stored.collection_id = %s "
        "AND stored.ext_id = given.ext_id LIMIT 1) AS i "
        "WHERE EXISTS (SELECT 1 FROM requant_collections WHERE id = %s AND name = %s)"
    ),
    note="SELECT value FROM requant_meta WHERE name = %s",
    # Id by id, as in `existing`, and then by an array of keys, in whose order the vectors come: a
    # join would remember vectors by key, in case that one comes again.
    vectors_named=(
        "SELECT key, vec FROM requant_vectors WHERE key = ANY(ARRAY("
        "SELECT i.key FROM json_array_elements_text(%s::text::json) AS given(ext_id) "
        "CROSS JOIN LATERAL ("
        "SELECT key FROM requant_items AS stored WHERE stored.collection_id = %s "
        "AND stored.ext_id = given.ext_id LIMIT 1) AS i)) ORDER BY key"
    ),
    block_named="",
    aliases=(
        "SELECT foreign_id, key FROM requant_aliases WHERE foreign_id = ANY(%s) AND index_id = %s"
    ),
    insert_item=(
        "INSERT INTO requant_items (key, collection_id, ext_id, id_kind, document, metadata) "
        "VALUES (%s, %s, %s, %s, %s, %s)"
    ),
    insert_new="",  # `write_one` is all of it
    put_vector=(
        "INSERT INTO requant_vectors (key, vec, crc) VALUES (%s, %s, %s) "
        "ON CONFLICT (key) DO UPDATE SET vec = excluded.vec, crc = excluded.crc"
    ),
    put_item="UPDATE requant_items SET document = %s, metadata = %s WHERE key = %s",
    put_document="UPDATE requant_items SET document = %s WHERE key = %s",
    put_metadata="UPDATE requant_items SET metadata = %s WHERE key = %s",
    delete_items=(
        "DELETE FROM requant_items WHERE key = ANY((SELECT %s::text::bigint[])::bigint[])"
    ),
    delete_vectors=(
        "DELETE FROM requant_vectors WHERE key = ANY((SELECT %s::text::bigint[])::bigint[])"
    ),
    log_changes=(
        "INSERT INTO requant_changes (collection_id, seq, key) "
        "SELECT %s::bigint, %s::bigint, unnest(%s::text::bigint[])"
    ),
    **_turns("%s"),
    **_BESIDE,
    replace_one=(
        "WITH item AS (UPDATE requant_items SET "
        "document = CASE WHEN %s::boolean THEN %s::text ELSE document END, "
        "metadata = CASE WHEN %s::boolean THEN %s::text ELSE metadata END "
        "WHERE collection_id = %s AND ext_id = %s RETURNING key), floats AS ("
        "INSERT INTO requant_vectors (key, vec, crc) SELECT item.key, given.vec, given.crc FROM "
        "item CROSS JOIN (SELECT %s::bytea AS vec, %s::bigint AS crc) AS given "
        "WHERE given.vec IS NOT NULL "
        "ON CONFLICT (key) DO UPDATE SET vec = excluded.vec, crc = excluded.crc) "
        "SELECT key FROM item"
    ),
    lists_of=(
        "SELECT value, keys FROM requant_values WHERE field_id = %s AND part = %s "
        "AND value = ANY(%s)"
    ),
    add_values=("INSERT INTO requant_values (field_id, part, value, keys) VALUES (%s, %s, %s, %s)"),
    put_values=(
        "UPDATE requant_values SET keys = %s WHERE field_id = %s AND part = %s AND value = %s"
    ),
    drop_values="DELETE FROM requant_values WHERE field_id = %s AND part = %s AND value = %s",
    clear_values="DELETE FROM requant_values WHERE field_id = %s",
    copy_items=(
        "COPY requant_items (key, collection_id, ext_id, id_kind, document, metadata) "
        "FROM STDIN (FORMAT BINARY)"
    ),
    copy_vectors="COPY requant_vectors (key, vec, crc) FROM STDIN (FORMAT BINARY)",
    copy_values="COPY requant_values (field_id, part, value, keys) FROM STDIN (FORMAT BINARY)",
    put_items=(
        "UPDATE requant_items AS i SET "
        "document = CASE WHEN %b THEN given.document ELSE i.document END, "
        "metadata = CASE WHEN %b THEN given.metadata ELSE i.metadata END "
        "FROM unnest(%b::bigint[], %b::text[], %b::text[]) AS given(key, document, metadata) "
        "WHERE i.key = given.key"
    ),
    put_vectors=(
        "INSERT INTO requant_vectors (key, vec, crc) "
        "SELECT * FROM unnest(%b::bigint[], %b::bytea[], %b::bigint[]) "
        "ON CONFLICT (key) DO UPDATE SET vec = excluded.vec, crc = excluded.crc"
    ),
)


def hot_sql(dialect: str, tables: Tables) -> HotSql:
    """Return the statements of a SQLAlchemy dialect name; raises UnsupportedError for others."""
    for sql in (_SQLITE, _POSTGRES):
        if sql.name == dialect:
            named: dict[str, Any] = {
                one.name: tables.named(getattr(sql, one.name))
                for one in fields(sql)
                if one.type == "str"
            }
            return replace(sql, **named, named=lru_cache(maxsize=64)(tables.named))
    raise UnsupportedError(f"{dialect} is not supported as a store: use SQLite or PostgreSQL")

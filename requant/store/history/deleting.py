"""Deletes written down by the database itself: what a trigger does where nobody calls requant.

It does what `ItemWriter.delete` does. In SQLite it takes a turn, which begins a run of its own as
nobody knows what was before, takes the items out of the lists of indexed fields, logs them for the
indexes that follow, and removes them. In PostgreSQL it stands beside others, removes the items, and
leaves a note of them and of their metadata: whoever numbers it knows where they are listed. A
collection is found by its name, so that one that was dropped and made again is followed, too.
"""

# ruff: noqa: S608 (names of tables and collections, which are checked, and no values)
from __future__ import annotations

from dataclasses import dataclass

from requant.store.fields import BITS, PART
from requant.store.gate import CLOSING, PASSING
from requant.store.history.turns import REMEMBERED
from requant.store.schema import KEY_BITS, Tables

_BYTES = "".join(f"{n:02X}" for n in range(256))
_HEX = "'0123456789ABCDEF'"
_DIGEST = "md5(random()::text || clock_timestamp()::text)"
_RUN = f"left({_DIGEST}, 16)"
_TOKEN = f"('x' || left({_DIGEST}, 16))::bit(64)::bigint"


@dataclass(frozen=True)
class Deleting:
    """The statements of one database for the items of the collection `name`."""

    tables: Tables
    name: str

    def table(self, name: str) -> str:
        """Return the name of one of requant's tables, as SQL."""
        return self.tables.quoted(name)

    @property
    def text(self) -> str:
        """The name of the collection, as SQL; it has neither quotes nor backslashes."""
        return f"'{self.name}'"

    @property
    def collection(self) -> str:
        """The number of the collection, as SQL."""
        return f"(SELECT id FROM {self.table('collections')} WHERE name = {self.text})"

    def exists(self, text: str) -> str:
        """Whether there is an item whose id is the SQL expression `text`."""
        return (
            f"EXISTS (SELECT 1 FROM {self.table('items')} WHERE collection_id = {self.collection} "
            f"AND ext_id = {text})"
        )

    def rename(self, old: str, new: str) -> str:
        """Give an item another id, which none has."""
        return (
            f"UPDATE {self.table('items')} SET ext_id = {new} "
            f"WHERE collection_id = {self.collection} AND ext_id = {old}"
        )

    def turn(self, token: str) -> str:
        """Take the collection's turn; `token` is the SQL of a random name."""
        return (
            f"UPDATE {self.table('collections')} SET seq = seq + 1, run = {token}, "
            "log_floor = CASE WHEN logging THEN log_floor ELSE seq + 1 END, "
            f"fields_at = CASE WHEN fields_at = seq THEN seq + 1 END WHERE name = {self.text}"
        )

    def note_run(self) -> list[str]:
        """Note the run that the turn has begun, and forget those of long ago."""
        collections, runs = self.table("collections"), self.table("runs")
        of_this = f"FROM {collections} WHERE name = {self.text}"
        return [
            f"INSERT INTO {runs} (collection_id, start, name) SELECT id, seq, run {of_this}",
            f"DELETE FROM {runs} WHERE collection_id = {self.collection} AND start < "
            f"(SELECT max(start) FROM {runs} WHERE collection_id = {self.collection} "
            f"AND start <= (SELECT seq - {REMEMBERED} {of_this}))",
        ]


def sqlite_deletes(deleting: Deleting, text: str) -> list[str]:
    """Return the statements that remove the item of the id `text`, if there is one.

    They stand in a trigger, which has neither variables nor loops; a turn has been taken.
    """
    items, vectors, changes = map(deleting.table, ("items", "vectors", "changes"))
    of_id = f"collection_id = {deleting.collection} AND ext_id = {text}"
    key = f"(SELECT key FROM {items} WHERE {of_id})"
    return [
        *_out_of_lists(deleting, key),
        f"INSERT INTO {changes} (collection_id, seq, key) SELECT c.id, c.seq, i.key "
        f"FROM {deleting.table('collections')} AS c JOIN {items} AS i ON i.collection_id = c.id "
        f"WHERE c.name = {deleting.text} AND c.logging AND i.ext_id = {text}",
        f"DELETE FROM {vectors} WHERE key = {key}",
        f"DELETE FROM {items} WHERE {of_id}",
    ]


def _out_of_lists(deleting: Deleting, key: str) -> list[str]:
    """Take a key out of the lists of indexed fields; see `requant.store.fields.key_lists`."""
    values, fields = deleting.table("values"), deleting.table("fields")
    at = f"({key} - ({deleting.collection} << {KEY_BITS}))"
    # What is the same for every row is a query of its own: SQLite asks it once.
    place = f"(SELECT {at} % {PART})"
    within = (
        f"field_id IN (SELECT id FROM {fields} WHERE collection_id = {deleting.collection}) "
        f"AND part = (SELECT {at} / {PART})"
    )
    known = f"x'{_BYTES}'"
    low = f"substr({known}, ({place} & 255) + 1, 1)"
    high = f"substr({known}, ({place} >> 8) + 1, 1)"
    pair = f"(SELECT CAST({low} || {high} AS BLOB))"
    byte = f"(SELECT {place} >> 3)"
    digits = f"hex(substr(keys, {byte} + 1, 1))"
    number = (
        f"((instr({_HEX}, substr({digits}, 1, 1)) - 1) * 16 "
        f"+ instr({_HEX}, substr({digits}, 2, 1)) - 1)"
    )
    bit = f"(SELECT 1 << ({place} & 7))"
    thirty_two = "(VALUES " + ", ".join(f"({n})" for n in range(32)) + ")"
    # Two bytes that are not those of one place may stand before it: then each is looked at.
    first = f"instr(keys, {pair})"
    found = (
        f"CASE WHEN {first} % 2 THEN {first} / 2 ELSE "
        f"(SELECT a.column1 * 32 + b.column1 FROM {thirty_two} AS a, {thirty_two} AS b "
        f"WHERE a.column1 * 64 < length(keys) "
        f"AND substr(keys, (a.column1 * 32 + b.column1) * 2 + 1, 2) = {pair}) END"
    )
    return [
        f"UPDATE {values} SET keys = CAST(substr(keys, 1, {byte}) "
        f"|| substr({known}, ({number} & ~{bit}) + 1, 1) || substr(keys, {byte} + 2) AS BLOB) "
        f"WHERE {within} AND length(keys) = {BITS} AND {number} & {bit}",
        f"UPDATE {values} SET keys = CAST(substr(keys, 1, ({found}) * 2) "
        f"|| substr(keys, ({found}) * 2 + 3) AS BLOB) "
        f"WHERE {within} AND length(keys) <> {BITS} AND instr(keys, {pair}) "
        f"AND ({found}) IS NOT NULL",
        f"DELETE FROM {values} WHERE {within} "
        f"AND (length(keys) = 0 OR (length(keys) = {BITS} AND keys = zeroblob({BITS})))",
    ]


def postgresql_deletes(deleting: Deleting) -> str:
    """Return the body of PL/pgSQL that removes the items of the ids in the array `ids`.

    It has `variables` declared, and stands beside others if there is one of these.
    """
    items, vectors, writes = map(deleting.table, ("items", "vectors", "writes"))
    stored = "i.collection_id = mine.id AND i.ext_id = ANY(ids) ORDER BY i.key FOR UPDATE"
    return f"""
    IF EXISTS (SELECT 1 FROM {items} AS i WHERE i.collection_id = {deleting.collection}
            AND i.ext_id = ANY(ids)) THEN
        {_postgresql_join(deleting)}
        keys_gone := ARRAY(SELECT i.key FROM {items} AS i WHERE {stored});
        INSERT INTO {writes} (collection_id, token, fields, added, changed, touched, gone)
            SELECT mine.id, {_TOKEN}, mine.in_step, '', string_agg(int8send(i.key), ''), '',
            CASE WHEN mine.in_step IS NOT NULL
                THEN json_agg(json_build_array(i.key, i.metadata))::text END
            FROM {items} AS i WHERE i.key = ANY(keys_gone) HAVING count(*) > 0;
        DELETE FROM {vectors} AS v WHERE v.key = ANY(keys_gone);
        DELETE FROM {items} AS i WHERE i.key = ANY(keys_gone);
    END IF;"""


def postgresql_renames(deleting: Deleting, old: str, new: str) -> str:
    """Return the body of PL/pgSQL that gives the item `old` the id `new`, and removes that one."""
    items, writes = map(deleting.table, ("items", "writes"))
    return f"""
    IF {deleting.exists(old)} THEN
        ids := ARRAY[{new}];{postgresql_deletes(deleting)}
        {_postgresql_join(deleting)}
        UPDATE {items} AS i SET ext_id = {new}
            WHERE i.collection_id = mine.id AND i.ext_id = {old} RETURNING i.key INTO one;
        IF one IS NOT NULL THEN
            INSERT INTO {writes} (collection_id, token, fields, added, changed, touched)
                VALUES (mine.id, {_TOKEN}, mine.in_step, '', '', int8send(one));
        END IF;
    END IF;"""


def postgresql_clear(deleting: Deleting) -> str:
    """Return the body of PL/pgSQL that removes every item, as `ItemWriter.clear` does."""
    items, vectors, changes, writes, values, fields, collections = map(
        deleting.table,
        ("items", "vectors", "changes", "writes", "values", "fields", "collections"),
    )
    noted = ";\n    ".join(deleting.note_run())
    within = f"key >= mine.id << {KEY_BITS} AND key < (mine.id + 1) << {KEY_BITS}"
    return f"""
    FOR attempt IN 1..2 LOOP -- of the one that has the name then, see `_postgresql_join`
        PERFORM {CLOSING} FROM {collections} WHERE name = {deleting.text};
    END LOOP;
    {deleting.turn(_RUN)} RETURNING * INTO mine;
    IF mine.id IS NULL THEN
        RETURN NULL;
    END IF;
    {noted};
    DELETE FROM {vectors} WHERE {within};
    DELETE FROM {items} WHERE {within};
    DELETE FROM {changes} WHERE collection_id = mine.id;
    UPDATE {collections} SET log_floor = seq, fields_at = CASE WHEN NOT EXISTS (
            SELECT 1 FROM {writes} AS w WHERE w.collection_id = mine.id
            AND w.fields IS DISTINCT FROM mine.fields) THEN fields_at END
        WHERE id = mine.id;
    DELETE FROM {writes} WHERE collection_id = mine.id;
    DELETE FROM {values} WHERE field_id IN
        (SELECT id FROM {fields} WHERE collection_id = mine.id);"""


# What all of them need.
POSTGRESQL_VARIABLES = """
    mine record;
    ids text[];
    keys_gone bigint[];
    one bigint;"""


def _postgresql_join(deleting: Deleting) -> str:
    """As `requant.store.history.beside` joins those who write.

    Once more if there is none: its name may have been given to another one while we waited.
    """
    return f"""FOR attempt IN 1..2 LOOP
            SELECT id, CASE WHEN fields_at = seq THEN fields END AS in_step, {PASSING}
                INTO mine FROM {deleting.table("collections")} WHERE name = {deleting.text}
                FOR KEY SHARE;
            EXIT WHEN mine.id IS NOT NULL;
        END LOOP;
        IF mine.id IS NULL THEN
            RETURN NULL;
        END IF;"""

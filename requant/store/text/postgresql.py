"""The words of documents in PostgreSQL: a table of tsvectors a collection, kept by triggers.

As in SQLite the triggers stand on the table of items, so that whoever writes keeps the index in
step. They run as whoever made the index: who may write items need not know of it. Documents are
made plain before they are parsed (small letters, no accents, no marks), so that the same words are
found as in SQLite: the parser of PostgreSQL would take `config.py` for a host, and `/a` for a path.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import sqlalchemy as sa

from requant.store.schema import Tables, key_range
from requant.store.text.definitions import TextIndex
from requant.store.text.syntax import Term, TextQuery, words_of

# Longer words are not indexed, so that none is found by them.
_LONGEST_WORD = 2000
# Of these the parser makes hosts, files, addresses, tags, signs and compounds; others part words.
_MARKS = "./@<>&-_+~:"
# What parts words beside those; a server whose locale is C takes all of it for letters.
_MORE_MARKS = "[\u00a1-\u00a9\u00ab-\u00b1\u00b4\u00b6-\u00b8\u00bb\u00bf\u2000-\u206f\u3000-\u3004"
_MORE_MARKS += "\u3008-\u3020\uff01-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65]+"
_ACCENTS = "[\u0300-\u036f]+"
# What is plain already, wherever the server stands, and parted by spaces alone.
_WORD = "([a-z]+[0-9]*|[0-9]+)"
_AS_IT_IS = re.compile(f"{_WORD}( {_WORD})*")

_TABLE = "CREATE TABLE {text} (key bigint PRIMARY KEY, words tsvector NOT NULL)"
_INDEX = 'CREATE INDEX "{name}_gin" ON {text} USING gin (words)'
# Else searches go through what waits to be sorted in, until the server looks after the table.
_FINISH = ("SELECT gin_clean_pending_list('{gin}'::regclass)", "ANALYZE {text}")
# Not STRICT, which would keep it from being inlined.
_PLAIN = """CREATE FUNCTION {plain}(document text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $body${expression}$body$"""
_ASCII = "octet_length(document) = length(document)"
_SMALL = "lower(document)"
# Words of more than 1 MB together fit into no tsvector.
_WORDS = """CREATE FUNCTION {words}(document text) RETURNS tsvector
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE STRICT AS $body$
BEGIN
    LOOP
        BEGIN
            RETURN {vector};
        EXCEPTION WHEN program_limit_exceeded THEN
            document := left(document, least(100000, length(document) / 2));
        END;
    END LOOP;
END $body$"""
_TRIGRAMS = """SELECT string_agg('''' || replace(replace(
    letter || second || third, '\\', '\\\\'), '''', '''''') || '''' {position}, '{between}')
FROM (SELECT letter, at, lead(letter) OVER near AS second, lead(letter, 2) OVER near AS third
    FROM unnest(string_to_array({plain}({document}), NULL)) WITH ORDINALITY AS one(letter, at)
    WINDOW near AS (ORDER BY at)) AS three WHERE third IS NOT NULL"""
_ASKED = """CREATE FUNCTION {asked}(term text) RETURNS tsquery
LANGUAGE sql IMMUTABLE PARALLEL SAFE STRICT AS $body${expression}$body$"""
_KEEP = """CREATE FUNCTION {keep}() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    IF TG_OP = 'DELETE' THEN
        DELETE FROM {text} WHERE key = OLD.key;
    ELSIF NEW.document IS NULL THEN
        DELETE FROM {text} WHERE key = NEW.key;
    ELSE
        INSERT INTO {text} (key, words) VALUES (NEW.key, {words}(NEW.document))
        ON CONFLICT (key) DO UPDATE SET words = excluded.words;
    END IF;
    RETURN NULL;
END $body$"""
# Or whoever may make tables could let it write from one of theirs.
_KEEP_TO_US = "REVOKE ALL ON FUNCTION {keep}() FROM PUBLIC"
_TRIGGERS = {
    "insert": "INSERT ON {items} FOR EACH ROW WHEN (NEW.collection_id = {collection} "
    "AND NEW.document IS NOT NULL)",
    "update": "UPDATE OF document ON {items} FOR EACH ROW "
    "WHEN (NEW.collection_id = {collection} AND NEW.document IS DISTINCT FROM OLD.document)",
    "delete": "DELETE ON {items} FOR EACH ROW WHEN (OLD.collection_id = {collection})",
}
_TRIGGER = 'CREATE TRIGGER "{name}_{what}" AFTER {when} EXECUTE FUNCTION {keep}()'
_STEMS = (
    "CREATE TEXT SEARCH DICTIONARY {parser} (TEMPLATE = pg_catalog.snowball, LANGUAGE = english)"
)
_PARSER = "CREATE TEXT SEARCH CONFIGURATION {parser} (COPY = pg_catalog.simple)"
_STEMMED = (
    "ALTER TEXT SEARCH CONFIGURATION {parser} ALTER MAPPING FOR asciiword, word WITH {parser}"
)
_FILL = """INSERT INTO {text} (key, words) SELECT key, {words}(document) FROM {items}
WHERE key >= %s AND key < %s AND document IS NOT NULL ON CONFLICT (key) DO NOTHING"""
# By the logarithm of a document's length: measured on WordNet, more is found so than without.
_MATCHES = """SELECT t.key, ts_rank_cd(t.words, q.found, 1) AS score
FROM {text} AS t CROSS JOIN (SELECT {found} AS found {fence}) AS q {beside}
WHERE t.words @@ q.found {without} {each} ORDER BY score DESC, t.key LIMIT {limit}"""
# Lets the server keep one plan for whatever is asked, which is worth it where little is found;
# another one for each power of 2: a plan for a small table would read all of a large one.
_FENCE = "OFFSET 0 /* of some 2 ^ {} items */"
_LACKING = """SELECT key FROM {items} AS i WHERE key >= {first} AND key < {end}
AND document IS NOT NULL AND NOT EXISTS (SELECT 1 FROM {text} AS t WHERE t.key = i.key)"""
_STRANGE = """SELECT key FROM {text} AS t WHERE NOT EXISTS (SELECT 1 FROM {items} AS i
WHERE i.key = t.key AND i.document IS NOT NULL AND i.collection_id = {collection})"""
_DIFFERS = """SELECT EXISTS (SELECT 1 FROM {text} AS t JOIN {items} AS i ON i.key = t.key
WHERE t.words <> {words}(i.document))"""
_THERE = "SELECT to_regclass(%s) IS NOT NULL"
_TRIGGERS_THERE = """SELECT tgname FROM pg_trigger
WHERE tgrelid = to_regclass(%s) AND NOT tgisinternal AND tgenabled <> 'D'"""


def create(connection: sa.Connection, tables: Tables, index: TextIndex) -> None:
    """Make an index that holds nothing yet, and let triggers keep it."""
    statements = [_TABLE, _INDEX]
    if index.tokenizer == "porter":
        statements += [_STEMS, _PARSER, _STEMMED]
    statements.append(_PLAIN.replace("{expression}", _plainly(connection, index)))
    if index.tokenizer == "trigram":
        vector = f"({_trigrams(' || chr(58) || least(at, 16383)', ' ', 'document')})::tsvector"
        query = f"SELECT ({_trigrams('', ' & ', 'term')})::tsquery"
        statements.append(_ASKED.replace("{expression}", query))
        vector = f"coalesce({vector}, chr(32)::tsvector)"
    else:
        vector = "to_tsvector({config}, {plain}(document))"
    statements += [_WORDS.replace("{vector}", vector), _KEEP, _KEEP_TO_US]
    for statement in statements:
        _run(connection, statement, tables, index)
    for what, when in _TRIGGERS.items():
        trigger = _TRIGGER.replace("{when}", when).replace("{what}", what)
        _run(connection, trigger, tables, index)


def drop(connection: sa.Connection, tables: Tables, index: TextIndex) -> None:
    """Remove what `create` has made, as far as it is there."""
    for statement in (
        "DROP FUNCTION IF EXISTS {keep}() CASCADE",
        "DROP FUNCTION IF EXISTS {words}(text), {plain}(text), {asked}(text)",
        "DROP TABLE IF EXISTS {text}",
        "DROP TEXT SEARCH CONFIGURATION IF EXISTS {parser}",
        "DROP TEXT SEARCH DICTIONARY IF EXISTS {parser}",
    ):
        _run(connection, statement, tables, index)


def fill(connection: sa.Connection, tables: Tables, index: TextIndex, first: int, end: int) -> None:
    """Index the items of `first <= key < end` that are not yet."""
    connection.exec_driver_sql(named(_FILL, tables, index), (first, end))


def empty(connection: sa.Connection, tables: Tables, index: TextIndex) -> None:
    """Do nothing: triggers are quick here, and who may write items need not reach the words."""


def finish(connection: sa.Connection, tables: Tables, index: TextIndex) -> None:
    """Do what is worth it once all items are indexed."""
    for statement in _FINISH:
        _run(connection, statement, tables, index)


def matches(
    cursor: Any, tables: Tables, index: TextIndex, query: TextQuery, limit: int | None
) -> list[tuple[int, float]]:
    """Return (key, score) of what matches, best first by ts_rank_cd; all of it without a limit."""
    try:
        return _matching(cursor, tables, index, query, limit)
    except UnicodeEncodeError as error:  # a database that is not UTF-8
        return _matching(cursor, tables, index, _told_in(query, index, error.encoding), limit)


def _matching(
    cursor: Any, tables: Tables, index: TextIndex, query: TextQuery, limit: int | None
) -> list[tuple[int, float]]:
    statement, texts = matching(index, query, limit)
    if not statement:
        return []
    return list(cursor.execute(named(statement, tables, index), texts).fetchall())


def matching(
    index: TextIndex, query: TextQuery, limit: int | None, size: int | None = None
) -> tuple[str, tuple[str, ...]]:
    """Return the statement of `matches`, to be `named`, and its parameters; "" if nothing can.

    With a `size`, the power of 2 of how many items there may be, its plan is kept.
    """
    groups = [group for group in query.groups if all(map(_may_be_found, group))]
    if not groups:
        return "", ()
    asked = _Asked(index)
    found = asked.any_of(groups)
    without = asked.any_of([(term,) for term in filter(_may_be_found, query.without)])
    each = ""
    if index.tokenizer == "trigram":
        # Three characters after three others need not be the same six.
        each = " OR ".join(f"({' AND '.join(map(asked.within, group))})" for group in groups)
    return _statement(found, without, each, limit, size), tuple(asked.texts)


@lru_cache(maxsize=32)
def _statement(found: str, without: str, each: str, limit: int | None, size: int | None) -> str:
    parts = {
        "found": found,
        "fence": "" if size is None else _FENCE.format(size),
        "beside": "JOIN {items} AS i ON i.key = t.key" if each else "",
        "without": f"AND NOT t.words @@ ({without})" if without else "",
        "each": f"AND ({each})" if each else "",
        "limit": "ALL" if limit is None else str(limit),
    }
    statement = _MATCHES
    for mark, text in parts.items():
        statement = statement.replace(f"{{{mark}}}", text)
    return statement


class _Asked:
    """Terms as tsqueries, and the texts that are their parameters, in order."""

    def __init__(self, index: TextIndex) -> None:
        self._trigrams = index.tokenizer == "trigram"
        self.texts: list[str] = []

    def any_of(self, groups: Sequence[Sequence[Term]]) -> str:
        words = all(_AS_IT_IS.fullmatch(term.text) for group in groups for term in group)
        if groups and words and not self._trigrams:
            # One statement for all of these, and no function that has to be planned.
            self.texts.append(" | ".join(" & ".join(map(_told, group)) for group in groups))
            return "to_tsquery({config}, %s::text)"
        return " || ".join(f"({' && '.join(map(self.term, group))})" for group in groups)

    def term(self, term: Term) -> str:
        if self._trigrams:
            self.texts.append(term.text)
            return "{asked}(%s::text)"
        if not term.prefix:
            self.texts.append(term.text)
            return "phraseto_tsquery({config}, {plain}(%s::text))"
        *before, last = words_of(term.text)
        self.texts += [" ".join(before), last]
        begins = "to_tsquery({config}, quote_literal({plain}(%s::text)) || ':*')"
        return f"(phraseto_tsquery({{config}}, {{plain}}(%s::text)) <-> {begins})"

    def within(self, term: Term) -> str:
        self.texts.append(term.text)
        return "strpos({plain}(i.document), {plain}(%s::text)) > 0"


def _told(term: Term) -> str:
    """Return a term as `to_tsquery` reads it."""
    return f"({' <-> '.join(term.text.split())}{':*' if term.prefix else ''})"


def out_of_step(cursor: Any, tables: Tables, index: TextIndex) -> tuple[list[int], list[int]]:
    """Return the keys of documents that are not indexed, and those of what is no document."""
    lacking, strange = (
        [row[0] for row in cursor.execute(named(statement, tables, index)).fetchall()]
        for statement in (_LACKING, _STRANGE)
    )
    return lacking, strange


def absent(cursor: Any, tables: Tables, index: TextIndex) -> list[str]:
    """Return which of the table and its triggers are not there."""
    name = index.name(tables)
    table = tables.quoted(f"text_{index.collection}")
    (there,) = cursor.execute(_THERE, (table,)).fetchone()
    items = tables.quoted("items")
    known = {row[0] for row in cursor.execute(_TRIGGERS_THERE, (items,)).fetchall()}
    triggers = [f"{name}_{what}" for what in _TRIGGERS if f"{name}_{what}" not in known]
    return triggers if there else [name, *triggers]


def differs(connection: sa.Connection, tables: Tables, index: TextIndex) -> bool:
    """Whether other words are indexed than those of the documents."""
    return bool(connection.exec_driver_sql(named(_DIFFERS, tables, index)).scalar())


def _plainly(connection: sa.Connection, index: TextIndex) -> str:
    """Return the SQL that makes a document plain; accents are parted in UTF-8 alone."""
    if index.tokenizer == "trigram":
        return f"SELECT {_SMALL}"
    encoding = connection.exec_driver_sql("SHOW server_encoding").scalar()
    version = connection.exec_driver_sql("SHOW server_version_num").scalar()
    any_letters = "document"
    if encoding == "UTF8" and int(str(version)) >= 130000:
        parted = f"regexp_replace(normalize(document, NFD), '{_ACCENTS}', '', 'g')"
        any_letters = f"normalize(regexp_replace({parted}, '{_MORE_MARKS}', ' ', 'g'), NFC)"
    of = f"lower(CASE WHEN {_ASCII} THEN document ELSE {any_letters} END)"
    return f"SELECT translate({of}, '{_MARKS}', '{' ' * len(_MARKS)}')"


def _trigrams(position: str, between: str, document: str) -> str:
    parts = {"{position}": position, "{between}": between, "{document}": document}
    statement = _TRIGRAMS
    for mark, text in parts.items():
        statement = statement.replace(mark, text)
    return statement


def _told_in(query: TextQuery, index: TextIndex, encoding: str) -> TextQuery:
    """Leave out terms of letters that no document can have; other characters part words."""

    def told(group: tuple[Term, ...]) -> tuple[Term, ...]:
        return tuple(term._replace(text=_marked(term.text, encoding)) for term in group)

    def can(term: Term) -> bool:
        parts = [term.text] if index.tokenizer == "trigram" else words_of(term.text)
        return all(_is_in(part, encoding) for part in parts)

    groups = tuple(told(group) for group in query.groups if all(map(can, group)))
    return TextQuery(groups, told(tuple(filter(can, query.without))))


def _marked(text: str, encoding: str) -> str:
    return "".join(c if _is_in(c, encoding) else " " for c in text)


def _is_in(text: str, encoding: str) -> bool:
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


def _may_be_found(term: Term) -> bool:
    if 4 * len(term.text) <= _LONGEST_WORD:
        return True  # as nearly always; no character takes more bytes
    return all(len(word.encode()) <= _LONGEST_WORD for word in words_of(term.text))


def _run(connection: sa.Connection, statement: str, tables: Tables, index: TextIndex) -> None:
    connection.exec_driver_sql(named(statement, tables, index))


def named(statement: str, tables: Tables, index: TextIndex) -> str:
    """Return a statement with the names of what is meant in it."""
    kind = f"text_{index.collection}"
    first, end = key_range(index.collection)
    parser = tables.quoted(f"{kind}_porter")
    config = "pg_catalog.simple" if index.tokenizer == "unicode" else parser.replace("'", "''")
    return statement.format(
        text=tables.quoted(kind),
        name=index.name(tables),
        items=tables.quoted("items"),
        collection=index.collection,
        first=first,
        end=end,
        parser=parser,
        config=f"'{config}'::regconfig",
        gin=tables.quoted(f"{kind}_gin").replace("'", "''"),
        plain=tables.quoted(f"{kind}_plain"),
        words=tables.quoted(f"{kind}_words"),
        asked=tables.quoted(f"{kind}_asked"),
        keep=tables.quoted(f"{kind}_keep"),
    )

"""Tables of requant that are in a database under other names than those that were asked for."""

from __future__ import annotations

import shlex

import sqlalchemy as sa

from requant.store.schema import Tables

# What every version of the schema has: an application may well have an `app_items` of its own.
_MARKS = ("meta", "collections", "items", "vectors", "changes")
_SHOWN = 3


def hint_of_others(given: sa.Engine | sa.Connection, tables: Tables) -> str:
    """Return a sentence that says which others are there, and how to ask for them; "" if none."""
    found = [one for one in _every(given) if one != (tables.prefix, tables.schema)]
    if not found:
        return ""
    options = [" ".join(_words(*one)) for one in found[:_SHOWN]]
    more = ", ..." if len(found) > _SHOWN else ""
    return (
        f" Tables of requant are there under other names: {', or '.join(options)}{more} asks for "
        "them (in Python, tables=)."
    )


def _every(given: sa.Engine | sa.Connection) -> list[tuple[str, str | None]]:
    """Return prefix and schema of each set of tables; the schema is None where there are none."""
    inspector = sa.inspect(given)
    if given.dialect.name == "sqlite":
        schemas: list[str | None] = [None]
    else:
        schemas = [name for name in inspector.get_schema_names() if name != "information_schema"]
    found = []
    for schema in schemas:
        names = set(inspector.get_table_names(schema=schema))
        ends = (name.removesuffix(_MARKS[0]) for name in sorted(names) if name.endswith(_MARKS[0]))
        found += [(one, schema) for one in ends if names.issuperset(one + mark for mark in _MARKS)]
    return found


def _words(prefix: str, schema: str | None) -> list[str]:
    return ["--prefix", prefix] + ([] if schema is None else ["--schema", shlex.quote(schema)])

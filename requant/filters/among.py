"""Items named by a statement of the application's own, which selects ids in the same database."""

from __future__ import annotations

import sqlalchemy as sa

from requant.errors import InputError

# Where the hyphens of a UUID stand that is kept as 32 digits: (first, how many) of each part.
_UUID_PARTS = ((1, 8), (9, 4), (13, 4), (17, 4), (21, 12))


def check_select(among: object) -> sa.SelectBase | None:
    """Return the statement that `among` is, None if it is none at all.

    Raises InputError for one that does not select one column.

    >>> print(check_select(sa.select(sa.column("id"))))
    SELECT id
    >>> check_select(["a", "b"])
    """
    element = getattr(among, "__clause_element__", None)
    given = element() if callable(element) and not isinstance(among, type) else among
    if not isinstance(given, sa.ClauseElement):
        return None
    if not isinstance(given, sa.SelectBase):
        raise InputError(
            f"among= takes ids or a select of one column of ids, not {type(given).__name__}"
        )
    count = len(given.selected_columns)
    if count != 1:
        names = ", ".join(str(column.key) for column in given.selected_columns)
        raise InputError(f"among= takes a select of one column of ids; this has {count}: {names}")
    return given


def is_read_as_stored(ids: sa.SelectBase, dialect: str) -> bool:
    """Whether Python reads the ids that are selected as `select_keys` makes texts of them.

    Texts of PostgreSQL may be padded, and what has a type of the application's own may be anything.
    """
    if not isinstance(ids, sa.Select):
        return False
    (column,) = ids.selected_columns
    kind = column.type
    if isinstance(kind, sa.Enum):
        return False
    return isinstance(kind, sa.Integer | sa.String if dialect == "sqlite" else sa.Integer)


def select_keys(
    ids: sa.SelectBase, items: sa.Table, collection: int, dialect: sa.Dialect
) -> sa.Select[int] | None:
    """Return the statement that selects the keys of the items that have one of `ids`.

    None where the database cannot tell what Python makes of the column: ids have to be read then.
    """
    (column,) = ids.subquery().c
    text = _text(column, dialect)
    if text is None:
        return None
    c = items.c
    named = sa.select(text)
    return sa.select(c.key).where(c.collection_id == collection, c.ext_id.in_(named))


def _text(column: sa.ColumnElement[object], dialect: sa.Dialect) -> sa.ColumnElement[str] | None:
    """Return ids as they are stored: as text."""
    kind = column.type
    if isinstance(kind, sa.Enum | sa.types.TypeDecorator):
        return None
    if isinstance(kind, sa.Uuid):
        native = dialect.supports_native_uuid and kind.native_uuid
        text = sa.cast(column, sa.Text) if native else _hyphenated(column)
    elif isinstance(kind, sa.String | sa.Integer):
        text = sa.cast(column, sa.Text)
    else:
        return None
    # The column may have a collation of its own, and two cannot be compared.
    return sa.collate(text, "default") if dialect.name == "postgresql" else text


def _hyphenated(column: sa.ColumnElement[object]) -> sa.ColumnElement[str]:
    digits = sa.type_coerce(sa.func.lower(sa.cast(column, sa.Text)), sa.Text)
    first, *others = (sa.func.substr(digits, *part) for part in _UUID_PARTS)
    text: sa.ColumnElement[str] = sa.type_coerce(first, sa.Text)
    for part in others:
        text = text + "-" + part
    return text

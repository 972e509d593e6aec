"""What users hand in, checked whole before anything is written: ids, documents, metadata, names."""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args
from uuid import UUID

import numpy as np
from numpy.typing import ArrayLike, NDArray

from requant.errors import DuplicateIdError, InputError
from requant.quantizers.arrays import Float32s, as_vectors, check_finite

# What becomes of an id that is stored already, and of one that occurs twice in a batch.
OnConflict = Literal["replace", "skip", "error"]
Duplicates = Literal["error", "last"]
Vectors = ArrayLike | Sequence[ArrayLike | None]

MAX_ID = 1024
MAX_ID_BYTES = 2560  # what PostgreSQL has room for in an index, and SQLite alike
_LONG = MAX_ID_BYTES // 4  # no character takes more bytes
_USUAL = 1 << 62
MAX_DEPTH = 100
_NESTED = (dict, list, tuple)  # made once: it is looked at for each value
# An escaped NUL: a backslash that is not itself escaped, then u0000.
_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
encode_json: Callable[[Any], str] = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, separators=(",", ":")
).encode


@dataclass(frozen=True)
class Rows:
    """A batch to be written: ids as text and kind, and whichever of the columns were given.

    `present (n,) bool` marks the rows that have a vector, None stands for all; the others are zero.
    """

    ids: list[str]
    kinds: list[int]
    vectors: Float32s | None
    documents: Sequence[str | None] | None
    metadata: Sequence[str | None] | None
    present: NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.ids)

    def take(self, rows: Sequence[int]) -> Rows:
        """Return some of the rows."""
        return Rows(
            [self.ids[row] for row in rows],
            [self.kinds[row] for row in rows],
            None if self.vectors is None else self.vectors[rows],
            None if self.documents is None else [self.documents[row] for row in rows],
            None if self.metadata is None else [self.metadata[row] for row in rows],
            None if self.present is None else self.present[rows],
        )


def check_name(name: str, what: str) -> str:
    """Return a collection's or index's name; raise InputError unless it is safe everywhere.

    >>> check_name("notes-2024", "collection")
    'notes-2024'
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name) or ".." in name:
        raise InputError(
            f"{what} name {str(name)[:80]!r} is not allowed: 1 to 128 letters, digits, '_', '-' or "
            "'.', not beginning with '-' or '.', without '..'"
        )
    return name


def check_params(params: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return an engine's parameters as plain JSON; raise InputError where they are none.

    >>> check_params({"M": np.int64(8)})
    {'M': 8}
    """
    if params is not None and not isinstance(params, Mapping):
        raise InputError(f"params must be a dict, not {type(params).__name__}")
    plain = {
        name: value.item() if isinstance(value, np.generic) else value
        for name, value in (params or {}).items()
    }
    try:
        encode_json(plain)
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"params are not JSON: {error}") from error
    return plain


def check_secrets(secrets: Any) -> dict[str, dict[str, Any]]:
    """Return engines' secret parameters; raise InputError where they are none.

    >>> check_secrets({"qdrant": {"api_key": "..."}})
    {'qdrant': {'api_key': '...'}}
    """
    given = {} if secrets is None else secrets
    if not isinstance(given, Mapping) or not all(isinstance(v, Mapping) for v in given.values()):
        raise InputError("secrets must be a dict of dicts, as {engine: {'api_key': ...}}")
    return {engine: dict(values) for engine, values in given.items()}


def check_rows(
    ids: Iterable[Any],
    vectors: Vectors | None,
    documents: Sequence[str | None] | None,
    metadata: Sequence[Mapping[str, Any] | None] | None,
    dim: int,
    duplicates: Duplicates = "error",
) -> Rows:
    """Check a batch and return it ready to be written.

    Raises:
        DuplicateIdError: an id occurs twice, unless the `duplicates` "last" are to win.
        DimensionError, NonFiniteError: see `requant.quantizers.arrays.as_vectors`.
        InputError: an empty batch, or anything else that cannot be stored, with its row.
    """
    check_choice("duplicates", duplicates, Duplicates)
    texts, kinds = check_ids(ids)
    if not texts:
        raise InputError("the batch is empty: there is nothing to store")
    n = len(texts)
    unique = len(set(texts)) == n
    if not unique and duplicates == "error":
        raise _twice(texts)
    floats, present = None, None
    if vectors is not None:
        floats, present = _vectors(vectors, dim)
        _check_length("vectors", len(floats), n)
    rows = Rows(texts, kinds, floats, _documents(documents, n), _metadata(metadata, n), present)
    return rows if unique else _last(rows)


def _last(rows: Rows) -> Rows:
    """Return the last row of each id in the place of its first, of the kind that it had there."""
    last = dict(zip(rows.ids, range(len(rows)), strict=True))
    first = dict(zip(reversed(rows.ids), reversed(rows.kinds), strict=True))
    return replace(rows.take(list(last.values())), kinds=[first[text] for text in last])


def check_choice(name: str, value: Any, choices: Any) -> None:
    """Raise InputError unless `value` is one of a Literal's.

    >>> check_choice("duplicates", "last", Duplicates)
    """
    known = get_args(choices)
    if not isinstance(value, str) or value not in known:
        raise InputError(f"{name} must be {' or '.join(map(repr, known))}, not {value!r}")


def check_ids(ids: Iterable[Any]) -> tuple[list[str], list[int]]:
    """Return ids as text, with the kind they came as: 0 text, 1 integer, 2 UUID.

    >>> check_ids(["a", 7])
    (['a', '7'], [0, 1])
    """
    scalar = isinstance(ids, np.ndarray) and ids.ndim == 0
    if isinstance(ids, str | bytes) or not isinstance(ids, Iterable) or scalar:
        raise InputError(f"ids must be a list of ids, not {type(ids).__name__}: wrap one in a list")
    texts: list[str] = []
    kinds: list[int] = []
    for row, value in enumerate(ids):
        kind = 0
        if type(value) is not str:
            value, kind = _id_text(value, row)
        if not value or len(value) > MAX_ID:
            raise InputError(f"ids row {row} has {len(value)} characters: an id has 1 to {MAX_ID}")
        _check_text(value, "ids", row)
        if len(value) > _LONG and len(value.encode()) > MAX_ID_BYTES:
            raise InputError(
                f"ids row {row} has {len(value.encode())} bytes in UTF-8: an id has at most "
                f"{MAX_ID_BYTES}"
            )
        texts.append(value)
        kinds.append(kind)
    return texts, kinds


def _id_text(value: Any, row: int) -> tuple[str, int]:
    if type(value) is int and -_USUAL < value < _USUAL:
        return str(value), 1
    if isinstance(value, str):
        return str.__str__(value), 0  # of an enum too, the text itself
    if isinstance(value, UUID):
        return str(value), 2
    if not isinstance(value, bool | np.bool_):
        try:
            number = operator.index(value)
        except TypeError:
            pass
        else:
            if number.bit_length() > 4 * MAX_ID:  # str() refuses what is longer still
                raise InputError(f"ids row {row} is a number of more than {MAX_ID} characters")
            return str(number), 1
    raise InputError(f"ids row {row} is a {type(value).__name__}: ids are text, integers or UUIDs")


def _twice(texts: list[str]) -> DuplicateIdError:
    seen: dict[str, int] = {}
    for row, text in enumerate(texts):
        if text in seen:
            break
        seen[text] = row
    return DuplicateIdError(
        f"id {text[:80]!r} occurs twice in one batch: rows {seen[text]} and {row}; "
        'duplicates="last" lets the last one win'
    )


def _vectors(vectors: Any, dim: int) -> tuple[Float32s, NDArray[np.bool_] | None]:
    """Return `(n, d) float32`, and which rows have a vector if a None stands for some."""
    if not isinstance(vectors, list | tuple) or all(one is not None for one in vectors):
        return as_vectors(vectors, dim), None
    present = np.array([one is not None for one in vectors])
    floats = np.zeros((len(vectors), dim), np.float32)
    if present.any():
        floats[present] = _given([one for one in vectors if one is not None], vectors, dim)
        check_finite(floats)
    return floats, present


def _given(given: list[Any], vectors: Sequence[Any], dim: int) -> Float32s:
    try:
        return as_vectors(given, dim, finite=False)
    except InputError:
        for row, vector in enumerate(vectors):  # whose numbers are not those of the given ones
            if vector is not None:
                as_vectors([vector], dim, f"vectors row {row}", finite=False)
        raise


def _documents(documents: Sequence[str | None] | None, n: int) -> Sequence[str | None] | None:
    if documents is None:
        return None
    check_column("documents", documents, n)
    for row, document in enumerate(documents):
        if document is None:
            continue
        if not isinstance(document, str):
            raise InputError(
                f"documents row {row} is a {type(document).__name__}: a document is text or None"
            )
        _check_text(document, "documents", row)
    return documents


def _metadata(
    metadata: Sequence[Mapping[str, Any] | None] | None, n: int
) -> Sequence[str | None] | None:
    if metadata is None:
        return None
    check_column("metadata", metadata, n)
    return [
        None if entry is None else metadata_text(entry, row) for row, entry in enumerate(metadata)
    ]


def metadata_text(entry: Any, row: int | None = None) -> str:
    """Return metadata as JSON; raise InputError, with the row if there is one, where they are none.

    >>> metadata_text({"lang": "en", "year": 1999})
    '{"lang":"en","year":1999}'
    """
    if type(entry) is not dict:
        if not isinstance(entry, Mapping):
            kind = type(entry).__name__
            raise InputError(f"{_named('metadata', row)} is a {kind}: give a dict or None")
        entry = dict(entry)
    _check_keys(entry, row, 1)
    try:
        text = encode_json(entry)
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"{_named('metadata', row)} is not JSON: {error}") from error
    if "\\u0000" in text and _NUL.search(text):
        raise _nul("metadata", row)
    _check_text(text, "metadata", row)
    return text


def _check_keys(value: Any, row: int | None, depth: int) -> None:
    """Refuse what would not come back: keys that are not text, and what SQL cannot nest."""
    if depth > MAX_DEPTH:
        what = _named("metadata", row)
        raise InputError(f"{what} is nested more than {MAX_DEPTH} levels deep")
    if isinstance(value, dict):
        for key in value:
            if type(key) is not str:
                what = _named("metadata", row)
                raise InputError(f"{what} has the key {key!r}: JSON keys are text")
    for inner in value.values() if isinstance(value, dict) else value:
        if isinstance(inner, _NESTED):
            _check_keys(inner, row, depth + 1)


def _check_text(text: str, what: str, row: int | None) -> None:
    if text.isascii():
        if "\x00" not in text:
            return
    else:
        try:
            if b"\x00" not in text.encode():
                return
        except UnicodeEncodeError as error:
            raise InputError(f"{_named(what, row)} is not valid Unicode: {error}") from error
    raise _nul(what, row)


def _nul(what: str, row: int | None) -> InputError:
    return InputError(f"{_named(what, row)} holds a NUL character, which SQL cannot store")


def _named(what: str, row: int | None) -> str:
    return what if row is None else f"{what} row {row}"


def check_column(name: str, column: Any, n: int) -> None:
    """Raise InputError unless a column is a list of `n` entries."""
    if isinstance(column, str | bytes | Mapping) or not isinstance(column, Sequence):
        raise InputError(f"{name} must be a list with an entry a row, not {type(column).__name__}")
    _check_length(name, len(column), n)


def _check_length(name: str, found: int, n: int) -> None:
    if found != n:
        raise InputError(f"{name} has {found} rows, ids has {n}: give one for each id")

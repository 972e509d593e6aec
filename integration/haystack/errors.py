"""Errors that are both Haystack's and requant's, so that either way to catch them does.

```
InputError(ValueError)
├── DocumentError(DocumentStoreError)             what cannot be stored, asked or written down
├── DocumentFilterError(haystack's FilterError)   a filter that cannot be understood
└── TakenIdError(DuplicateDocumentError)          an id that is stored already, or twice in a batch
```
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from haystack.document_stores.errors import DocumentStoreError, DuplicateDocumentError
from haystack.errors import FilterError as HaystackFilterError

from requant.errors import DuplicateIdError, FilterError, InputError


class DocumentError(InputError, DocumentStoreError):
    """What cannot be stored, asked or written down; the text says why."""


class DocumentFilterError(FilterError, HaystackFilterError):
    """A filter that cannot be understood; the text names the part of it."""


class TakenIdError(DuplicateIdError, DuplicateDocumentError):
    """An id that is stored already, or that occurs twice in one batch."""


def told(error: InputError) -> InputError:
    """Return an error of requant's as one that is Haystack's as well."""
    if isinstance(error, DocumentStoreError | HaystackFilterError):
        return error
    if isinstance(error, FilterError):
        return DocumentFilterError(str(error))
    if isinstance(error, DuplicateIdError):
        return TakenIdError(str(error))
    return DocumentError(str(error))


@contextmanager
def telling() -> Iterator[None]:
    """Raise what is wrong with the input as an error of Haystack's, too."""
    try:
        yield
    except InputError as error:
        other = told(error)
        if other is error:
            raise
        raise other from error

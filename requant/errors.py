"""Every error that requant raises, in one place.

```
RequantError
├── InputError(ValueError)
│   ├── DimensionError, NonFiniteError, UnknownEngineError, FilterError
│   ├── DuplicateIdError              an id twice in one batch, or one that is already stored
│   └── OtherModelError               a text embedded by another model than the collection's
├── UnknownIdError(KeyError)          an id that is not stored
├── UnknownCollectionError(KeyError)  no collection of that name
├── UnknownIndexError(KeyError)       no index of that name
├── UnknownFieldError(KeyError)       no indexed field of that name
├── ExistsError                       a collection, index or field of that name is already there
├── UnsupportedError, EngineMissingError(ImportError), ForkedError
├── ModelError                        an embedding model failed again and again
├── PackageMissingError(ImportError)  an optional package is not installed; the text says which
├── EngineError                       an engine refused or failed, a server cannot be reached
│   └── UntrustedHostError            the database alone names a folder, or a host to tell a secret
├── CorruptDataError, CorruptIndexError, LocationTakenError
└── StoreError                        the database cannot be opened, read or written
    ├── TurnLostError                 two wrote to one live index: the connection of one was cut
    └── ReadOnlyError                 a write to a database that was opened to be read alone

IndexWarning(UserWarning)             an index was damaged and made again, or cannot be written
FilterWarning(UserWarning)            a filter was slow: which field to index
```
"""

from __future__ import annotations

from requant.adapters.errors import (
    CorruptIndexError,
    EngineError,
    EngineMissingError,
    ForkedError,
    LocationTakenError,
    UnknownEngineError,
)
from requant.quantizers.errors import (
    CorruptDataError,
    DimensionError,
    InputError,
    NonFiniteError,
    RequantError,
    UnsupportedError,
)

__all__ = [
    "CorruptDataError",
    "CorruptIndexError",
    "DimensionError",
    "DuplicateIdError",
    "EngineError",
    "EngineMissingError",
    "ExistsError",
    "FilterError",
    "FilterWarning",
    "ForkedError",
    "IndexWarning",
    "InputError",
    "LocationTakenError",
    "ModelError",
    "NonFiniteError",
    "OtherModelError",
    "PackageMissingError",
    "ReadOnlyError",
    "RequantError",
    "StoreError",
    "TurnLostError",
    "UnknownCollectionError",
    "UnknownEngineError",
    "UnknownFieldError",
    "UnknownIdError",
    "UnknownIndexError",
    "UnsupportedError",
    "UntrustedHostError",
]


class DuplicateIdError(InputError):
    """An id occurs twice in one batch, or `add` met one that is already stored."""


class OtherModelError(InputError):
    """A text is embedded by another model than the one that the collection remembers."""


class ModelError(RequantError):
    """An embedding model failed again and again; its own error is the cause."""


class FilterError(InputError):
    """A `where` filter that cannot be understood."""


class _NameError(RequantError, KeyError):
    # KeyError shows its argument quoted; these are sentences.
    def __str__(self) -> str:
        return Exception.__str__(self)


class UnknownIdError(_NameError):
    """An id that is not stored."""


class UnknownCollectionError(_NameError):
    """No collection of that name."""

    @classmethod
    def gone(cls, name: str) -> UnknownCollectionError:
        """Return the error of who stands for a collection that has not this name any more."""
        return cls(
            f"collection {name!r} has been dropped, or moved to another embedding model: ask the "
            "database for it again"
        )


class UnknownIndexError(_NameError):
    """No index of that name in the collection."""


class UnknownFieldError(_NameError):
    """No indexed field of that name in the collection."""


class ExistsError(RequantError):
    """Something of that name is already there."""


class PackageMissingError(RequantError, ImportError):
    """An optional package is not installed; the text says how to install it."""


class StoreError(RequantError):
    """The database cannot be opened, read or written; the driver's error is the cause."""


class TurnLostError(StoreError):
    """Another process has begun to write to a live index although it was this one's turn."""


class ReadOnlyError(StoreError):
    """A write to a database that was opened with `read_only=True`."""


class UntrustedHostError(EngineError):
    """The database alone names the folder of an index, or a host that would be told a secret."""


class IndexWarning(UserWarning):
    """An index was damaged and is made again from the store, or cannot be published."""


class FilterWarning(UserWarning):
    """A filter had to look at every item, and took long: which field to index."""

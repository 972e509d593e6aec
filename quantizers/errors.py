"""The root of requant's error tree, and the errors of the quantizers.

```
RequantError
├── InputError(ValueError)            an argument that cannot be used
│   ├── DimensionError                vectors of another width than the collection or quantizer
│   └── NonFiniteError                NaN or infinity, with the row it was found in
├── UnsupportedError                  a wish that nothing here can grant, with the alternatives
└── CorruptDataError                  bytes whose checksum or structure is wrong
```
The rooms above add their own below `RequantError`; `requant.errors` hands all of them on.
"""


class RequantError(Exception):
    """Everything that requant raises on purpose.

    `stored` is how many rows had been stored by then, where a call stores them a batch at a time.
    """

    stored: int | None = None


class InputError(RequantError, ValueError):
    """An argument that cannot be used: wrong type, wrong shape, out of range."""


class DimensionError(InputError):
    """Vectors of another width than expected."""


class NonFiniteError(InputError):
    """A vector holds NaN or infinity."""


class UnsupportedError(RequantError):
    """A combination that is not available; the text names what is."""


class CorruptDataError(RequantError):
    """Bytes that are not what was written: wrong checksum, wrong magic, cut short."""

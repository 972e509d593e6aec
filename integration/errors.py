"""What can go wrong between requant and other software.

```
RequantError
├── InputError
│   └── SourceError                   a file that cannot be read, with the row it was found in
└── PackageMissingError(ImportError)  an optional package is not installed; the text names the extra
```
"""

from requant.errors import InputError, RequantError


class SourceError(InputError):
    """A file of vectors that cannot be read; the text names the file, the row and the reason."""


class PackageMissingError(RequantError, ImportError):
    """An optional package is not installed; the text says how to install it."""

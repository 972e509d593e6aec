"""What can go wrong between requant and other software.

```
RequantError
├── InputError
│   └── SourceError                   a file that cannot be read, with the row it was found in
├── ImportIncompleteError             an import stopped after some of its rows had been stored
└── PackageMissingError(ImportError)  an optional package is not installed; the text names the extra
```
"""

from requant.errors import InputError, PackageMissingError, RequantError
from requant.exchange import ImportReport

__all__ = ["ImportIncompleteError", "PackageMissingError", "SourceError"]


class SourceError(InputError):
    """A file of vectors that cannot be read; the text names the file, the row and the reason."""


class ImportIncompleteError(RequantError):
    """An import stopped after some of its rows had been stored; `report` tells how many."""

    def __init__(self, text: str, report: ImportReport) -> None:
        """Say why, and what was stored."""
        super().__init__(text)
        self.report = report

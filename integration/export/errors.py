"""What can go wrong with an export, beside what reading the database raises.

```
RequantError
└── ExportError   the target cannot be written: a full disk, a server, an engine that refuses
```
"""

from requant.errors import RequantError


class ExportError(RequantError):
    """A target that cannot be written; the text says why, and what is left of it."""

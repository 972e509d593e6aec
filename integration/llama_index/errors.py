"""What LlamaIndex's callers catch, in requant's words.

```
RequantError
├── InputError(ValueError)
│   └── NoEmbeddingError              a node, or a query, without its vector
└── UnsupportedError
    └── ModeError(ValueError)         a query mode that this store, or any, does not have
```
"""

from __future__ import annotations

from requant.errors import InputError, UnsupportedError


class NoEmbeddingError(InputError):
    """A node or a query has no embedding where one is needed; LlamaIndex raises a ValueError."""


class ModeError(UnsupportedError, ValueError):
    """A query mode that cannot be answered; LlamaIndex raises a ValueError."""

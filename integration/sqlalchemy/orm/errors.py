"""What can go wrong between a model and its collection; every text names the row or the class.

```
RequantError
├── InputError
│   └── UnboundError                  a model whose vectors no database keeps
└── EmbedError                        the model that makes vectors of documents failed
```
"""

from __future__ import annotations

from requant.errors import InputError, RequantError


class UnboundError(InputError):
    """A model with a Vector that is not bound to a database."""


class EmbedError(RequantError):
    """What makes vectors of documents raised an error, which is the cause; nothing was written."""


def about(subject: str, error: RequantError) -> RequantError:
    """Return an error of the same kind whose text begins with what it is about."""
    return type(error)(f"{subject}: {error}")

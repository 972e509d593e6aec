"""What can go wrong between requant and an engine.

```
RequantError
├── EngineMissingError(ImportError)   the engine is not installed; the text names the extra
├── UnknownEngineError                no engine is registered under that name
├── CorruptIndexError                 an index file whose digest or content is not what was written
├── LocationTakenError                something stands where an index is to be created
├── ForkedError                       what was in use before a fork is used after it
└── EngineError                       an engine refused or failed; its own error is the cause
```
"""

from requant.quantizers.errors import InputError, RequantError


class EngineMissingError(RequantError, ImportError):
    """The engine's package is not installed, or cannot be imported."""


class UnknownEngineError(InputError):
    """No engine is registered under that name."""


class CorruptIndexError(RequantError):
    """An index file is not what was written."""


class LocationTakenError(RequantError):
    """Something stands where an index is to be created; it is not touched without `overwrite`."""


class ForkedError(RequantError):
    """What its parent process used, and what does not survive a fork, is used in a child."""


class EngineError(RequantError):
    """An engine refused or failed."""

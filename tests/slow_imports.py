"""What LanceDB and Qdrant import that takes seconds and starts no thread.

Imported before a fork, so that children need not; the engines themselves do not survive one.
"""

import contextlib

with contextlib.suppress(ImportError):  # other releases of LanceDB are made otherwise
    import lance_namespace  # noqa: F401
import qdrant_client  # noqa: F401

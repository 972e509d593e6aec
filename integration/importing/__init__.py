"""`requant import` and `requant.import_items`: a source, what belongs to its rows, a collection.

A source is opened by the readers; a file of items is joined to it by id or by row; what was stored
is told in an `ImportReport`.
"""

from requant.integration.importing.run import Job, check_target, import_items
from requant.integration.importing.source import Import, open_import

__all__ = ["Import", "Job", "check_target", "import_items", "open_import"]

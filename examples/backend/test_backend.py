"""The sample backend passes the suite that requant's own engines pass."""

from requant_sqlite_example import SqliteBackend

from requant.testing import BackendConformance
from requant.testing.bench import Case


class TestSqlite(BackendConformance):
    backend = SqliteBackend

    def large(self, row: Case) -> int:
        """Every item is compared: 100,000 would take long."""
        return 5_000

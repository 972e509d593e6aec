"""The sample backend passes the suite that requant's own engines pass."""

from requant_sqlite_example import SqliteBackend

from requant.testing import BackendConformance


class TestSqlite(BackendConformance):
    backend = SqliteBackend

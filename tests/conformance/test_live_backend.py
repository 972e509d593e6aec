"""LiveBackend: who may go in beside whom, exports beside writes, and a child that closes."""

import os
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from requant.adapters.errors import EngineError, ForkedError
from requant.adapters.live import LiveBackend
from requant.adapters.protocol import IndexSpec
from requant.testing import ReferenceBackend
from requant.testing.data import code_spec, make_codes, make_keys
from requant.testing.reference import Rows

SPEC = IndexSpec(code_spec("int8", 8), "ip")
QUERY = np.ones((1, 8), np.int8)


class Waiting(Rows):
    """The reference's rows, in which two calls can wait for each other."""

    def __init__(self, closed):
        super().__init__(SPEC)
        self.meeting, self.closed = None, closed

    def upsert(self, keys, codes):
        self.met()
        super().upsert(keys, codes)

    def search(self, *arguments):
        self.met()
        return super().search(*arguments)

    def met(self):
        if self.meeting:
            self.meeting.wait()

    def flush(self):
        pass

    def close(self):
        self.closed.touch()


class Live(LiveBackend[Waiting]):
    capabilities = ReferenceBackend.capabilities


class OneVersion(Live):
    one_version = True


@pytest.fixture
def structure(tmp_path):
    return Waiting(tmp_path / "closed")


def upsert(index):
    index.upsert(make_keys(5), make_codes(SPEC.code, 5))


def search(index):
    index.search(QUERY, 2)


@pytest.mark.parametrize(
    ("sharing", "calls", "meet"),
    [
        ("none", (search, search), False),
        ("none", (search, upsert), False),
        ("readers", (search, search), True),
        ("readers", (search, upsert), False),
        ("readers", (upsert, upsert), False),
        ("all", (search, search), True),
        ("all", (search, upsert), True),
        ("all", (upsert, upsert), False),
    ],
)
def test_who_may_go_in_beside_whom(structure, sharing, calls, meet):
    index = Live(SPEC, structure, sharing)
    # Those that never meet wait in vain, one after the other.
    structure.meeting = threading.Barrier(2, timeout=30 if meet else 0.2)
    with ThreadPoolExecutor(2) as pool:
        errors = [done.exception() for done in [pool.submit(call, index) for call in calls]]
    assert [type(error) for error in errors] == [type(None)] * 2 if meet else all(errors)


@pytest.mark.parametrize("kind", [Live, OneVersion])
def test_a_write_ends_an_export_unless_it_reads_one_version(structure, kind):
    index = kind(SPEC, structure)
    index.upsert(make_keys(100), make_codes(SPEC.code, 100))
    export = index.export(batch=30)
    found = len(next(export)[0])
    index.delete(make_keys(100)[:50])
    if kind is Live:
        with pytest.raises(EngineError, match="written to"):
            next(export)
    else:
        assert found + sum(len(keys) for keys, _ in export) == 100


def test_closing_twice_closes_once(structure):
    index = Live(SPEC, structure)
    index.close()
    structure.closed.unlink()
    index.close()
    assert not structure.closed.exists()
    with pytest.raises(EngineError, match="closed"):
        search(index)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_closes_nothing_of_its_parents(structure):
    index = Live(SPEC, structure)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks with threads
        child = os.fork()
    if child == 0:
        try:
            search(index)
        except ForkedError:
            index.close()
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert not structure.closed.exists()
    search(index)
    index.close()
    assert structure.closed.exists()

"""Conformance: bad input is refused by name, and nothing of it is written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from requant.adapters import making
from requant.adapters.protocol import Backend, IndexSpec
from requant.quantizers.codes import FORMATS
from requant.quantizers.errors import InputError, UnsupportedError
from requant.testing.bench import Bench, Case
from requant.testing.data import code_spec, make_codes, make_keys, make_queries

_Bad = Callable[[Any, Any], tuple[Any, Any]]


def _with(array: Any, at: Any, value: Any) -> Any:
    changed = array.copy()
    changed[at] = value
    return changed


_BAD_UPSERTS: dict[str, _Bad] = {
    "a negative key": lambda keys, codes: (_with(keys, 2, -1), codes),
    "a key of 2**62": lambda keys, codes: (_with(keys, 2, 2**62), codes),
    "a key twice": lambda keys, codes: (_with(keys, 2, keys[0]), codes),
    "keys that are floats": lambda keys, codes: (keys.astype(np.float64), codes),
    "keys in two dimensions": lambda keys, codes: (keys[:, None], codes),
    "a key too many": lambda keys, codes: (keys, codes[1:]),
    "a column too few": lambda keys, codes: (keys, codes[:, 1:]),
    "codes in one dimension": lambda keys, codes: (keys, codes.ravel()),
    "codes of another dtype": lambda keys, codes: (keys, codes.astype(np.int32)),
    "codes that are a list": lambda keys, codes: (keys, codes.tolist()),
}
_BAD_NUMBERS = (np.nan, np.inf, -np.inf)


class Refusals(Bench):
    """Bad input."""

    def test_bad_upsert(self, case: Case) -> None:
        """A bad batch is refused as a whole, whatever is bad about it."""
        backend, judge = self.filled(case, 12)
        keys, codes = make_keys(6) + 2**40, make_codes(judge.spec.code, 6)
        taken = []
        for what, bad in _BAD_UPSERTS.items():
            try:
                backend.upsert(*bad(keys, codes))
                taken.append(what)
            except InputError:
                judge.holds(backend)
        assert not taken

    def test_bad_numbers(self, case: Case) -> None:
        """NaN and infinity are refused in codes and in queries, wherever these are floats."""
        backend, judge = self.filled(case, 12)
        code = judge.spec.code
        for value in _BAD_NUMBERS:
            if code.dtype.kind == "f":
                codes = _with(make_codes(code, 6), (4, 1), value)
                with pytest.raises(InputError, match="row 4"):
                    backend.upsert(make_keys(6) + 2**40, codes)
            if code.query_dtype.kind == "f":
                queries = _with(make_queries(code, 3), (1, 0), value)
                with pytest.raises(InputError, match="row 1"):
                    backend.search(queries, 3)
        judge.holds(backend)

    def test_bad_search(self, case: Case) -> None:
        """k below 1, and queries of another width or dtype, are refused."""
        backend, judge = self.filled(case, 12)
        queries = make_queries(judge.spec.code, 3)
        for k in (0, -1):
            with pytest.raises(InputError):
                backend.search(queries, k)
        for bad in (queries[:, 1:], queries[0], queries.astype(np.int32)):
            with pytest.raises(InputError):
                backend.search(bad, 3)

    def test_bad_delete(self, case: Case) -> None:
        """Keys that cannot be are refused, and nothing is deleted."""
        backend, judge = self.filled(case, 12)
        for bad in ([int(judge.keys[0]), -1], [2**62], [0.5]):
            with pytest.raises(InputError):
                backend.delete(np.array(bad))
        judge.holds(backend)

    def test_what_is_not_declared_is_unsupported(self) -> None:
        """A combination that the capabilities lack names the engine and what there is instead."""
        declared = self.backend.capabilities
        for format in FORMATS:
            for index_type in ("flat", "hnsw", "ivf"):
                row = declared.find(format, index_type)
                for metric in ("ip", "l2", "hamming"):
                    if row is not None and metric in row.metrics:
                        continue
                    spec = IndexSpec(code_spec(format, 64), metric, index_type)
                    with pytest.raises(UnsupportedError, match=declared.engine):
                        self._create(spec)

    def test_unknown_parameter(self, row: Case) -> None:
        """A parameter that the engine does not declare is refused."""
        spec = self.spec(row)
        with pytest.raises(UnsupportedError, match="nonsense"):
            self._create(IndexSpec(spec.code, spec.metric, spec.index_type, {"nonsense": 1}))

    def _create(self, spec: IndexSpec) -> Backend:
        sample = make_codes(spec.code, 100)
        return self._kept(making.create(self.backend, spec, self.location(), sample=sample))

"""Conformance: a backend looks like the protocol, and its capabilities make sense."""

from __future__ import annotations

import inspect
from inspect import Parameter
from typing import Any

from requant.adapters.protocol import Backend
from requant.testing.bench import Bench, Case

KEYWORD_ONLY, VAR_KEYWORD = Parameter.KEYWORD_ONLY, Parameter.VAR_KEYWORD
_METHODS = ("drop", "upsert", "delete", "search", "export", "flush", "close", "__len__")
_OPTIONS = {"sample": None, "overwrite": False, "mmap": False}


class Contract(Bench):
    """Signatures and declarations."""

    def test_signatures_equal_the_protocols(self) -> None:
        """Names, order, kinds and defaults of all parameters are those of the protocol."""
        for name in _METHODS:
            assert _parameters(self.backend, name) == _parameters(Backend, name), name

    def test_options_are_those_that_are_declared(self) -> None:
        """`create` and `open` take what means something to the engine, and nothing else.

        A wrapper may take `**options` of any name, which it passes on.
        """
        declared = self.backend.capabilities
        for name, wanted in (("create", declared.create_options), ("open", declared.open_options)):
            found, by_protocol = _parameters(self.backend, name), _parameters(Backend, name)
            assert found[:2] == by_protocol[:2], name
            options = [(option, KEYWORD_ONLY, _OPTIONS[option]) for option in wanted]
            passes_on = [kind for _, kind, _ in found[2:]] == [VAR_KEYWORD]
            assert found[2:] == options or passes_on, f"{name} declares {wanted}"

    def test_instances_are_backends(self, row: Case) -> None:
        """An index has all that the protocol names, and remembers its spec."""
        backend = self.make(row)
        assert isinstance(backend, Backend)
        assert backend.spec == self.spec(row)
        assert backend.capabilities is self.backend.capabilities

    def test_capabilities_make_sense(self) -> None:
        """Each format and index type is declared once, with metrics that have a meaning on it."""
        declared = self.backend.capabilities
        assert declared.engine
        assert declared.supports
        pairs = [(row.format, row.index_type) for row in declared.supports]
        assert len(set(pairs)) == len(pairs)
        for row in declared.supports:
            assert row.metrics
            assert ("hamming" in row.metrics) == (row.format == "binary")
            assert len(set(row.metrics)) == len(row.metrics)
        assert all(text for text in declared.params.values())


def _parameters(owner: Any, name: str) -> list[tuple[str, Any, Any]]:
    signature = inspect.signature(inspect.getattr_static(owner, name).__get__(None, owner))
    own = [p for p in signature.parameters.values() if p.name not in ("self", "cls")]
    return [(p.name, p.kind, p.default) for p in own]

"""What `sample`, `overwrite` and `mmap` mean to an engine is declared, and its signatures agree."""

from dataclasses import replace

import pytest

from requant.adapters import making, registry
from requant.adapters.protocol import IndexSpec
from requant.testing import ReferenceBackend
from requant.testing.conformance.contract import Contract
from requant.testing.data import code_spec, make_codes

SPEC = IndexSpec(code_spec("int8", 8), "ip")
OPTIONS = {
    "faiss": (("sample",), ("mmap",)),
    "usearch": ((), ("mmap",)),
    "qdrant": (("overwrite",), ()),
    "lancedb": (("overwrite",), ()),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_what_engines_declare(name):
    declared = registry.load(name).capabilities
    assert (declared.create_options, declared.open_options) == OPTIONS[name]


class Noting(ReferenceBackend):
    """Keeps what it was told; named options only."""

    told = ()

    @classmethod
    def create(cls, spec, location=None, *, sample=None):
        cls.told = sample
        return super().create(spec, location)


class Declared(Noting):
    capabilities = replace(Noting.capabilities, learns_from_sample=True)


def test_an_engine_hears_what_it_declares_and_no_more(tmp_path):
    sample = make_codes(SPEC.code, 5)
    making.create(Declared, SPEC, sample=sample, overwrite=True)
    assert Declared.told is sample
    index = making.create(Noting, SPEC, sample=sample)
    assert Noting.told is None
    index.flush(str(tmp_path / "index"))
    assert len(making.open(Noting, SPEC, str(tmp_path / "index"), mmap=True)) == 0


def agrees(engine):
    """Run the suite's own check."""
    suite = Contract()
    suite.backend = engine
    suite.test_options_are_those_that_are_declared()


class Undeclared(ReferenceBackend):
    @classmethod
    def open(cls, spec, location, *, mmap=False):
        return super().open(spec, location)


class Missing(ReferenceBackend):
    capabilities = replace(ReferenceBackend.capabilities, mmap=True)


class Positional(Declared):
    @classmethod
    def create(cls, spec, location=None, sample=None):
        return super().create(spec, location, sample=sample)


def test_the_suite_compares_declarations_with_signatures():
    for right in (ReferenceBackend, Declared):
        agrees(right)
    for wrong in (Noting, Undeclared, Missing, Positional):
        with pytest.raises(AssertionError):
            agrees(wrong)

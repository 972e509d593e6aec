"""What quantizers refuse, and that the text names the culprit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from requant import quantizers
from requant.errors import CorruptDataError, DimensionError, InputError, NonFiniteError
from requant.quantizers import BinaryQuantizer, CodeSpec
from requant.quantizers.serial import State, dumps, loads
from tests.quantizer_kinds import KINDS, fit, gaussian

every_kind = pytest.mark.parametrize("kind", KINDS)
FITTED_ON_NOTHING = {"float32", "float16", "st-ubinary"}


@every_kind
def test_an_empty_sample(kind):
    if kind in FITTED_ON_NOTHING:
        assert fit(kind, np.empty((0, 4))).dim == 4
        return
    with pytest.raises(InputError, match="sample"):
        fit(kind, np.empty((0, 4)))


@every_kind
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_not_finite_in_a_sample_or_a_query(kind, bad):
    x = gaussian(20, 8)
    quantizer = fit(kind, x)
    x[17, 3] = bad
    with pytest.raises(NonFiniteError, match=r"row 17 holds .* in dimension 3"):
        fit(kind, x)
    for metric in quantizer.metrics:
        with pytest.raises(NonFiniteError, match="row 17"):
            quantizer.encode_query(x, metric)


@every_kind
@pytest.mark.parametrize("row", [0, 999, 2999])
def test_not_finite_in_a_late_chunk_is_named_by_its_row(kind, row):
    quantizer = fit(kind, gaussian(20, 257))
    x = gaussian(3000, 257)
    x[row, 256] = np.nan
    with pytest.raises(NonFiniteError, match=rf"row {row} holds nan in dimension 256"):
        quantizer.encode(x)


@every_kind
def test_a_float64_beyond_float32_is_infinite(kind):
    quantizer = fit(kind, gaussian(20, 2))
    with pytest.raises(NonFiniteError, match="row 1 holds inf in dimension 0"):
        quantizer.encode([[1.0, 2.0], [1e39, 0.0]])


@every_kind
def test_another_width(kind):
    quantizer = fit(kind, gaussian(20, 8))
    with pytest.raises(DimensionError, match="7 dimensions, expected 8"):
        quantizer.encode(gaussian(3, 7))
    for metric in quantizer.metrics:
        with pytest.raises(DimensionError, match="9 dimensions, expected 8"):
            quantizer.encode_query(gaussian(3, 9), metric)


NOT_VECTORS = {
    "one vector": ([1.0, 2.0], "wrap one vector in a list"),
    "a number": (1.0, "shape"),
    "three dimensions": (np.zeros((2, 2, 2)), "shape"),
    "no width": (np.empty((2, 0)), "no dimensions"),
    "ragged": ([[1.0, 2.0], [1.0]], "cannot be read"),
    "text": ([["1.0", "2.0"]], "real numbers"),
    "objects": (np.array([[1.0, None]], object), "object"),
    "complex": (np.ones((1, 2), complex), "complex128"),
    "bools": (np.ones((1, 2), bool), "bool"),
    "long double": (np.ones((1, 2), np.longdouble), "float128|longdouble"),
    "dates": (np.zeros((1, 2), "M8[s]"), "datetime64"),
    "huge integers": ([[10**30, 1]], "object"),
    "None": (None, "real numbers"),
}


@pytest.mark.parametrize("case", NOT_VECTORS)
def test_what_is_no_matrix_of_real_numbers(case):
    values, text = NOT_VECTORS[case]
    with pytest.raises(InputError, match=text):
        quantizers.fit("int8", values)
    with pytest.raises(InputError, match=text):
        fit("int8", gaussian(20, 2)).encode(values)


@pytest.mark.parametrize("precision", ["int3", "INT8", "", None, 8, "natives"])
def test_an_unknown_precision(precision):
    with pytest.raises(InputError, match=r"unknown precision .*int8"):
        quantizers.fit(precision, gaussian(20, 2))


@pytest.mark.parametrize(
    ("precision", "options", "text"),
    [
        ("int8", {"bits": 2}, "bits"),
        ("float32", {"rotate": True}, "rotate"),
        ("int4", {"rotate": False}, "rotate"),
        ("binary", {"colour": "red"}, "colour"),
        ("binary", {"bits": 5}, "1, 2, 3 or 4 bits"),
        ("binary", {"bits": 0}, "not 0"),
        ("binary", {"bits": "2"}, "not '2'"),
        ("binary", {"bits": 2.0}, "not 2.0"),
        ("binary", {"bits": True}, "not True"),
        ("binary", {"bits": None}, "not None"),
        ("int8", {"dialect": "word2vec"}, "unknown dialect 'word2vec'"),
        ("int4", {"dialect": "sentence-transformers"}, "no int4 codes"),
        ("binary", {"dialect": "sentence-transformers", "bits": 2}, "bits"),
        ("int8", {"seed": -1}, "seed"),
        ("int8", {"rotate": True, "seed": "x"}, "seed"),
    ],
)
def test_options_that_cannot_be(precision, options, text):
    with pytest.raises(InputError, match=text):
        quantizers.fit(precision, gaussian(20, 2), **options)


@every_kind
def test_every_damaged_byte_is_noticed(kind):
    data = quantizers.to_bytes(fit(kind, gaussian(30, 6)))
    rng = np.random.default_rng(1)
    places = {0, 4, 6, 12, len(data) - 1, len(data) - 32, *rng.integers(0, len(data), 150).tolist()}
    for at in places:
        damaged = bytearray(data)
        damaged[at] ^= int(rng.integers(1, 256))
        with pytest.raises(CorruptDataError):
            quantizers.from_bytes(bytes(damaged))


@every_kind
def test_every_truncation_is_noticed(kind):
    data = quantizers.to_bytes(fit(kind, gaussian(30, 6)))
    for end in [*range(0, 60, 7), len(data) // 2, len(data) - 33, len(data) - 1]:
        with pytest.raises(CorruptDataError):
            quantizers.from_bytes(data[:end])
    with pytest.raises(CorruptDataError):
        quantizers.from_bytes(data + b"\0")


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_bytes_from_elsewhere(data):
    for start in (b"", b"RQNT"):
        with pytest.raises(CorruptDataError):
            quantizers.from_bytes(start + data)


NOT_STATES = {
    "unknown kind": State("magic", {}, {}),
    "nothing in it": State("scalar", {}, {}),
    "no dimension": State("float", {"dim": "seven", "format": "float32"}, {}),
    "an unknown format": State("float", {"dim": 7, "format": "float8"}, {}),
    "a rotation of another size": State(
        "levels",
        {"sigma": 1.0, "format": "int4"},
        {name: np.eye(n, dtype=np.float32) for name, n in (("left", 1), ("right", 4))}
        | {"centre": np.zeros(5, np.float32)},
    ),
    "bits that are text": State("binary", {"bits": "2", "sigma": 1.0, "dim": 3}, {}),
    "no scale": State("scalar", {"scale": 0.0, "format": "int8"}, {"centre": np.zeros(3, "f4")}),
    "flat ranges": State("min-max", {"format": "int8"}, {"ranges": np.zeros(3, "f4")}),
    "not finite": State(
        "scalar", {"scale": 1.0, "format": "int8"}, {"centre": np.full(3, np.nan, "f4")}
    ),
}


@pytest.mark.parametrize("case", NOT_STATES)
def test_whole_bytes_without_a_meaning(case):
    with pytest.raises(CorruptDataError):
        quantizers.from_bytes(dumps(NOT_STATES[case]))


def test_bytes_of_a_newer_version_say_so():
    data = dumps(replace(fit("int8", gaussian(20, 2)).state(), version=3))
    with pytest.raises(CorruptDataError, match=r"format 3, this requant reads up to 2"):
        quantizers.from_bytes(data)


def test_what_an_earlier_requant_would_read_wrongly_has_a_version_that_it_refuses():
    versions = {
        kind: loads(quantizers.to_bytes(fit(kind, gaussian(20, 8)))).version for kind in KINDS
    }
    new = {kind for kind, version in versions.items() if version == 2}
    assert new == {"int1", "int1-true", "int2-true", "int4-true", "binary-true"}
    assert set(versions.values()) == {1, 2}


def test_code_specs_that_no_quantizer_makes():
    for arguments in [("int3", 4), ("int8", 0), ("int2", 4), ("int8", 4, (1.0, 2.0))]:
        with pytest.raises(InputError):
            CodeSpec(*arguments)
    with pytest.raises(InputError, match="multiple of 4"):
        CodeSpec("int1", 6, tuple(range(64)))
    with pytest.raises(InputError, match="differ"):
        CodeSpec("int1", 8, (*range(60), *range(4)))
    with pytest.raises(InputError, match="ascend"):
        CodeSpec("int2", 4, (0.0, 1.0, 1.0, 2.0))


def test_bits_are_checked_wherever_they_come_from():
    with pytest.raises(InputError, match="not 7"):
        BinaryQuantizer.fit(gaussian(5, 3), bits=7)

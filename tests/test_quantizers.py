"""What every quantizer takes and gives, whatever the dimension and the data."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from requant import quantizers
from requant.quantizers.distance import code_distances
from tests.quantizer_kinds import KINDS, fit, gaussian

DIMS = [1, 2, 3, 6, 7, 8, 13, 384, 1025]

every_kind = pytest.mark.parametrize("kind", KINDS)


@every_kind
@pytest.mark.parametrize("dim", DIMS)
def test_any_dimension(kind, dim):
    x = gaussian(20, dim)
    quantizer = fit(kind, x)
    codes = quantizer.encode(x)
    spec = quantizer.spec
    assert quantizer.dim == dim
    assert (codes.shape, codes.dtype) == ((20, spec.width), spec.dtype)
    assert quantizer.decode(codes).shape == (20, dim)
    assert quantizer.decode(codes).dtype == np.float32
    for metric in quantizer.metrics:
        queries = quantizer.encode_query(x[:3], metric)
        assert (queries.shape, queries.dtype) == ((3, spec.query_width), spec.query_dtype)
        distances = code_distances(queries, codes, spec, metric)
        assert distances.shape == (3, 20)
        assert np.isfinite(distances).all()


@every_kind
def test_no_rows_are_no_codes(kind):
    quantizer = fit(kind, gaussian(20, 13))
    assert quantizer.encode(np.empty((0, 13))).shape == (0, quantizer.spec.width)


@every_kind
@pytest.mark.parametrize("dtype", ["float64", "float16", "int64", "uint8", ">f4"])
def test_other_number_types_give_the_codes_of_float32(kind, dtype):
    x = np.rint(gaussian(30, 9) * 4).clip(0, 200).astype(np.float32) + 0  # no -0.0
    quantizer = fit(kind, x.astype(dtype))
    assert quantizers.to_bytes(quantizer) == quantizers.to_bytes(fit(kind, x))
    np.testing.assert_array_equal(quantizer.encode(x.astype(dtype)), quantizer.encode(x))
    np.testing.assert_array_equal(quantizer.encode(x.tolist()), quantizer.encode(x))


@every_kind
@pytest.mark.parametrize("layout", ["columns first", "every other row", "reversed"])
def test_the_layout_in_memory_does_not_matter(kind, layout):
    x = gaussian(40, 12)
    quantizer = fit(kind, x)
    changed = {"columns first": np.asfortranarray(x), "every other row": x[::2]}
    view = changed.get(layout, x[::-1])
    np.testing.assert_array_equal(quantizer.encode(view), quantizer.encode(view.copy()))


@every_kind
def test_neither_encode_nor_fit_changes_the_array_of_the_caller(kind):
    x = gaussian(5000, 40)
    before = x.copy()
    x.setflags(write=False)
    quantizer = fit(kind, x)
    quantizer.encode(x)
    for metric in quantizer.metrics:
        quantizer.encode_query(x, metric)
    np.testing.assert_array_equal(x, before)


@every_kind
@pytest.mark.parametrize("dim", [13, 257, 384])
def test_codes_do_not_depend_on_the_batch(kind, dim):
    x = gaussian(300, dim)
    quantizer = fit(kind, x)
    whole = quantizer.encode(x)
    for batch in (1, 3, 100):
        rows = range(0, len(x), batch)
        parts = [quantizer.encode(x[start : start + batch]) for start in rows]
        np.testing.assert_array_equal(np.concatenate(parts), whole)


@every_kind
@pytest.mark.parametrize("value", [0.0, 1.0, -3e5, 1e-30, 1e-42, 3e38])
def test_constant_data(kind, value):
    x = np.full((50, 7), value, np.float32)
    quantizer = fit(kind, x)
    codes = quantizer.encode(x)
    assert (codes == codes[0]).all()
    decoded = quantizer.decode(codes)
    assert np.isfinite(decoded).all()
    if not kind.startswith(("float", "st-ubinary", "signs", "binary")):
        np.testing.assert_allclose(decoded, x, rtol=1e-6, atol=2)
    # Something else may come later.
    quantizer.encode(x + np.arange(7, dtype=np.float32))


@every_kind
@pytest.mark.parametrize("size", [1e-30, 1e37])
def test_tiny_and_huge_values(kind, size):
    x = (gaussian(50, 8) * np.float32(size)).astype(np.float32)
    quantizer = fit(kind, x)
    codes = quantizer.encode(x)
    assert np.isfinite(quantizer.decode(codes)).all()
    if kind != "float16":
        assert len(np.unique(codes, axis=0)) > 20


@every_kind
def test_values_far_outside_the_sample_are_clipped(kind):
    quantizer = fit(kind, gaussian(50, 8) * np.float32(1e-30))
    far = np.array([[1e20] * 8, [-1e20] * 8], np.float32)
    decoded = quantizer.decode(quantizer.encode(far))
    assert np.isfinite(decoded).all()
    assert (quantizer.encode(far)[0] != quantizer.encode(far)[1]).any()


@every_kind
@pytest.mark.parametrize("dead", [0.0, 5.0])
def test_dead_dimensions_leave_the_others_alone(kind, dead):
    x = gaussian(300, 16)
    x[:, ::4] = dead
    quantizer = fit(kind, x)
    codes = quantizer.encode(x)
    assert len(np.unique(codes, axis=0)) > 50
    if quantizer.spec.format in ("int8", "uint8", "float32", "float16", "int4"):
        decoded = quantizer.decode(codes)
        apart = np.linalg.norm(decoded - x, axis=1) / np.linalg.norm(x, axis=1)
        assert apart.max() < 0.3


@every_kind
def test_a_sample_of_one_row(kind):
    x = gaussian(1, 10)
    if kind in ("st-int8", "st-uint8"):
        with pytest.raises(quantizers.factory.InputError, match="at least 2 sample rows, not 1"):
            fit(kind, x)
        return
    quantizer = fit(kind, x)
    assert np.isfinite(quantizer.decode(quantizer.encode(x))).all()
    quantizer.encode(gaussian(10, 10, seed=1))


@every_kind
def test_to_bytes_and_back(kind):
    x = gaussian(64, 13)
    quantizer = fit(kind, x)
    data = quantizers.to_bytes(quantizer)
    back = quantizers.from_bytes(data)
    assert type(back) is type(quantizer)
    assert back.spec == quantizer.spec
    assert quantizers.to_bytes(back) == data
    np.testing.assert_array_equal(back.encode(x), quantizer.encode(x))
    for metric in quantizer.metrics:
        asked = back.encode_query(x, metric), quantizer.encode_query(x, metric)
        np.testing.assert_array_equal(*asked)


@every_kind
def test_quantizers_are_frozen(kind):
    quantizer = fit(kind, gaussian(64, 13))
    name = dataclasses.fields(quantizer)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(quantizer, name, None)


def test_fingerprints_are_stable_and_differ():
    x = gaussian(200, 16)
    seen = {}
    for kind in KINDS:
        print_ = quantizers.fingerprint(fit(kind, x))
        assert print_ == quantizers.fingerprint(fit(kind, x.copy()))
        assert len(print_) == 32
        seen[print_] = kind
    # st-ubinary takes no sigma from the sample, so it is not the same as signs.
    assert len(seen) == len(KINDS)
    for kind in ("int8", "int4", "binary-2", "st-int8"):
        other = quantizers.fingerprint(fit(kind, x + np.float32(0.5)))
        assert other not in seen
    assert quantizers.fingerprint(fit("int4", x, seed=1)) not in seen


@settings(max_examples=30, deadline=None)
@given(data=st.data(), kind=st.sampled_from(sorted(KINDS)), dim=st.integers(1, 20))
def test_whatever_is_finite_can_be_encoded(data, kind, dim):
    floats = st.floats(-(2.0**50), 2.0**50, width=32)
    n = data.draw(st.integers(2, 8))
    x = data.draw(arrays(np.float32, (n, dim), elements=floats))
    quantizer = fit(kind, x)
    codes = quantizer.encode(x)
    assert codes.shape == (n, quantizer.spec.width)
    assert np.isfinite(quantizer.decode(codes)).all()
    for metric in quantizer.metrics:
        distances = code_distances(quantizer.encode_query(x, metric), codes, quantizer.spec, metric)
        assert distances.shape == (n, n)

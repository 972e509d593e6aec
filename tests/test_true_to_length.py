"""Codes as long as their vectors, compared by distance: metric cosine, also with a large mean."""

from __future__ import annotations

import json
import runpy
from base64 import b64decode
from pathlib import Path

import numpy as np
import pytest

import requant
from requant import quantizers
from requant.quantizers.codes import level_values, unpack_levels
from requant.quantizers.lengths import largest
from requant.verification.checks import codes_stand_for
from tests import inside
from tests.inside import normalise
from tests.quantizer_kinds import fit, gaussian

HERE = Path(__file__).parent
WORDNET = HERE.parent / "examples" / "wordnet"
OLD = json.loads((HERE / "data" / "quantizers_v1.json").read_text())
KINDS = ["int4-true", "int2-true", "int1-true", "binary-true"]


@pytest.fixture(scope="module", params=[0.0, 2.0], ids=["as they are", "with a large mean"])
def wordnet(request, tmp_path_factory):
    """Real embeddings in a database; many models make such as have a large part in common."""
    shift = np.random.default_rng(5).standard_normal(384).astype(np.float32)
    shift *= request.param / np.linalg.norm(shift)
    x, queries = (
        normalise(normalise(np.load(WORDNET / f"{name}_f16.npy").astype(np.float32)) + shift)
        for name in ("vectors", "queries")
    )
    queries = queries[::2]
    assert (np.linalg.norm(x.mean(axis=0)) > 0.85) == bool(request.param)
    tenth = np.partition(queries @ x.T, -10, axis=1)[:, -10:-9]
    with requant.open(tmp_path_factory.mktemp("wordnet") / "notes.requant") as db:
        notes = db.create_collection("notes", 384)
        notes.upsert(range(len(x)), x)
        yield notes, queries, tenth


@pytest.mark.parametrize("precision", ["int4", "int2", "int1", "binary"])
def test_the_usual_candidates_are_enough(wordnet, precision):
    notes, queries, tenth = wordnet
    notes.add_index(precision, engine="faiss", precision=precision)
    found = np.array(notes.search_many(queries, k=10, index=precision, documents=False).scores)
    assert (found >= tenth - 1e-6).mean() >= 0.99


@pytest.mark.parametrize("metric", ["cosine", "ip", "l2"])
@pytest.mark.parametrize("precision", ["int4", "int2", "int1", "binary"])
def test_metrics_of_unequal_lengths_keep_their_rule(db, metric, precision):
    notes = db.create_collection("notes", 32, metric)
    x = gaussian(1100, 32)
    notes.upsert(range(1100), x)
    notes.add_index("main", engine="faiss", precision=precision)
    notes.search(x[0], k=3)
    loaded = inside.loaded_of(notes, "main")
    assert loaded.quantizer.true_to_length == (metric == "cosine")
    wanted = {"cosine": "l2", "ip": "ip", "l2": "l2"}[metric]
    assert loaded.backend.spec.metric == ("hamming" if precision == "binary" else wanted)


@pytest.mark.parametrize("precision", OLD)
def test_quantizers_of_the_first_format_make_the_codes_that_they_made(precision):
    x = runpy.run_path(str(HERE / "data" / "make_quantizers.py"))["vectors"]()
    data, codes = (b64decode(OLD[precision][name]) for name in ("bytes", "codes"))
    quantizer = quantizers.from_bytes(data)
    assert not quantizer.true_to_length
    assert quantizer.metrics == (("hamming",) if precision == "binary" else ("ip", "l2"))
    assert quantizers.to_bytes(quantizer) == data
    mine = quantizer.encode(x)
    before = np.frombuffer(codes, np.uint8).reshape(mine.shape)
    assert codes_stand_for(quantizer, x, mine, before).all()
    assert (mine != before).mean() < 0.01  # rounding on another processor


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dim", [31, 384])
def test_codes_are_as_long_as_they_can_be(kind, dim):
    x = gaussian(300, dim) * np.random.default_rng(2).uniform(0.8, 1.2, (300, 1)).astype("f4")
    quantizer = fit(kind, x)
    codes = quantizer.encode(x)
    values = quantizer.affine.forward(x, np.empty_like(x)) / quantizer.sigma
    wanted = np.square(values).sum(axis=1)
    # Squared: what Gaussian values keep, and half of what one value more or less makes.
    kept, step = {
        "int4-true": (0.9905, 1.0),
        "int2-true": (0.88252, 1.51042**2 - 0.45278**2),
        "int1-true": (0.65809, 1.7040**2),
        "binary-true": (2 / 3, 1.0),
    }[kind]
    if kind == "binary-true":
        planes = np.unpackbits(codes, axis=1, count=2 * dim).reshape(300, 2, dim)
        own = (planes.sum(axis=1) != 1).sum(axis=1)
    else:
        own = np.square(level_values(codes, quantizer.spec) / quantizer.sigma).sum(axis=1)
    in_reach = kept * wanted < 0.9 * own.max()
    off = np.abs(own - kept * wanted)[in_reach]
    assert in_reach.mean() > 0.5
    if kind != "int4-true":
        assert off.max() <= step / 2 + 1e-3
        return
    nearest = fit("int4", x)
    rounded = level_values(nearest.encode(x), nearest.spec) / nearest.sigma
    before = np.abs(np.square(rounded).sum(axis=1) - kept * wanted)[in_reach]
    assert off.mean() < 0.75 * before.mean()


@pytest.mark.parametrize("bits", [1, 2, 3, 4])
def test_estimates_follow_the_distances_of_the_decoded_vectors(bits):
    x = gaussian(300, 48) + np.float32(3)
    quantizer = quantizers.fit("binary", x, bits=bits, true_to_length=True)
    again = quantizers.from_bytes(quantizers.to_bytes(quantizer))
    codes, query = quantizer.encode(x), gaussian(1, 48, seed=9) + np.float32(3)
    apart = np.square(quantizer.decode(codes) - query).sum(axis=1)
    assert np.corrcoef(quantizer.estimate(query, codes), -apart)[0, 1] > 0.9999
    assert np.array_equal(again.estimate(query, codes), quantizer.estimate(query, codes))


def test_the_first_of_equal_values_are_the_largest():
    sizes = np.array([[2, 1, 2, 2, 3], [1, 1, 1, 1, 1], [4, 3, 2, 1, 0]], np.float32)
    chosen = largest(sizes, np.array([3, 2, 5]))
    assert chosen.astype(int).tolist() == [[1, 0, 1, 0, 1], [1, 1, 0, 0, 0], [1, 1, 1, 1, 1]]


@pytest.mark.parametrize("kind", KINDS)
def test_a_swap_at_a_tie_is_no_damage_and_a_flipped_bit_is(kind):
    x = gaussian(400, 96)
    quantizer = fit(kind, x)
    codes = quantizer.encode(x)
    # As another processor rounds: a millionth more or less of every value.
    noise = 1 + np.random.default_rng(1).uniform(-2e-6, 2e-6, x.shape).astype(np.float32)
    assert codes_stand_for(quantizer, x, quantizer.encode(x * noise), codes).all()
    assert not quantizer.stands_for(x, np.roll(codes, 1, axis=0)).any()
    assert quantizer.stands_for(x, codes).all()
    flipped = codes.copy()
    flipped[np.arange(400), np.arange(400) % codes.shape[1]] ^= 1 << np.arange(400, dtype="u1") % 8
    assert quantizer.stands_for(x, flipped).mean() < 0.02


def test_vectors_shorter_and_longer_than_any_code():
    x = gaussian(50, 24)
    for kind in KINDS:
        quantizer = fit(kind, x)
        centre = quantizer.affine.centre
        extremes = np.stack([centre, centre + 1e-3, centre + 100, centre - 1e20]).astype("f4")
        codes = quantizer.encode(extremes)
        assert quantizer.stands_for(extremes, codes).all(), kind
        if kind == "int2-true":
            levels = unpack_levels(codes, quantizer.spec)
            assert set(np.unique(levels[:2])) <= {1, 2}
            assert set(np.unique(levels[2:])) == {0, 3}

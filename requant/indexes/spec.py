"""What a backend is told of an index: the quantizer's codes, and the metric to rank them by."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict
from urllib.parse import urlsplit

import numpy as np

from requant.adapters import making, registry
from requant.adapters.guards import check_supported
from requant.adapters.hosts import host_of, masked
from requant.adapters.protocol import IndexSpec, IndexType, Support
from requant.errors import ExistsError, InputError, UnsupportedError
from requant.indexes.sampling import unequal_norms
from requant.indexes.trust import Secrets
from requant.inputs import check_name, check_params
from requant.quantizers import factory
from requant.quantizers.arrays import Float32s
from requant.quantizers.codes import CodeMetric
from requant.quantizers.protocol import Quantizer
from requant.scores import Metric
from requant.store import CollectionRow, IndexConfig, IndexRow, ledger

# How unequal norms may be before codes that forget them are worth a warning (deviation / mean).
_UNEQUAL = 0.3
# Precisions whose codes can be made true to the length of vectors.
_TRUE_TO_LENGTH = ("int4", "int2", "int1", "binary")
# The place of engines that imitate a server in memory.
_LOCAL = ":memory:"


def wanted_metrics(metric: Metric, index_type: IndexType) -> tuple[CodeMetric, ...]:
    """Return the metrics on codes that rank as `metric` does, the better one first.

    Cosine is computed on normalised vectors, where inner product and distance agree; graphs are
    navigated by a distance more safely than by a product.
    """
    if metric == "ip":
        return ("ip", "hamming")
    if metric == "l2":
        return ("l2", "hamming")
    return ("l2", "ip", "hamming") if index_type == "hnsw" else ("ip", "l2", "hamming")


def choose_metric(
    metric: Metric, quantizer: Quantizer, support: Support, engine: str
) -> CodeMetric:
    """Return the metric on codes; raises UnsupportedError if quantizer and engine share none."""
    wanted = wanted_metrics(metric, support.index_type)
    if metric == "cosine" and support.index_type != "hnsw" and quantizer.uniform:
        wanted = support.metrics  # all the same on normalised vectors: the engine's own choice
    for choice in wanted:
        if choice in quantizer.metrics and choice in support.metrics:
            return choice
    own = support.format == "native"
    raise UnsupportedError(
        f"{engine} cannot rank {support.format}/{support.index_type} codes as metric {metric!r} "
        f"does: the codes can be compared by {', '.join(quantizer.metrics)}, the engine compares "
        f"by {', '.join(support.metrics)}; use "
        + ("another engine" if own else "precision 'int8' or 'float32'")
    )


def fit_quantizer(config: IndexConfig, sample: Float32s, metric: Metric) -> Quantizer:
    """Fit the quantizer that `config` asks for on `sample (n, d) float32`.

    Vectors that are compared by angle have length 1 here, and codes are best true to it; where
    lengths differ, codes that keep products are.
    """
    precision: Any = config.precision
    options = dict(config.options)
    if metric == "cosine" and precision in _TRUE_TO_LENGTH and "dialect" not in options:
        options["true_to_length"] = True
    return factory.fit(precision, sample, **options)


def norms_matter(owner: CollectionRow, config: IndexConfig, rows: Float32s) -> str | None:
    """Return a warning where codes forget lengths that the metric of a collection needs."""
    if owner.metric == "cosine" or config.precision != "binary":
        return None
    if not unequal_norms(rows):
        return None
    return (
        f"the vectors have unequal norms, which binary codes forget and metric {owner.metric!r} "
        "needs: the first pass will miss results; use precision 'int8' or 'float32', or a much "
        "larger oversample"
    )


def index_spec(
    config: IndexConfig,
    secrets: Secrets,
    quantizer: Quantizer,
    metric: CodeMetric,
    expected: int,
) -> IndexSpec:
    """Return what a backend is told of an index, what is told to no store included.

    Raises UntrustedHostError where that is not for the host of the index.
    """
    index_type: Any = config.index_type
    params = {**config.params, **secrets.of(config)}
    return IndexSpec(quantizer.spec, metric, index_type, params, expected)


def planned_spec(
    config: IndexConfig,
    secrets: Secrets,
    metric: Metric,
    quantizer: Quantizer,
    expected: int,
) -> IndexSpec:
    """Return the spec of a new index; raises UnsupportedError, naming alternatives."""
    capabilities = registry.load(config.engine).capabilities
    index_type: Any = config.index_type
    support = capabilities.find(quantizer.spec.format, index_type)
    choice = (
        choose_metric(metric, quantizer, support, config.engine)
        if support
        else quantizer.metrics[0]  # check_supported refuses below, and lists alternatives
    )
    spec = index_spec(config, secrets, quantizer, choice, expected)
    check_supported(capabilities, spec)
    return spec


class IndexOptions(TypedDict, total=False):
    """What an index is: keywords of `add_index`, which explains them, and of `migrate`."""

    engine: str
    precision: str
    index_type: str
    bits: int | None
    rotate: bool | None
    dialect: str | None
    params: Mapping[str, Any] | None
    mmap: bool
    url: str | None
    remote_name: str | None


def index_config(
    *,
    engine: str = "faiss",
    precision: str = "int8",
    index_type: str = "flat",
    bits: int | None = None,
    rotate: bool | None = None,
    dialect: str | None = None,
    params: Mapping[str, Any] | None = None,
    mmap: bool = False,
    url: str | None = None,
    remote_name: str | None = None,
) -> IndexConfig:
    """Return the config of an index from its `IndexOptions`, whose defaults these are."""
    given = {"bits": bits, "rotate": rotate, "dialect": dialect}
    options = {option: value for option, value in given.items() if value is not None}
    told = check_params(params)
    url = None if url is None else check_url(url)
    name = None if remote_name is None else check_name(remote_name, "remote")
    return IndexConfig(engine, precision, index_type, options, told, mmap, url, name)


def trial_spec(config: IndexConfig, secrets: Secrets) -> IndexSpec:
    """Return a spec of the engine, parameters and secrets of `config`, whatever it would hold."""
    quantizer = fit_quantizer(config, np.eye(2, 8, dtype=np.float32), "cosine")
    return index_spec(config, secrets, quantizer, quantizer.metrics[0], 0)


def check_config(config: IndexConfig, secrets: Secrets, owner: CollectionRow) -> None:
    """Try an index of `config` on two made-up vectors, so that what cannot be is never recorded.

    Raises EngineMissingError, UnknownEngineError, UnsupportedError or InputError.
    """
    sample = np.eye(2, owner.dim, dtype=np.float32)
    quantizer = fit_quantizer(config, sample, owner.metric)
    backend = registry.load(config.engine)
    capabilities = backend.capabilities
    refuse_secrets(config.engine, config.params)
    spec = planned_spec(config, secrets, owner.metric, quantizer, 2)
    if config.url is not None and "server" not in capabilities.places:
        raise UnsupportedError(f"{config.engine} lives in memory and has no server: leave out url=")
    if config.url is None and config.remote_name is not None:
        raise InputError("remote_name= is the index's name at url=: pass both or none")
    if capabilities.storage == "file":
        making.create(backend, spec, sample=quantizer.encode(sample)).close()


def check_same(row: IndexRow, config: IndexConfig) -> None:
    """Raise ExistsError, which says what differs, unless an index is what `config` asks for."""
    have, wanted = _traits(row.config), _traits(config)
    other = [
        f"{trait} is {have.get(trait)!r}, not {wanted.get(trait)!r}"
        for trait in sorted({*have, *wanted})
        if have.get(trait) != wanted.get(trait)
    ]
    if other:
        raise ExistsError(f"index {row.name!r} already exists, another one: {'; '.join(other)}")


def _traits(config: IndexConfig) -> dict[str, Any]:
    traits: dict[str, Any] = json.loads(ledger.config_text(config))
    params = {f"params {name}": value for name, value in traits.pop("params").items()}
    return {**traits.pop("options"), **params, **traits}


def refuse_secrets(engine: str, params: Mapping[str, Any]) -> None:
    """Raise InputError for parameters that must not get into the database."""
    secrets = registry.load(engine).capabilities.secrets
    told = sorted(set(params) & set(secrets))
    if told:
        raise InputError(
            f"{told[0]!r} would be stored in the database: pass it to requant.open("
            f"secrets={{{engine!r}: {{{told[0]!r}: ...}}}}) or by URL, or by the environment "
            f"({secrets[told[0]]})"
        )


def check_url(url: Any) -> str:
    """Return the place of a server or a folder, absolute; raise InputError for anything else.

    >>> check_url("http://localhost:6333/")
    'http://localhost:6333'
    """
    if not isinstance(url, str) or not url.strip():
        raise InputError(f"url must be an address such as http://localhost:6333, not {url!r}")
    if url.startswith(_LOCAL) and ":" not in url.removeprefix(_LOCAL):
        return url
    if "://" not in url:
        if ":" in url:
            shown = masked(f"//{url}").removeprefix("//")
            raise InputError(f"url={shown!r} has no scheme: did you mean http://{shown} ?")
        return str(Path(url).expanduser().absolute())
    parts = urlsplit(url)
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise InputError(
            "url must hold no user, password, query or fragment, since it is stored: pass keys to "
            "requant.open(secrets=...)"
        )
    host_of(url)
    return url.rstrip("/")

"""requant in OpenTelemetry: a span for each operation, and its numbers as metrics.

>>> import requant
>>> from requant.integration.opentelemetry import instrument
>>> with requant.open(":memory:") as db:
...     stop = instrument(db)

Names are those of OpenTelemetry's conventions for databases, where they have one. Spans nest: what
a search followed, built or published in passing is within it, and so are statements of an engine
that is instrumented itself. Ids, vectors, texts and filters are in none of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from requant.database import Database
from requant.errors import PackageMissingError
from requant.metrics import BOUNDS, Operation

try:
    from opentelemetry import context, metrics, trace
except ImportError as _missing:
    raise PackageMissingError(
        "opentelemetry-api is not installed: pip install requant[opentelemetry]"
    ) from _missing

if TYPE_CHECKING:
    from requant.integration.sqlalchemy.aio import AsyncDatabase

_SYSTEM = {"db.system.name": "requant"}


def instrument(
    db: Database | AsyncDatabase,
    *,
    tracer_provider: trace.TracerProvider | None = None,
    meter_provider: metrics.MeterProvider | None = None,
) -> Callable[[], None]:
    """Report what is done with a database, from now on, by this process and those forked from it.

    Args:
        db: the database, as it is open here.
        tracer_provider: takes the spans; default: the global one.
        meter_provider: takes the metrics; default: the global one.

    Returns:
        What ends it when it is called.

    - Spans `search notes`, `upsert notes`, `build notes`..., with the stages as attributes.
    - `db.client.operation.duration`, by operation, collection, index and error, in seconds;
    - `requant.stage.duration`, by stage of a search, in seconds;
    - `requant.candidates`, `requant.scanned`, `requant.rows_written`...: counters, as in
      `requant.metrics`.

    Raises PackageMissingError on import, where OpenTelemetry is not installed.
    """
    found = db if isinstance(db, Database) else db.sync_database
    return found.observe(_Reporter(tracer_provider, meter_provider))


class _Reporter:
    def __init__(
        self,
        tracer_provider: trace.TracerProvider | None,
        meter_provider: metrics.MeterProvider | None,
    ) -> None:
        self._tracer = trace.get_tracer("requant", tracer_provider=tracer_provider)
        self._meter = metrics.get_meter("requant", meter_provider=meter_provider)
        self._durations = self._histogram("db.client.operation.duration", "of each operation")
        self._stages = self._histogram("requant.stage.duration", "of each stage")
        self._counters: dict[str, metrics.Counter] = {}

    def begins(self, operation: Operation) -> tuple[trace.Span, Any]:
        span = self._tracer.start_span(
            f"{operation.name} {operation.collection}",
            kind=trace.SpanKind.CLIENT if operation.kind in ("search", "write") else _INTERNAL,
            attributes=_attributes(operation),
        )
        return span, context.attach(trace.set_span_in_context(span))

    def ends(self, operation: Operation, begun: tuple[trace.Span, Any]) -> None:
        span, token = begun
        if span.is_recording():
            self._finish(operation, span)
        span.end()
        context.detach(token)
        attributes = _attributes(operation)
        self._durations.record(operation.seconds, attributes)
        for stage, seconds in operation.stages.items():
            self._stages.record(seconds, {**attributes, "requant.stage": stage})
        for what, number in operation.counts.items():
            if number:
                self._counter(what).add(number, attributes)

    def _finish(self, operation: Operation, span: trace.Span) -> None:
        span.set_attributes(_attributes(operation))
        for what, number in operation.counts.items():
            span.set_attribute(f"requant.{what}", number)
        for stage, seconds in operation.stages.items():
            span.set_attribute(f"requant.{stage}.seconds", seconds)
        if operation.error is not None:
            span.set_status(trace.Status(trace.StatusCode.ERROR, operation.error))

    def _histogram(self, name: str, what: str) -> metrics.Histogram:
        return self._meter.create_histogram(
            name,
            unit="s",
            description=f"Duration {what}.",
            explicit_bucket_boundaries_advisory=BOUNDS,
        )

    def _counter(self, what: str) -> metrics.Counter:
        known = self._counters.get(what)
        if known is None:
            known = self._counters[what] = self._meter.create_counter(f"requant.{what}")
        return known


_INTERNAL = trace.SpanKind.INTERNAL


def _attributes(operation: Operation) -> dict[str, str]:
    found = {
        **_SYSTEM,
        "db.operation.name": operation.name,
        "db.collection.name": operation.collection,
    }
    if operation.index:
        found["requant.index"] = operation.index
    if operation.error is not None:
        found["error.type"] = operation.error
    return found

"""Spans and metrics, as the SDK of OpenTelemetry receives them."""

from __future__ import annotations

import asyncio

import pytest
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

import requant
from requant.integration.opentelemetry import instrument
from requant.integration.sqlalchemy import aio
from tests.databases import vectors
from tests.test_imports import loaded_after

DIM = 16


class Received:
    """What the SDK was given."""

    def __init__(self):
        self._exporter, self._reader = InMemorySpanExporter(), InMemoryMetricReader()
        self.tracers = TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.meters = MeterProvider([self._reader])

    def instrument(self, db):
        return instrument(db, tracer_provider=self.tracers, meter_provider=self.meters)

    def spans(self):
        found = self._exporter.get_finished_spans()
        self._exporter.clear()
        return found

    def points(self, name):
        """The data points of a metric, by operation."""
        data = self._reader.get_metrics_data()
        found = [
            one
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for one in metric.data.data_points
        ]
        return {one.attributes["db.operation.name"]: one for one in found}


@pytest.fixture
def received():
    return Received()


@pytest.fixture
def notes(db, received):
    received.instrument(db)
    found = db.create_collection("notes", DIM)
    found.upsert(range(2000), vectors(2000, DIM))
    found.add_index("main", precision="int8")
    return found


def test_spans_of_writing_and_building(notes, received):
    upsert, publish, build = sorted(received.spans(), key=lambda one: one.name == "build notes")
    assert (upsert.name, publish.name, build.name) == (
        "upsert notes", "publish notes", "build notes",
    )  # fmt: skip
    assert (upsert.kind, build.kind) == (SpanKind.CLIENT, SpanKind.INTERNAL)
    assert upsert.attributes["db.system.name"] == "requant"
    assert upsert.attributes["db.operation.name"] == "upsert"
    assert upsert.attributes["db.collection.name"] == "notes"
    assert upsert.attributes["requant.rows_written"] == 2000
    assert build.attributes["requant.index"] == "main"
    assert build.attributes["requant.items_built"] == 2000


def test_a_search_below_the_span_of_the_application(notes, received):
    received.spans()
    notes.upsert(["new"], vectors(1, DIM))
    tracer = trace.get_tracer("application", tracer_provider=received.tracers)
    with tracer.start_as_current_span("request"):
        notes.search(vectors(1, DIM)[0], oversample=5)
    found = {one.name: one for one in received.spans()}
    search, request = found["search notes"], found["request"]
    assert search.parent.span_id == request.context.span_id
    assert found["catch_up notes"].parent.span_id == search.context.span_id
    assert found["upsert notes"].parent is None
    assert search.attributes["requant.index"] == "main"
    assert search.attributes["requant.candidates"] == 50
    assert search.attributes["requant.first_pass.seconds"] > 0
    assert search.status.status_code is StatusCode.UNSET
    assert trace.get_current_span() is trace.INVALID_SPAN


def test_what_fails(notes, received):
    received.spans()
    with pytest.raises(requant.UnknownIdError):
        notes.more_like(["nobody"])
    (search,) = received.spans()
    assert search.status.status_code is StatusCode.ERROR
    assert search.attributes["error.type"] == "UnknownIdError"
    point = received.points("db.client.operation.duration")["search"]
    assert point.attributes["error.type"] == "UnknownIdError"


def test_metrics(notes, received):
    for _ in range(3):
        notes.search(vectors(1, DIM)[0], oversample=5)
    durations = received.points("db.client.operation.duration")
    assert {name: one.count for name, one in durations.items()} == {
        "upsert": 1, "build": 1, "publish": 1, "search": 3,
    }  # fmt: skip
    assert durations["search"].attributes["db.collection.name"] == "notes"
    assert received.points("requant.candidates")["search"].value == 150
    assert received.points("requant.rows_written")["upsert"].value == 2000
    assert received.points("requant.stage.duration")["search"].count == 3


def test_it_ends(db, received):
    stop = received.instrument(db)
    notes = db.create_collection("notes", DIM)
    notes.upsert([1], vectors(1, DIM))
    stop()
    notes.upsert([2], vectors(1, DIM))
    assert len(received.spans()) == 1


def test_coroutines(received):
    async def main():
        async with await aio.open(":memory:") as db:
            received.instrument(db)
            notes = await db.create_collection("notes", DIM)
            with tracer.start_as_current_span("request"):
                await notes.upsert([1], vectors(1, DIM))
                await notes.search(vectors(1, DIM)[0])
            return await db.metrics()

    tracer = trace.get_tracer("application", tracer_provider=received.tracers)
    found = asyncio.run(main()).collections["notes"]
    assert (found.writes.count, found.searches.count) == (1, 1)
    spans = {one.name: one for one in received.spans()}
    for name in ("upsert notes", "search notes"):
        assert spans[name].parent.span_id == spans["request"].context.span_id


def test_nothing_private_is_reported(db, received):
    received.instrument(db)
    notes = db.create_collection("notes", DIM)
    notes.upsert(["secret-id"], vectors(1, DIM), ["secret text"], [{"a": "secret value"}])
    notes.search(vectors(1, DIM)[0], where={"a": "secret value"})
    notes.more_like(["secret-id"])
    assert "secret" not in str([one.to_json() for one in received.spans()])


def test_the_core_does_not_need_it():
    code = (
        "import requant\n"
        "with requant.open(':memory:') as db:\n"
        "    db.create_collection('notes', 2).upsert(['a'], [[1, 0]])\n"
        "    db.metrics()"
    )
    assert "opentelemetry" not in loaded_after(code)

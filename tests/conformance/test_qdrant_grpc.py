"""Qdrant over gRPC, from a real gRPC server on loopback that the client's local mode answers."""

import warnings
from concurrent import futures
from contextlib import contextmanager

import grpc
import numpy as np
import pytest
from qdrant_client import QdrantClient
from qdrant_client import grpc as words
from qdrant_client.conversions.conversion import GrpcToRest, RestToGrpc
from qdrant_client.grpc import collections_service_pb2_grpc, points_service_pb2_grpc
from qdrant_client.http import models

from requant.adapters.errors import CorruptIndexError, EngineError, LocationTakenError
from requant.adapters.protocol import IndexSpec
from requant.adapters.qdrant import QdrantBackend
from requant.testing.data import code_spec, make_codes, make_keys, make_queries
from requant.testing.judge import Judge
from tests import inside

URL = "http://127.0.0.1:1/notes"  # nothing listens there: every request has to go over gRPC
KEY = "a-key-that-nobody-may-see"


class Collections(collections_service_pb2_grpc.CollectionsServicer):
    def __init__(self, client):
        self.client, self.created = client, {}

    def Create(self, request, context):  # noqa: N802
        vectors = GrpcToRest.convert_vectors_config(request.vectors_config)
        metadata = GrpcToRest.convert_payload(request.metadata)
        try:
            self.client.create_collection(request.collection_name, vectors, metadata=metadata)
        except ValueError as error:
            context.abort(grpc.StatusCode.ALREADY_EXISTS, str(error))
        self.created[request.collection_name] = request
        return words.CollectionOperationResponse(result=True)

    def Get(self, request, context):  # noqa: N802
        if not self.client.collection_exists(request.collection_name):
            context.abort(grpc.StatusCode.NOT_FOUND, "there is no such collection")
        info = RestToGrpc.convert_collection_info(
            self.client.get_collection(request.collection_name)
        )
        made = self.created.get(request.collection_name)
        if made is not None and made.HasField("quantization_config"):
            info.config.quantization_config.CopyFrom(made.quantization_config)
        return words.GetCollectionInfoResponse(result=info)

    def Delete(self, request, context):  # noqa: N802
        self.client.delete_collection(request.collection_name)
        return words.CollectionOperationResponse(result=True)

    def ListAliases(self, request, context):  # noqa: N802
        found = [
            words.AliasDescription(alias_name=row.alias_name, collection_name=row.collection_name)
            for row in self.client.get_aliases().aliases
        ]
        return words.ListAliasesResponse(aliases=found)


class Points(points_service_pb2_grpc.PointsServicer):
    def __init__(self, client):
        self.client, self.failures, self.slow = client, 0, 0
        self.orders, self.bytes, self.searches = [], [0], 0

    def Upsert(self, request, context):  # noqa: N802
        if self.failures:
            self.failures -= 1
            context.abort(grpc.StatusCode.UNAVAILABLE, "a fault on demand")
        self._delay(context)
        self.orders.append(request.ordering.type if request.HasField("ordering") else None)
        points = [GrpcToRest.convert_point_struct(point) for point in request.points]
        done = self.client.upsert(request.collection_name, points)
        return words.PointsOperationResponse(result=RestToGrpc.convert_update_result(done))

    def Delete(self, request, context):  # noqa: N802
        chosen = GrpcToRest.convert_points_selector(request.points)
        done = self.client.delete(request.collection_name, chosen)
        return words.PointsOperationResponse(result=RestToGrpc.convert_update_result(done))

    def Get(self, request, context):  # noqa: N802
        keys = [key.num for key in request.ids]
        vectors = request.with_vectors.enable
        found = self.client.retrieve(request.collection_name, keys, with_vectors=vectors)
        return words.GetResponse(result=[RestToGrpc.convert_retrieved_point(r) for r in found])

    def _delay(self, context):
        if self.slow:
            self.slow -= 1
            context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "a slow answer on demand")

    def QueryBatch(self, request, context):  # noqa: N802
        self.searches += 1
        self.bytes.append(request.ByteSize())
        self._delay(context)
        asked = [GrpcToRest.convert_query_points(query) for query in request.query_points]
        plain = [query.model_copy(update={"params": None}) for query in asked]
        answers = self.client.query_batch_points(request.collection_name, plain)
        return words.QueryBatchResponse(
            result=[
                words.BatchResult(
                    result=[RestToGrpc.convert_scored_point(point) for point in answer.points]
                )
                for answer in answers
            ]
        )

    def Scroll(self, request, context):  # noqa: N802
        offset = request.offset.num if request.HasField("offset") else None
        records, after = self.client.scroll(
            request.collection_name, limit=request.limit, offset=offset, with_vectors=True
        )
        return words.ScrollResponse(
            result=[RestToGrpc.convert_retrieved_point(record) for record in records],
            next_page_offset=None if after is None else words.PointId(num=after),
        )

    def Count(self, request, context):  # noqa: N802
        count = self.client.count(request.collection_name, exact=True).count
        return words.CountResponse(result=words.CountResult(count=count))


class KeyCheck(grpc.ServerInterceptor):
    key = None

    def intercept_service(self, continuation, details):
        if self.key is None or ("api-key", self.key) in details.invocation_metadata:
            return continuation(details)

        def refuse(request, context):
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "wrong key")

        return grpc.unary_unary_rpc_method_handler(refuse)


class Server:
    def __init__(self):
        self.client = QdrantClient(":memory:")
        self.points, self.check = Points(self.client), KeyCheck()
        # One worker: local mode is not safe to use in two threads.
        self.grpc = grpc.server(futures.ThreadPoolExecutor(1), interceptors=[self.check])
        collections = Collections(self.client)
        collections_service_pb2_grpc.add_CollectionsServicer_to_server(collections, self.grpc)
        points_service_pb2_grpc.add_PointsServicer_to_server(self.points, self.grpc)
        self.port = self.grpc.add_insecure_port("127.0.0.1:0")
        self.grpc.start()


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(inside.QDRANT_FIRST_PAUSE, 0.02)
    with warnings.catch_warnings():
        running = Server()
        yield running
        running.grpc.stop(None).wait(5)


def spec_of(server, format="int8", metric="l2", index_type="flat", **params):
    params = {"prefer_grpc": True, "grpc_port": server.port, "timeout": 5, **params}
    return IndexSpec(code_spec(format, 64), metric, index_type, params)


@contextmanager
def filled(spec, n=80):
    index = QdrantBackend.create(spec, URL)
    index.upsert(make_keys(n), make_codes(spec.code, n))
    yield index, Judge(spec, make_keys(n), make_codes(spec.code, n))
    index.close()


@pytest.mark.parametrize(
    ("format", "metric", "index_type"),
    [
        ("int8", "l2", "flat"),
        ("int8", "ip", "hnsw"),
        ("binary", "hamming", "hnsw"),
        ("float16", "l2", "flat"),
        ("native", "ip", "flat"),
    ],
)
def test_everything_goes_over_grpc(server, format, metric, index_type):
    spec = spec_of(server, format, metric, index_type)
    queries, some = make_queries(spec.code, 6), make_keys(80)[::3]
    with filled(spec) as (index, judge):
        judge.is_exact(index.search(queries, 7, effort=50), queries, 7)
        judge.is_exact(index.search(queries, 7, among=some), queries, 7, some)
        judge.holds(index, batch=30)
        assert index.delete(judge.keys[:11]) == 11
        assert len(index) == 69
        index.flush()
    other = QdrantBackend.open(spec, URL)
    Judge(spec, judge.keys[11:], judge.codes[11:]).holds(other)
    other.close()
    with pytest.raises(LocationTakenError):
        QdrantBackend.create(spec, URL)
    QdrantBackend.create(spec, URL, overwrite=True).close()
    QdrantBackend.drop(spec, URL)
    with pytest.raises(CorruptIndexError, match="no collection"):
        QdrantBackend.open(spec, URL)


def test_a_fault_that_passes(server):
    server.points.failures = 3
    with filled(spec_of(server)) as (index, judge):
        judge.holds(index)


def test_a_slow_write_is_begun_again_and_a_slow_search_is_not(server):
    with filled(spec_of(server)) as (index, judge):
        server.points.slow = 1
        index.upsert(judge.keys, judge.codes)
        server.points.slow, server.points.searches = 1, 0
        queries = make_queries(judge.spec.code, 3)
        with pytest.raises(EngineError, match="no answer in time"):
            index.search(queries, 5)
        assert server.points.searches == 1
        judge.is_exact(index.search(queries, 5), queries, 5)


def test_a_filtered_batch_stays_below_the_limit_of_a_request(server):
    with filled(spec_of(server)) as (index, judge):
        among = np.union1d(np.arange(12_000) + (7 << 40), judge.keys[::2])
        queries = make_queries(judge.spec.code, 60)
        judge.is_exact(index.search(queries, 5, among=among), queries, 5, among)
        assert max(server.points.bytes) < 4 << 20
        assert sum(server.points.bytes) > 4 << 20


def test_an_alias_under_our_name_is_refused(server):
    with filled(spec_of(server)) as (_, judge):
        alias = models.CreateAlias(collection_name="notes", alias_name="other")
        server.client.update_collection_aliases([models.CreateAliasOperation(create_alias=alias)])
        with pytest.raises(LocationTakenError, match="alias of the collection 'notes'"):
            QdrantBackend.create(judge.spec, URL.replace("notes", "other"), overwrite=True)


def test_the_order_of_writes_can_be_chosen(server):
    with filled(spec_of(server, ordering="medium")):
        assert server.points.orders == [words.WriteOrderingType.Medium]


def test_a_wrong_key(server):
    server.check.key = "the right one"
    with pytest.raises(EngineError, match=r"UNAUTHENTICATED.*REQUANT_QDRANT_API_KEY") as caught:
        QdrantBackend.create(spec_of(server, api_key=KEY), URL)
    assert KEY not in str(caught.value)
    server.check.key = KEY
    QdrantBackend.create(spec_of(server, api_key=KEY), URL).close()


def test_a_server_that_is_down(server):
    with filled(spec_of(server, retries=1)) as (index, judge):
        server.grpc.stop(None).wait(5)
        with pytest.raises(EngineError, match=r"cannot be reached \(2 tries\)"):
            index.search(make_queries(judge.spec.code, 1), 3)

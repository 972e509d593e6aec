"""LanceDB in object storage: what is kept, and what is said when it cannot be reached."""

import threading
import traceback
from concurrent.futures import ThreadPoolExecutor

import pytest
from moto.s3.responses import S3Response

from requant.adapters.errors import CorruptIndexError, EngineError, LocationTakenError
from requant.adapters.lancedb import LancedbBackend
from requant.adapters.protocol import IndexSpec
from requant.testing.data import code_spec, make_codes, make_keys, make_queries
from requant.testing.judge import Judge
from tests.object_storage import BUCKET, running_object_storage


@pytest.fixture(scope="module")
def storage():
    with running_object_storage() as server:
        yield server


def spec_of(options, metric="l2", **params):
    params = {"storage_options": options, "index_from": 256, "timeout": 2} | params
    return IndexSpec(code_spec("int8", 16), metric, "flat", params)


def where(name):
    return f"s3://{BUCKET}/some/prefix/{name}"


def test_a_table_in_a_bucket(storage):
    spec = spec_of(storage.options)
    backend = LancedbBackend.create(spec, where("whole"))
    judge = Judge(spec, make_keys(400), make_codes(spec.code, 400))
    backend.upsert(judge.keys, judge.codes)
    backend.upsert(judge.keys[:40], judge.codes[:40])
    backend.flush()
    queries = make_queries(spec.code, 5)
    other = LancedbBackend.open(spec, where("whole"))
    assert judge.rules(other.search(queries, 10), queries, 10) >= 0.9
    backend.delete(judge.keys[:100])
    assert len(other) == 300
    with pytest.raises(LocationTakenError):
        LancedbBackend.create(spec, where("whole"))
    with pytest.raises(CorruptIndexError, match="metric"):
        LancedbBackend.open(spec_of(storage.options, metric="ip"), where("whole"))
    LancedbBackend.drop(spec, where("whole"))
    assert storage.keys("some/prefix/whole") == []


def test_writers_in_threads_lose_nothing(storage):
    spec = spec_of(storage.options)
    handles = [LancedbBackend.create(spec, where("shared"))]
    handles += [LancedbBackend.open(spec, where("shared")) for _ in range(2)]
    keys, codes = make_keys(20), make_codes(spec.code, 20)
    barrier = threading.Barrier(3)

    def write(handle):
        barrier.wait(30)
        for _ in range(2):
            handle.upsert(keys, codes)

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(write, handles))
    Judge(spec, keys, codes).holds(handles[0])


def test_a_store_that_ignores_conditions_is_refused(monkeypatch):
    put = S3Response.put_object

    def ignoring(self):
        self.headers = {
            name: value for name, value in self.headers.items() if name.lower() != "if-none-match"
        }
        return put(self)

    monkeypatch.setattr(S3Response, "put_object", ignoring)
    with running_object_storage() as server:
        spec = spec_of(server.options)
        with pytest.raises(EngineError, match="ignores If-None-Match"):
            LancedbBackend.create(spec, where("careless"))
        assert server.keys("some/prefix/careless") == []


def test_a_store_that_keeps_conditions_is_left_clean(storage):
    LancedbBackend.create(spec_of(storage.options), where("careful")).close()
    assert {key.split("/")[2] for key in storage.keys("some/prefix/careful")} == {"careful.lance"}
    LancedbBackend.drop(spec_of(storage.options), where("careful"))


def test_a_lost_manifest_is_noticed(storage):
    spec = spec_of(storage.options)
    backend = LancedbBackend.create(spec, where("lost"))
    backend.upsert(make_keys(20), make_codes(spec.code, 20))
    backend.flush()
    newest = min(key for key in storage.keys("some/prefix/lost") if key.endswith(".manifest"))
    storage.remove(newest)
    with pytest.raises(CorruptIndexError, match="newest versions"):
        LancedbBackend.open(spec, where("lost"))


def _said(location, options, call):
    with pytest.raises(EngineError) as caught:
        call(spec_of(options), location)
    text = str(caught.value)
    told = "".join(traceback.format_exception(caught.value))
    assert location in text
    assert not any(secret in told for secret in options.values() if "the-" in secret), told
    return text


_CALLS = {
    "create": LancedbBackend.create,
    "open": LancedbBackend.open,
    "drop": LancedbBackend.drop,
}


@pytest.mark.parametrize("call", [LancedbBackend.create, LancedbBackend.open])
def test_a_server_that_is_down(storage, call):
    options = storage.options | {"endpoint": "http://127.0.0.1:9"}
    assert "cannot be reached" in _said(where("down"), options, call)


@pytest.mark.parametrize("call", [LancedbBackend.create, LancedbBackend.drop])
def test_a_bucket_that_is_missing(storage, call):
    assert "bucket" in _said("s3://no-such-bucket/a/name", storage.options, call)


def test_a_server_that_goes_down():
    with running_object_storage() as server:
        spec = spec_of(server.options)
        backend = LancedbBackend.create(spec, where("index"))
        backend.upsert(make_keys(5), make_codes(spec.code, 5))
    for call in (
        lambda: backend.upsert(make_keys(5), make_codes(spec.code, 5)),
        lambda: backend.search(make_queries(spec.code, 1), 2),
    ):
        with pytest.raises(EngineError, match="index"):
            call()
    backend.close()


def test_credentials_that_are_refused(refusing):
    options = {
        "endpoint": refusing,
        "allow_http": "true",
        "aws_access_key_id": "the-wrong-key-id",
        "aws_secret_access_key": "the-wrong-secret",
        "aws_region": "us-east-1",
    }
    for call in _CALLS.values():
        assert "credentials" in _said(where("refused"), options, call)


@pytest.fixture
def refusing():
    """A server that answers every request as S3 answers a wrong key."""
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    body = b"<Error><Code>InvalidAccessKeyId</Code><Message>the-wrong-key-id</Message></Error>"

    class Refuse(BaseHTTPRequestHandler):
        def answer(self):
            self.send_response(403)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(b"" if self.command == "HEAD" else body)

        do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = answer  # noqa: N815

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Refuse)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()

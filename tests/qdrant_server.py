"""A small Qdrant on loopback: the part of its HTTP API that requant uses, and faults on demand.

No Qdrant binary is needed: the client's local mode answers. Requests go over real sockets.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from qdrant_client import QdrantClient
from qdrant_client.http import models

Reply = tuple[int, Any]


class QdrantServer:
    """Collections in memory, which a restart keeps; one request at a time, as local mode needs.

    Faults: `fail(status, times)`, `cut(times)` (carry out a PUT and hang up without an answer),
    `delay` (seconds before each answer), `stop()` and `start()`, `key`, `forgets_metadata`.
    As a real one, it takes bodies of 32 MB, and no more than `strict` says, by Qdrant's names.
    `told` is what its descriptions of collections say besides, by path ("config.metadata");
    `mangle(request, result)` returns what it answers instead; `slow_writes` are seconds.
    """

    def __init__(self, key: str | None = None) -> None:
        self.key = key
        self.delay = 0.0
        self.forgets_metadata = False
        self.strict: dict[str, int] = {}
        self.told: dict[str, Any] = {}
        self.mangle: Any = None
        self.slow_writes = 0.0
        self.bodies: list[int] = []
        self.limits: list[int] = []
        self.requests: list[str] = []
        self.queries: list[str] = []
        self.sent_keys: set[str | None] = set()
        self.on_write: Any = None
        self._failures: list[Reply] = []
        self._cuts = 0
        self._client = QdrantClient(":memory:")
        self._created: dict[str, Any] = {}
        self._turn = threading.RLock()
        self._http: ThreadingHTTPServer | None = None
        self._port = 0
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def client(self) -> QdrantClient:
        """What the server holds, to look at it and to write behind requant's back."""
        return self._client

    def start(self) -> None:
        outer = self

        class Handler(_Handler):
            server_of = outer

        self._http = ThreadingHTTPServer(("127.0.0.1", self._port), Handler)
        self._http.daemon_threads = True
        self._port = self._http.server_address[1]
        threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        http, self._http = self._http, None
        if http is not None:
            http.shutdown()
            http.server_close()

    def restart_after(self, seconds: float) -> None:
        """Go down now, and come back later with everything kept."""
        self.stop()
        threading.Timer(seconds, self.start).start()

    def fail(self, status: int, times: int, text: str = "a fault on demand") -> None:
        self._failures = [(status, text)] * times

    def cut(self, times: int) -> None:
        self._cuts = times

    def answer(self, method: str, path: str, body: Any) -> Reply | None:
        """Carry out a request; None asks to hang up."""
        with self._turn:
            self.requests.append(f"{method} {path}")
            if self._failures:
                return self._failures.pop()
            if method == "PUT" and path.endswith("/points") and self.on_write is not None:
                self.on_write()
            try:
                reply = self._carry_out(method, path.strip("/").split("/"), body)
            except ValueError as error:
                missing = "not found" in str(error)
                return (404 if missing else 409 if "already exists" in str(error) else 400), str(
                    error
                )
            if method == "PUT" and self._cuts:
                self._cuts -= 1
                return None
            if self.mangle is not None:
                reply = reply[0], self.mangle(self.requests[-1], plain(reply[1]))
        if method == "PUT" and path.endswith("/points"):
            time.sleep(self.slow_writes)
        return reply

    def _carry_out(self, method: str, parts: list[str], body: Any) -> Reply:
        if parts == ["aliases"]:
            return 200, self._client.get_aliases()
        if parts[0] != "collections" or len(parts) < 2:
            return 404, "no such path"
        name, rest = parts[1], "/".join(parts[2:])
        if not rest:
            return 200, self._collection(method, name, body)
        too_many = self._refusal(rest, body)
        if too_many is not None:
            return 400, too_many
        self.limits += [query["limit"] for query in (body or {}).get("searches", [])]
        return 200, POINTS[method, rest](self._client, name, body)

    def _refusal(self, rest: str, body: Any) -> str | None:
        """What strict mode says to a request, None where it takes it."""
        sizes = {}
        if rest == "points" and "batch" in body:
            sizes["upsert_max_batchsize"] = len(body["batch"]["ids"])
        if rest == "points/query/batch":
            sizes["search_max_batchsize"] = len(body["searches"])
            sizes["condition_max_size"] = max(
                len(condition["has_id"])
                for query in body["searches"]
                for condition in (query.get("filter") or {}).get("must", [{"has_id": []}])
            )
        for name, size in sizes.items():
            if size > self.strict.get(name, size):
                return f"Limit exceeded {size} > {self.strict[name]} for {name!r}"
        return None

    def _collection(self, method: str, name: str, body: Any) -> Any:
        if method == "DELETE":
            return self._client.delete_collection(name)
        if method == "PUT":
            wanted = models.CreateCollection.model_validate(body)
            metadata = None if self.forgets_metadata else wanted.metadata
            made = self._client.create_collection(name, wanted.vectors, metadata=metadata)
            self._created[name] = body
            return made
        if method == "PATCH":
            changed = models.UpdateCollection.model_validate(body)
            return self._client.update_collection(name, metadata=changed.metadata)
        info = plain(self._client.get_collection(name))
        # Local mode forgets this.
        info["config"]["quantization_config"] = self._created.get(name, {}).get(
            "quantization_config"
        )
        if self.strict:
            info["config"]["strict_mode_config"] = {"enabled": True, **self.strict}
        for path, value in self.told.items():
            *above, last = path.split(".")
            place = info
            for part in above:
                place = place[part]
            place[last] = value
        return info


def _upsert(client: QdrantClient, name: str, body: Any) -> Any:
    batch = models.Batch.model_validate(body["batch"])
    return client.upsert(name, batch)


def _retrieve(client: QdrantClient, name: str, body: Any) -> Any:
    wanted = models.PointRequest.model_validate(body)
    vectors = wanted.with_vector
    return client.retrieve(name, wanted.ids, with_payload=False, with_vectors=bool(vectors))


def _query(client: QdrantClient, name: str, body: Any) -> Any:
    requests = models.QueryRequestBatch.model_validate(body).searches
    # Local mode makes unit vectors anew, in place, whenever it is asked by the cosine.
    held = client._client.collections[name].vectors if client.collection_exists(name) else {}
    before = {key: rows.copy() for key, rows in held.items()}
    try:
        return client.query_batch_points(
            name, [request.model_copy(update={"params": None}) for request in requests]
        )
    finally:
        for key, rows in before.items():
            held[key][...] = rows


def _scroll(client: QdrantClient, name: str, body: Any) -> Any:
    wanted = models.ScrollRequest.model_validate(body)
    points, after = client.scroll(
        name, limit=wanted.limit or 10, offset=wanted.offset, with_payload=False, with_vectors=True
    )
    return {"points": plain(points), "next_page_offset": after}


def _count(client: QdrantClient, name: str, body: Any) -> Any:
    wanted = models.CountRequest.model_validate(body)
    return client.count(name, count_filter=wanted.filter, exact=bool(wanted.exact))


POINTS: dict[tuple[str, str], Any] = {
    ("PUT", "points"): _upsert,
    ("POST", "points"): _retrieve,
    ("POST", "points/query/batch"): _query,
    ("POST", "points/scroll"): _scroll,
    ("POST", "points/count"): _count,
    ("POST", "points/delete"): lambda client, name, body: client.delete(
        name, models.PointIdsList.model_validate(body)
    ),
}


class _Handler(BaseHTTPRequestHandler):
    server_of: QdrantServer
    protocol_version = "HTTP/1.1"

    def _serve(self) -> None:
        server = self.server_of
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        server.bodies.append(len(raw))
        if len(raw) > 32 << 20:
            return self._reply(413, f"JSON payload ({len(raw)} bytes) is larger than allowed")
        time.sleep(server.delay)
        server.sent_keys.add(self.headers.get("api-key"))
        if server.key is not None and self.headers.get("api-key") != server.key:
            return self._reply(401, "Must provide an API key")
        path = urlsplit(self.path).path
        server.queries.append(urlsplit(self.path).query)
        reply = server.answer(self.command, path, json.loads(raw) if raw else None)
        if reply is None:
            self.close_connection = True
            return None
        return self._reply(*reply)

    do_GET = do_PUT = do_POST = do_PATCH = do_DELETE = _serve  # noqa: N815

    def _reply(self, status: int, result: Any) -> None:
        good = status == 200
        told = {"result": plain(result) if good else None, "time": 0.0}
        told["status"] = "ok" if good else {"error": str(result)}
        content = json.dumps(told).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Stay quiet."""


def plain(value: Any) -> Any:
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value.model_dump(mode="json") if hasattr(value, "model_dump") else value


@contextmanager
def running(key: str | None = None) -> Iterator[QdrantServer]:
    """A server on a free port of the loopback interface."""
    server = QdrantServer(key)
    try:
        yield server
    finally:
        server.stop()

"""An S3 server on this machine, and what LanceDB has to be told of it."""

from __future__ import annotations

import contextlib
import io
import logging
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from unittest import mock

BUCKET = "requant-test"
_ONE_AT_A_TIME = threading.RLock()


@dataclass(frozen=True)
class ObjectStorage:
    """Where the server listens."""

    endpoint: str

    @property
    def options(self) -> dict[str, str]:
        """Return LanceDB's `storage_options`."""
        return {
            "endpoint": self.endpoint,
            "allow_http": "true",
            "aws_access_key_id": "the-access-key-id",
            "aws_secret_access_key": "the-secret-access-key",
            "aws_region": "us-east-1",
        }

    @property
    def client(self) -> Any:
        """Return a client of the server."""
        import boto3

        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=self.options["aws_access_key_id"],
            aws_secret_access_key=self.options["aws_secret_access_key"],
            region_name=self.options["aws_region"],
        )

    def keys(self, prefix: str) -> list[str]:
        """Return the names of the objects below a prefix of the bucket."""
        found = self.client.list_objects_v2(Bucket=BUCKET, Prefix=prefix)
        return [row["Key"] for row in found.get("Contents", [])]

    def remove(self, key: str) -> None:
        """Remove an object."""
        self.client.delete_object(Bucket=BUCKET, Key=key)


@contextlib.contextmanager
def running_object_storage() -> Iterator[ObjectStorage]:
    """Run moto's S3 server with one empty bucket, on a free port of the loopback interface."""
    from moto.s3.responses import S3Response
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server: Any = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    put = S3Response.put_object

    def put_object(self: Any) -> Any:
        # moto looks whether an object is there, and writes it then: by itself, both of two do.
        with _ONE_AT_A_TIME:
            return put(self)

    with mock.patch.object(S3Response, "put_object", put_object):
        with contextlib.redirect_stdout(io.StringIO()):
            server.start()
        host, port = server.get_host_and_port()
        storage = ObjectStorage(f"http://{host}:{port}")
        try:
            storage.client.create_bucket(Bucket=BUCKET)
            yield storage
        finally:
            server.stop()

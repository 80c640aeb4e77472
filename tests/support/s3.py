"""A real S3 server on loopback (moto over HTTP), which counts what is asked of it and can break off an answer."""

import re
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

BUCKET = "shop"

App = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class S3Server:
    """The server; `environment` is what a client needs to find it."""

    def __init__(self) -> None:
        import logging

        from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
        from werkzeug.serving import make_server

        logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
        self._app: App = DomainDispatcherApplication(create_backend_app)
        self.asked: list[str] = []
        """What was asked since `forget`, `GET /bucket/key` or `LIST /bucket?prefix=...`."""
        self.half: str | None = None
        """Objects whose path ends like this break off after half of their bytes."""
        self.before: Callable[[str], None] = lambda asked: None
        """Called before each answer, with what was asked."""
        self._server = make_server("127.0.0.1", 0, self._answer, threaded=True)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def environment(self) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "loopback",
            "AWS_SECRET_ACCESS_KEY": "loopback",
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def forget(self) -> None:
        self.asked.clear()

    def count(self, pattern: str) -> int:
        return sum(bool(re.search(pattern, asked)) for asked in self.asked)

    def client(self) -> Any:
        """A client of its own for tests, apart from what Portrait uses."""
        import boto3

        return boto3.client(
            "s3",
            endpoint_url=self.url,
            aws_access_key_id="loopback",
            aws_secret_access_key="loopback",
            region_name="us-east-1",
        )

    def put(self, key: str, content: bytes | str) -> str:
        """Store an object; returns its URL."""
        self.client().put_object(Bucket=BUCKET, Key=key, Body=content)
        return f"s3://{BUCKET}/{key}"

    def empty(self) -> None:
        """A bucket without an object, whatever was in it."""
        self.half, self.before = None, lambda asked: None
        client = self.client()
        client.create_bucket(Bucket=BUCKET)
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET):
            for found in page.get("Contents", ()):
                client.delete_object(Bucket=BUCKET, Key=found["Key"])
        self.forget()

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """Ask for rights meanwhile: moto then checks signatures and knows nobody."""
        from moto import settings

        before = settings.INITIAL_NO_AUTH_ACTION_COUNT
        settings.INITIAL_NO_AUTH_ACTION_COUNT = 0.0
        try:
            yield
        finally:
            settings.INITIAL_NO_AUTH_ACTION_COUNT = before

    def _answer(self, request: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        query = request.get("QUERY_STRING", "")
        is_listing = "list-type=2" in query
        verb = "LIST" if is_listing else request["REQUEST_METHOD"]
        asked = f"{verb} {request['PATH_INFO']}" + (f"?{query}" if is_listing else "")
        self.asked.append(asked)
        self.before(asked)
        body = self._app(request, start)
        if self.half is not None and verb == "GET" and request["PATH_INFO"].endswith(self.half):
            return _broken_off(b"".join(body))
        return body


def _broken_off(content: bytes) -> Iterator[bytes]:
    """Half of what the header announced, then the connection is closed."""
    yield content[: len(content) // 2]
    raise ConnectionAbortedError


@contextmanager
def served() -> Iterator[S3Server]:
    """A server for some tests."""
    server = S3Server()
    try:
        yield server
    finally:
        server.stop()


def forget_clients() -> None:
    """Drop the clients and listings that fsspec keeps between tests."""
    import s3fs

    for kept in list(s3fs.S3FileSystem._cache.values()):
        kept.invalidate_cache()
    s3fs.S3FileSystem.clear_instance_cache()

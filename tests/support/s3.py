"""A real S3 server on loopback (moto over HTTP), which counts what is asked of it and can break off an answer.

It is a process of its own: Delta keeps Python's lock while it waits for some answers, so that a server in a thread of
the same process would never give them.
"""

import json
import re
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

BUCKET = "shop"
CONTROL = "/-/control"

App = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class S3Server:
    """The server as tests see it; `environment` is what a client needs to find it."""

    def __init__(self) -> None:
        self._process = subprocess.Popen([sys.executable, "-m", "tests.support.s3"], stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().strip()
        key = "loopback"
        self.environment = {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": key,
            "AWS_SECRET_ACCESS_KEY": key,
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def stop(self) -> None:
        self._process.kill()  # a run in the background ignores SIGINT, Dagster then makes SIGTERM ignored too
        self._process.wait(20)

    @property
    def asked(self) -> list[str]:
        """What was asked since `forget`: `GET /bucket/key`, `LIST /bucket?prefix=...`."""
        return list(self._tell({}))

    def forget(self) -> None:
        """Count from here on."""
        self._tell({"asked": []})

    def count(self, pattern: str) -> int:
        return sum(bool(re.search(pattern, asked)) for asked in self.asked)

    def break_off(self, ending: str | None) -> None:
        """Break off after half of the bytes of objects whose path ends like this; None: of none."""
        self._tell({"half": ending})

    def let_meet(self, asked: str) -> None:
        """Hold back the first request of this kind until there is a second one."""
        self._tell({"meet": asked})

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """Ask for rights meanwhile: moto then checks signatures and knows nobody."""
        self._tell({"guarded": True})
        try:
            yield
        finally:
            self._tell({"guarded": False})

    def client(self) -> Any:
        """A client of its own for tests, apart from what Portrait uses."""
        import boto3

        key = self.environment["AWS_ACCESS_KEY_ID"]
        return boto3.client(
            "s3",
            endpoint_url=self.url,
            aws_access_key_id=key,
            aws_secret_access_key=key,
            region_name="us-east-1",
        )

    def put(self, key: str, content: bytes | str) -> str:
        """Store an object; returns its URL."""
        self.client().put_object(Bucket=BUCKET, Key=key, Body=content)
        return f"s3://{BUCKET}/{key}"

    def empty(self) -> None:
        """A bucket without an object, whatever was in it."""
        self._tell({"half": None, "guarded": False})
        client = self.client()
        client.create_bucket(Bucket=BUCKET)
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET):
            for found in page.get("Contents", ()):
                client.delete_object(Bucket=BUCKET, Key=found["Key"])
        self.forget()

    def _tell(self, wish: dict[str, Any]) -> list[str]:
        request = urllib.request.Request(self.url + CONTROL, data=json.dumps(wish).encode(), method="POST")
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as answer:
            return json.load(answer)


class _Service:
    """What runs in the server's process: moto, with the wishes of the tests around it."""

    def __init__(self, app: App) -> None:
        self.app = app
        self.asked: list[str] = []
        self.half: str | None = None
        self.meet = ""
        self.meeting = threading.Barrier(2)
        self.still_to_come = 0
        self.lock = threading.Lock()

    def __call__(self, request: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        path, query = request["PATH_INFO"], request.get("QUERY_STRING", "")
        if path == CONTROL:
            return self._obey(request, start)
        verb = "LIST" if "list-type=2" in query else request["REQUEST_METHOD"]
        asked = f"{verb} {path}" + (f"?{query}" if verb == "LIST" else "")
        with self.lock:
            self.asked.append(asked)
            is_met = asked == self.meet and self.still_to_come > 0
            self.still_to_come -= is_met
        if is_met:
            self.meeting.wait(60)
        body = self.app(request, start)
        if self.half is not None and verb == "GET" and path.endswith(self.half):
            return _broken_off(b"".join(body))
        return body

    def _obey(self, request: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        from moto import settings

        wish = json.loads(request["wsgi.input"].read(int(request["CONTENT_LENGTH"])))
        if "asked" in wish:
            self.asked = wish["asked"]
        if "half" in wish:
            self.half = wish["half"]
        if "meet" in wish:
            self.meet, self.still_to_come = wish["meet"], 2
        if "guarded" in wish:
            settings.INITIAL_NO_AUTH_ACTION_COUNT = 0.0 if wish["guarded"] else float("inf")
        start("200 OK", [("Content-Type", "application/json")])
        return [json.dumps(self.asked).encode()]


def _broken_off(content: bytes) -> Iterator[bytes]:
    """Half of what the header announced, then the connection is closed."""
    yield content[: len(content) // 2]
    raise ConnectionAbortedError


def _serve() -> None:
    import logging

    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
    service = _Service(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, service, threaded=True)
    print(f"http://127.0.0.1:{server.server_address[1]}", flush=True)
    server.serve_forever()


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


if __name__ == "__main__":
    _serve()

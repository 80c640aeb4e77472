"""Alerts over a real HTTP server on this machine: what is said, how often it is tried, and that nothing fails by it."""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from pydantic import SecretStr

from data import alerts
from data.alerts import TRIES, alert, payload
from data.refusals import Refusal
from data.settings import Settings, load_settings
from data.verdicts import Verdict

REFUSAL = Refusal(
    table="core.events",
    run_id="r1",
    at_utc="2024-01-02T03:04:05+00:00",
    verdicts=(
        Verdict(check="schema", passed=True, broke=None, observed={"columns": "secret text"}),
        Verdict(check="quarantine_share", passed=False, broke=None, observed={"observed_value": 0.5, "worst": "ann"}),
        Verdict(check="value_between", passed=False, broke="cannot cast 'ann'", observed={}),
    ),
)


class Receiver(BaseHTTPRequestHandler):
    """Keeps what is posted and answers as it was told."""

    def do_POST(self):
        said = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.got.append((self.path, self.headers["Content-Type"], json.loads(said)))
        status = self.server.answers.pop(0) if self.server.answers else 200
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "/elsewhere")
        self.end_headers()

    def log_message(self, *_):
        pass


@contextmanager
def receiving(*answers):
    """A web server on a free port of this machine."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    server.got, server.answers = [], list(answers)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield server, f"http://127.0.0.1:{server.server_address[1]}/hook/s3cret"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    monkeypatch.setattr(alerts, "BACKOFF_SECONDS", 0.01)


def settings(tmp_path, url):
    hook = SecretStr(url) if url else None
    return Settings(shop_file=tmp_path / "s", var=tmp_path, threads=1, memory_limit="1GB", alert_webhook=hook)


def test_an_alert_names_shop_table_checks_counts_run_time_and_link_and_no_value(tmp_path):
    said = []
    with receiving() as (server, url):
        assert alert(settings(tmp_path, url), "corner", REFUSAL, said.append)
    [(path, kind, got)] = server.got
    assert (path, kind, said) == ("/hook/s3cret", "application/json", [])
    assert (got["shop"], got["table"], got["run_id"], got["id"]) == ("corner", "core.events", "r1", "r1:core.events")
    assert got["at_utc"] == REFUSAL.at_utc and got["link"] == "http://127.0.0.1:3000/runs/r1"
    assert [(c["check"], c["outcome"], c["observed"]) for c in got["checks"]] == [
        ("quarantine_share", "failed", {"observed_value": 0.5}),
        ("value_between", "broke", {}),
    ]
    assert "ann" not in json.dumps(got).replace("channel", "") and "secret text" not in json.dumps(got)


def test_it_is_tried_again_until_it_is_taken_and_every_try_has_the_same_id(tmp_path):
    with receiving(500, 429) as (server, url):
        assert alert(settings(tmp_path, url), "corner", REFUSAL, pytest.fail)
    assert len(server.got) == TRIES and len({got["id"] for _, _, got in server.got}) == 1


@pytest.mark.parametrize("answer", [500, 302, 404])
def test_a_webhook_that_fails_is_said_without_its_address_and_fails_nothing(tmp_path, answer):
    said = []
    with receiving(answer, answer, answer) as (server, url):
        assert not alert(settings(tmp_path, url), "corner", REFUSAL, said.append)
    assert [path for path, _, _ in server.got] == ["/hook/s3cret"] * TRIES
    assert len(said) == 1 and f"it answered {answer}" in said[0] and "s3cret" not in said[0]


def test_nobody_there_and_no_answer_in_time_are_said_too(tmp_path, monkeypatch):
    said = []
    with receiving() as (_, url):
        pass
    assert not alert(settings(tmp_path, url), "corner", REFUSAL, said.append)
    monkeypatch.setattr(alerts, "TIMEOUT_SECONDS", 0.05)
    import socket

    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        assert not alert(settings(tmp_path, f"http://127.0.0.1:{silent.getsockname()[1]}/"), "c", REFUSAL, said.append)
    assert len(said) == 2 and "not delivered to 127.0.0.1" in said[0] and "Timeout" in said[1]


def test_without_a_webhook_nothing_is_sent(tmp_path):
    assert not alert(settings(tmp_path, None), "corner", REFUSAL, pytest.fail)


def test_only_checks_that_refuse_a_batch_are_told():
    assert {c["severity"] for c in payload("corner", REFUSAL, "https://ui/")["checks"]} == {"critical"}
    assert payload("corner", REFUSAL, "https://ui/")["link"] == "https://ui/runs/r1"


@pytest.mark.parametrize(
    "url", ["https://hooks.example/x", "http://localhost:9/x", "http://127.0.0.1/x", "http://[::1]/x"]
)
def test_an_address_that_nobody_can_read_on_the_way_is_taken(monkeypatch, url):
    monkeypatch.setenv("PORTRAIT_ALERT_WEBHOOK", url)
    found = load_settings()
    assert found.alert_webhook.get_secret_value() == url and url not in repr(found)


@pytest.mark.parametrize(
    "url", ["http://hooks.example/t0ken", "ftp://127.0.0.1/t0ken", "t0ken", "https://", "http://[t0ken"]
)
def test_any_other_address_is_refused_without_repeating_it(monkeypatch, url):
    monkeypatch.setenv("PORTRAIT_ALERT_WEBHOOK", url)
    with pytest.raises(ValueError, match="PORTRAIT_ALERT_WEBHOOK is no https address") as refused:
        load_settings()
    assert "t0ken" not in str(refused.value)

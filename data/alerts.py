"""Telling somebody that a gate refused a batch: one JSON document, posted to a webhook, counts and no personal value.

A webhook that fails never fails what it tells of.
"""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from data.refusals import Refusal
from data.settings import Settings

TRIES = 3
TIMEOUT_SECONDS = 5.0
BACKOFF_SECONDS = 1.0
"""Before the second try; twice that before the third."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect is an answer that failed: the alert goes where it was told to go, or nowhere."""

    def redirect_request(self, *_: Any) -> None:
        """Follow nothing."""
        return None


def payload(shop: str, refusal: Refusal, ui_url: str) -> dict[str, Any]:
    """What an alert says.

    Args:
        shop: name of the shop.
        refusal: the refused batch.
        ui_url: address of the web page.

    Returns:
        JSON-able values. `id` is the same in every try, so that a receiver can drop a repetition; of a check that broke
        only the fact is told, since its error might quote a row.
    """
    checks = [
        {
            "check": verdict.check,
            "outcome": "broke" if verdict.broke else "failed",
            "severity": getattr(verdict, "severity", "critical"),
            "observed": {k: v for k, v in verdict.observed.items() if isinstance(v, int | float)},
        }
        for verdict in refusal.failed
    ]
    names = ", ".join(f"{c['check']} {c['outcome']}" for c in checks)
    return {
        "event": "gate_failed",
        "id": f"{refusal.run_id}:{refusal.table}",
        "text": f"Portrait, shop {shop}: {refusal.table} refused a batch ({names}); the last version stays.",
        "shop": shop,
        "table": refusal.table,
        "checks": checks,
        "run_id": refusal.run_id,
        "at_utc": refusal.at_utc,
        "link": f"{ui_url.rstrip('/')}/runs/{refusal.run_id}",
    }


def alert(settings: Settings, shop: str, refusal: Refusal, log: Callable[[str], object]) -> bool:
    """Post an alert, if the settings name a webhook.

    Args:
        settings: the webhook, and the address of the web page.
        shop: name of the shop.
        refusal: the refused batch.
        log: receives a sentence when the webhook fails; its address is a secret and not said.

    Returns:
        Whether it was delivered.
    """
    if settings.alert_webhook is None:
        return False
    url = settings.alert_webhook.get_secret_value()
    body = json.dumps(payload(shop, refusal, settings.ui_url)).encode()
    problem = ""
    for number in range(TRIES):
        if number:
            time.sleep(BACKOFF_SECONDS * 2 ** (number - 1))
        problem = _post(url, body)
        if not problem:
            return True
    log(f"The alert about {refusal.table} was not delivered to {urlsplit(url).hostname} in {TRIES} tries: {problem}.")
    return False


def _post(url: str, body: bytes) -> str:
    """One try; says what went wrong, without the address."""
    request = urllib.request.Request(url, body, {"Content-Type": "application/json", "User-Agent": "portrait"})
    try:
        with urllib.request.build_opener(_NoRedirect).open(request, timeout=TIMEOUT_SECONDS):
            return ""
    except urllib.error.HTTPError as error:
        error.close()
        return f"it answered {error.code}"
    except (OSError, ValueError) as error:
        return type(getattr(error, "reason", error)).__name__

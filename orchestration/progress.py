"""What a run says on the terminal: the assets' own lines with the time since the start, and which asset failed."""

import logging
import re
import time
from typing import Any, TextIO

import dagster as dg
from dagster import DagsterEvent

EXPECTED = (
    "ShopError",
    "SourceError",
    "KeyFault",
    "LedgerError",
    "LakeError",
    "BudgetRefused",
    "GateFailed",
    "Refused",
)
"""Errors whose message is a whole sentence with the remedy; of all others the traceback is shown."""


INTERRUPTED = "DagsterExecutionInterruptedError"

_SKIPPED = re.compile(r"Dependencies for step (\S+) ")
"""How Dagster words that a step is left out after a failure."""


def console_logger(out: TextIO) -> dg.LoggerDefinition:
    """A Dagster logger that leaves out Dagster's own events.

    Args:
        out: where the lines go.

    Returns:
        The definition, for the key `console`.
    """

    @dg.logger(config_schema=None, description="The assets' own lines, with the seconds since the start.")
    def console(_context: dg.InitLoggerContext) -> logging.Logger:
        lines = logging.Logger("portrait", logging.INFO)
        lines.addHandler(ConsoleHandler(out))
        return lines

    return console


class ConsoleHandler(logging.Handler):
    """Writes `  12.3 s  core.events: published (...)`."""

    def __init__(self, out: TextIO) -> None:
        """Start the clock.

        Args:
            out: where the lines go.
        """
        super().__init__(logging.DEBUG)
        self.out = out
        self.started = time.monotonic()

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line for what an asset logged or for its failure; nothing for any other event."""
        meta: dict[str, Any] = getattr(record, "dagster_meta", {})
        event: DagsterEvent | None = meta.get("dagster_event")
        if event is None:
            said = meta.get("orig_message", record.getMessage())
            if skipped := _SKIPPED.match(said):
                said = f"not run: {skipped[1].replace('__', '.', 1)}, which reads what failed"
                record.levelno = logging.INFO
            mark = "" if record.levelno < logging.WARNING else f"{record.levelname.lower()}: "
        elif event.is_step_failure and event.step_key:
            said, mark = event.step_key.replace("__", ".", 1), "failed: "
        else:
            return
        self.out.write(f"{time.monotonic() - self.started:7.1f} s  {mark}{said}\n")
        self.out.flush()


def is_expected(event: DagsterEvent) -> bool:
    """Whether a failure event carries a sentence made for people."""
    error = _error(event)
    return _description(event) is not None or (error is not None and error.cls_name in (*EXPECTED, INTERRUPTED))


def sentence_of(event: DagsterEvent) -> str:
    """What failed, as one sentence if the error was made for people, else with its traceback."""
    described = _description(event)
    if described is not None:
        return described
    error = _error(event)
    if error is None:
        return (event.message or "It failed without a word.").strip()
    if error.cls_name == INTERRUPTED:
        return "It was stopped by a signal; what is published stays, and the next `portrait run` goes on from there."
    if error.cls_name in EXPECTED:
        return str(error.message).partition(": ")[2].strip()  # Python puts the class before the message
    return str(error.to_string()).strip()


def _description(event: DagsterEvent) -> str | None:
    """The description of a `dg.Failure`."""
    if not event.is_step_failure or event.step_failure_data.user_failure_data is None:
        return None
    return event.step_failure_data.user_failure_data.description


def _error(event: DagsterEvent) -> Any:
    """The user's own error behind Dagster's wrapper."""
    data: Any = event.event_specific_data
    error = getattr(data, "error", None)
    while error is not None and str(error.cls_name).startswith("Dagster") and error.cause is not None:
        error = error.cause
    return error

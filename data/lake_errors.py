"""What goes wrong where a table of the lake lives, in one sentence each."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from deltalake.exceptions import CommitFailedError


class LakeError(OSError):
    """A table cannot be read or written where it lives: one sentence with the place, the reason and the remedy."""


@contextmanager
def reaching(place: str) -> Iterator[None]:
    """Turn the pages that an object store or a lost race gives as an error into one sentence.

    Args:
        place: address of the table, for the message.

    Raises:
        LakeError: if what is done meanwhile fails for such a reason.
    """
    try:
        yield
    except CommitFailedError as error:
        raise LakeError(
            f"{place}: another writer changed the table meanwhile ({_reason(error)}); its version stays, "
            "nothing of this one is published; run again."
        ) from error
    except OSError as error:
        raise LakeError(
            f"{place}: cannot be reached ({_reason(error)}); check the address, the rights and the line."
        ) from error


def _reason(error: Exception) -> str:
    """What the server says, or the innermost line of the chain of causes."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error))
    said = re.search(r"<Message>(.*?)</Message>", text, re.DOTALL)
    lines = [line.strip(" \t↳") for line in text.splitlines() if line.strip(" \t↳")]
    return (said[1].strip() if said else lines[-1] if lines else type(error).__name__).rstrip(".")

"""How far a table was pulled: the greatest watermark, and the rows at it as a multiset of keyed digests."""

from collections import Counter
from decimal import Decimal, InvalidOperation

from data.contracts.schema import Frozen
from data.sql_source import Value

MOST_TIES = 10_000
"""Rows at one value of the watermark whose digests are remembered; of more, only their number and sum are."""
WHOLE = 1 << 256
"""Sums of digests are taken modulo this."""


class Ties(Frozen):
    """The rows that are held at one value of a watermark, as a multiset of keyed digests."""

    count: int = 0
    """Rows."""
    total: str = "0"
    """Sum of their digests modulo 2^256, hexadecimal."""
    digests: dict[str, int] | None = {}
    """Digest -> how often; None for more than `MOST_TIES` rows."""


class Mark(Frozen):
    """How far a table is published: a note of the commit that published its last rows."""

    origin: str
    """Digest of the table or query and the watermark that this is about."""
    value: Value
    """Greatest published value of the watermark."""
    pulls: int
    """Files made of the table so far."""
    rows: int
    """Rows in them."""
    ties: Ties
    """The rows held at `value`."""


class Tally:
    """A multiset of rows while it grows."""

    def __init__(self, held: Ties | None = None) -> None:
        """Begin with the rows that are held; None: with none."""
        held = held or Ties()
        self.count, self.total = held.count, int(held.total, 16)
        self.digests = None if held.digests is None else Counter(held.digests)

    def add(self, digest: bytes) -> None:
        """Count one row."""
        self.count += 1
        self.total = (self.total + int.from_bytes(digest)) % WHOLE
        if self.digests is not None:
            self.digests[short(digest)] += 1
            if self.count > MOST_TIES:
                self.digests = None

    def ties(self) -> Ties:
        """The rows so far, as a note can keep them."""
        digests = None if self.digests is None else dict(self.digests)
        return Ties(count=self.count, total=f"{self.total:x}", digests=digests)


def short(digest: bytes) -> str:
    """What is remembered of a digest."""
    return digest[:12].hex()


def is_same(one: Value, other: Value) -> bool:
    """Whether two watermarks are one: PostgreSQL keeps 1.0 and 1.00 apart in text, but not in order."""
    if one == other or not (isinstance(one, str) and isinstance(other, str)):
        return one == other
    try:
        return Decimal(one) == Decimal(other)
    except InvalidOperation:
        return False

"""The privacy ledger: append-only, it says what was ever learnt across users, and refuses the rest.

`ledger` is what it says and refuses, `chain` how entries hold together, `sqlite` and `postgresql` where they lie.
What an event costs does not belong here: events are plain JSON, and the composition is a function that the caller
passes in, so that this room imports no privacy library.

How a release goes, and why no kill can under-count:

1. `reserve` before any row of data is read. From this moment the slot's whole cost is spent, for ever.
2. The mechanism runs. Nothing of its outcome leaves the process.
3. `commit` writes the event read back from the mechanism AND the released bytes, in one transaction.
4. The caller publishes the bytes that `commit` stored, with the row's (sequence, head) beside them.

Killed before 3: nobody saw anything, so a rerun on the same inputs and code may draw again under the same reservation
(`reserve` returns it, and fences off the earlier holder: only the latest holder can commit). The one outcome that is
ever published still costs what was reserved. Killed after 3: the slot is committed, `reserve` returns the stored row,
and the rerun publishes the same bytes; nothing is drawn twice, even if the published table was lost meanwhile. So
publication implies commit, and commit happens once a slot. If the caller finds a published artefact where the ledger
knows of no commit, this order was broken or an old ledger was restored, and `reserve` refuses.

Entries are chained by HMAC-SHA-256. A cut tail leaves a valid shorter chain, which is why artefacts carry (sequence,
head) and are held against the ledger by `open` and `verify`. Times are informative only; the order is the sequence.
"""

from data.ledger.chain import Artefact, canonical_json
from data.ledger.ledger import Compose, Ledger
from data.ledger.rows import Reservation, Row, Spent
from data.ledger.store import BudgetRefused, LedgerError, Store

__all__ = [
    "Artefact",
    "BudgetRefused",
    "Compose",
    "Ledger",
    "LedgerError",
    "Reservation",
    "Row",
    "Spent",
    "Store",
    "canonical_json",
]

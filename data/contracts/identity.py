"""Who is who: identifiers that belong to one person, the edges that were refused, and the days that this touches.

Only a shop with a source of kind `identities` has these tables.
"""

from data.contracts.core import DAY, USER_ID, quarantine_of
from data.contracts.schema import Column, Table

IDENTIFIER = USER_ID.model_copy(
    update={"name": "identifier", "doc": "Keyed pseudonym (HMAC-SHA-256) of one identifier.", "required": True}
)
PERSON = USER_ID.model_copy(
    update={"doc": "The identifier that stands for the person: the best known kind, then the smallest pseudonym."}
)

IDENTITIES = Table(
    key="core.identities",
    doc="One row per identifier that is joined with another one, with the identifier that stands for the person.",
    privacy="per_user",
    columns=(
        IDENTIFIER,
        Column(name="kind", type="text", doc="Kind of the identifier.", sensitivity="operational", required=True),
        PERSON.model_copy(update={"required": True}),
        Column(
            name="n_identifiers",
            type="integer",
            doc="Identifiers of this person, itself included.",
            required=True,
            minimum=2,
        ),
    ),
    primary_key=("identifier",),
    max_quarantine_share=0.05,
)

_ASIDE = quarantine_of(IDENTITIES)

IDENTITIES_QUARANTINE = _ASIDE.model_copy(
    update={
        "doc": "One row per landed edge that joins nobody, with the reason; of an edge landed often, the latest row.",
        "columns": (*_ASIDE.columns, USER_ID.model_copy(update={"name": "other_id", "doc": "The other identifier."})),
    }
)

IDENTITY_DAYS = Table(
    key="core.identity_days",
    doc="One row per day and identifier whose events of that day count for another identifier of the same person.",
    privacy="per_user",
    columns=(DAY, IDENTIFIER, PERSON.model_copy(update={"required": True})),
    primary_key=("day", "identifier"),
    partition_by="day",
)

TABLES = (IDENTITIES, IDENTITIES_QUARANTINE, IDENTITY_DAYS)

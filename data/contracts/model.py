"""Model tables: item embeddings (public), and what was learnt across users, each through the ledger."""

from data.contracts.schema import Column, Table

RELEASE = (
    Column(name="release", type="text", doc="Digest of the released values.", sensitivity="operational", required=True),
    Column(
        name="window_start", type="date", doc="First day that the release read.", sensitivity="public", required=True
    ),
    Column(
        name="window_end", type="date", doc="Day after the last one that it read.", sensitivity="public", required=True
    ),
)
"""What every released row says about its origin; the ledger's sequence and head stand in the commit."""

PUBLIC_PRIOR = "public prior"
"""In column `release`: constants that stand in git, where the plan of the declared population learns nothing."""

TEXT_EMBEDDINGS = Table(
    key="model.text_embeddings",
    doc="One row per distinct catalogue text: its embedding, cached by the digest of text and model.",
    privacy="public",
    columns=(
        Column(
            name="text_hash", type="text", doc="Digest of the text and the model.", sensitivity="public", required=True
        ),
        Column(name="vector", type="vector", doc="Unit vector, 384 numbers.", sensitivity="public", required=True),
    ),
    primary_key=("text_hash",),
    min_rows=1,
)

ITEM_TEXTS = Table(
    key="model.item_texts",
    doc="Which embedding belongs to which item.",
    privacy="public",
    columns=(
        Column(name="item_id", type="text", doc="Item code.", sensitivity="public", required=True),
        Column(
            name="text_hash", type="text", doc="Digest of its text and the model.", sensitivity="public", required=True
        ),
    ),
    primary_key=("item_id",),
    min_rows=1,
)

POPULARITY = Table(
    key="model.popularity",
    doc="Released popularity of every item of the public catalogue: bounded, noisy, through the ledger.",
    privacy="release",
    history_days=None,
    columns=(
        Column(name="item_id", type="text", doc="Item code.", sensitivity="public", required=True),
        Column(
            name="popularity",
            type="double",
            doc="Noisy bounded count of users in the latest window; may be negative.",
            sensitivity="public",
            required=True,
        ),
        Column(
            name="popularity_before",
            type="double",
            doc="The same of the window before.",
            sensitivity="public",
            required=True,
        ),
        Column(
            name="noise_std",
            type="double",
            doc="Standard deviation of the noise of both.",
            sensitivity="public",
            required=True,
            minimum=0,
        ),
        *RELEASE,
    ),
    primary_key=("item_id",),
    min_rows=1,
)

GRAM = Table(
    key="model.gram",
    doc=(
        "Released Gram matrix of the head of the catalogue: which items the same users have, noisy, through the "
        "ledger. Empty where the plan of the declared population has no such slot."
    ),
    privacy="release",
    history_days=None,
    columns=(
        Column(name="item_id", type="text", doc="Item code.", sensitivity="public", required=True),
        Column(
            name="place",
            type="integer",
            doc="Place in the head, from 0: row and column of the matrix.",
            sensitivity="public",
            required=True,
            minimum=0,
        ),
        Column(
            name="direction",
            type="double",
            doc="Component of the direction that users' rows were projected off.",
            sensitivity="public",
            required=True,
        ),
        Column(
            name="products",
            type="vector",
            doc="The item's row of the matrix, in the order of `place`.",
            sensitivity="public",
            required=True,
        ),
        Column(
            name="noise_std",
            type="double",
            doc="Standard deviation of the noise on the diagonal; root 2 less off it.",
            sensitivity="public",
            required=True,
            minimum=0,
        ),
        *RELEASE,
    ),
    primary_key=("item_id",),
)

RANKER = Table(
    key="model.ranker",
    doc="Released weights of the ranker, one row per task and feature, trained with Opacus through the ledger.",
    privacy="release",
    history_days=None,
    columns=(
        Column(name="task", type="text", doc="`next_purchases` or `discovery`.", sensitivity="public", required=True),
        Column(name="feature", type="text", doc="Feature of a user and an item.", sensitivity="public", required=True),
        Column(name="weight", type="double", doc="Weight.", sensitivity="public", required=True),
        *RELEASE,
    ),
    primary_key=("task", "feature"),
    min_rows=1,
)

TABLES = (TEXT_EMBEDDINGS, ITEM_TEXTS, POPULARITY, GRAM, RANKER)

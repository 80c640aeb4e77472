"""What the data is and how it is fetched: contracts, shop files, connectors, SQL models, the lake, gates, the ledger.

Nothing here knows Dagster or torch.
"""

"""User-level differential privacy: bounding, mechanisms, accounting.

Belongs here: everything that turns many users' rows into a released number, and the proof of what that costs.
Does not belong here: the ledger's store (`data.ledger`), which keeps events as plain JSON and never imports this room.
"""

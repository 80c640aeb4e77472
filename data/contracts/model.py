"""Contracts of the model layer."""

from data.contracts.schema import Table

TABLES: tuple[Table, ...] = ()

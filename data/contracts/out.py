"""Contracts of the out layer."""

from data.contracts.schema import Table

TABLES: tuple[Table, ...] = ()

"""Every table of Portrait, by key: `TABLES["core.events"]`."""

from data.contracts import core, features, identity, model, out, profile, promotions, raw
from data.contracts.schema import Column, PrivacyClass, Reference, Table

TABLES: dict[str, Table] = {
    table.key: table
    for module in (raw, identity, core, promotions, features, model, profile, out)
    for table in module.TABLES
}

__all__ = ["TABLES", "Column", "PrivacyClass", "Reference", "Table"]

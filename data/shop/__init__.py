"""How a shop's own data enters: one YAML file declares it, `mapping` reads it onto the contracts' raw columns."""

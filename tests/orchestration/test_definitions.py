"""The code location loads, is light, and every asset says what it must."""

import subprocess
import sys

import dagster as dg

from data.contracts import TABLES, identity
from data.contracts.profile import ONLINE
from data.settings import REPOSITORY
from orchestration.definitions import defs

HEAVY = ("torch", "opacus", "great_expectations", "transformers", "sklearn")


def test_importing_the_definitions_imports_nothing_heavy():
    code = f"import sys, orchestration.definitions; print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.strip().splitlines()[-1] == "[]"


def test_every_asset_states_class_owner_group_code_version_and_schema():
    graph = defs.resolve_asset_graph()
    assert len(graph.get_all_asset_keys()) > 10
    for key in graph.get_all_asset_keys():
        node = graph.get(key)
        assert node.tags["portrait/class"] in {"public", "per_user", "release", "internal"}, key
        assert node.owners and node.group_name and node.description, key
        if node.is_materializable:
            assert node.code_version and isinstance(node.metadata["dagster/column_schema"], dg.TableSchema), key


def test_every_contract_has_its_asset():
    published = {".".join(key.path) for key in defs.resolve_asset_graph().materializable_asset_keys}
    asked_for = (*identity.TABLES, ONLINE)  # by shops that join identifiers, or learn online
    assert {key for key, table in TABLES.items() if table not in asked_for} <= published

"""Lake tables as arrays of the ranking room."""

from datetime import date

import pyarrow as pa

from assets import arrays
from data.contracts.model import RANKER
from ml.ranking.features import FEATURES
from ml.ranking.ranker import PRIOR
from tests.support.shops import workspace_of, write_shop


def test_a_release_from_before_a_feature_gives_it_no_weight(tmp_path):
    workspace = workspace_of(write_shop(tmp_path / "shop"), tmp_path / "var")
    released = arrays.weights_table(PRIOR.to_array()).to_pylist()
    facts = {"release": "old", "window_start": date(2024, 1, 1), "window_end": date(2024, 2, 1)}
    rows = [{**row, **facts} for row in released if row["feature"] != "bought_together"]
    workspace.lake.publish(RANKER, pa.Table.from_pylist(rows, schema=RANKER.arrow_schema()), fingerprint="")
    with workspace.engine.session() as session:
        found = arrays.weights(workspace, session).to_array()
    expected = PRIOR.to_array()
    expected[:, FEATURES.index("bought_together")] = 0
    assert (found == expected).all()

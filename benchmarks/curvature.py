"""How curved the ranker's loss is on public benchmarks, for `ml/ranking/curvature.json`.

    PORTRAIT_VAR=var python benchmarks/curvature.py --write

Reads the tables that `portrait run` made of the default shop, as of its validation period, and one made-up shop in
memory. Of each: the mean over users, of the covariance of features under the softmax of their candidates at the prior
weights, both heads together. The file holds the sum of the two. Without `--write` the file is compared with what is
found, which noise in the releases that features are made of keeps from being the same.
"""

import argparse
import json
from datetime import date
from typing import Any

import numpy as np
from cost_of_privacy import public_benchmark
from made_up import shop_of

from assets import arrays, learning
from data.history import History, periods
from ml.privacy.plan import default_plan
from ml.ranking.bags import Bags, training_bags
from ml.ranking.coordinates import CURVATURE_FILE, curvature
from ml.ranking.features import FEATURES
from ml.ranking.index import index_items
from ml.ranking.inputs import CandidateConfig
from ml.ranking.ranker import PRIOR

VALIDATION, EPSILON, SEED, USERS, LEARNT_FROM = date(2017, 10, 4), 4.0, 11, 100_000, 5_000


def mean_covariance(bags: list[Bags]) -> Any:
    """(n_features, n_features) of the users with a label, summed over heads."""
    heads, size = PRIOR.to_array().astype(np.float32), len(FEATURES)
    total, n = np.zeros((len(heads), size, size)), np.zeros(len(heads))
    for batch in bags:
        for number, head in enumerate(heads):
            taught = batch.label[:, number].any(axis=1)
            features, candidate = batch.features[taught], batch.candidate[taught, number]
            score = np.where(candidate, features @ head, -np.inf)
            share = np.exp(score - score.max(axis=1, keepdims=True))
            share /= share.sum(axis=1, keepdims=True)
            mean = np.einsum("uw,uwf->uf", share, features)
            total[number] += np.einsum("uwf,uwg->fg", features * share[:, :, None], features) - mean.T @ mean
            n[number] += taught.sum()
    return (total / n[:, None, None]).sum(axis=0)


def of_history(history: Any, catalogue: Any, epsilon: float, declared: int, n_users: int) -> Any:
    """The same of the first users of a shop, whose features are made from releases as of the instant of fitting."""
    plan, config = default_plan(epsilon, 1 / (100 * declared), declared), CandidateConfig()
    before, _ = learning.counted(history, plan, non_private=False)
    state = arrays.user_item_state(history, "fit")
    gram = learning.together_of(state, len(history.user_ids), before, plan, non_private=False)
    own = state.user_index < n_users
    some = type(state)(**{name: column[own] for name, column in vars(state).items()})
    user, item = history.numbered(history.fit_labels())
    taught = user < n_users
    index = index_items(catalogue, before, gram, config)
    return mean_covariance(training_bags(some, index, user[taught], item[taught], n_users=n_users, config=config))


def main() -> None:
    """Parse the command line, measure, and write or compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="replace the file")
    args = parser.parse_args()
    workspace = public_benchmark(VALIDATION)
    declared = workspace.shop.declared_users
    assert declared is not None, "a benchmark declares its users"
    with workspace.engine.session() as session:
        history = History(workspace, session, periods(workspace))
        catalogue = arrays.catalogue(workspace, session)
        real = of_history(history, catalogue, EPSILON, declared, len(history.user_ids))
    shop = shop_of(USERS, SEED)
    found = real + of_history(shop, shop.catalogue(), 1.0, USERS, LEARNT_FROM)
    if args.write:
        rows = ",\n".join(f"    {json.dumps([round(float(cell), 5) for cell in row])}" for row in found)
        text = f'{{\n  "features": {json.dumps(FEATURES)},\n  "curvature": [\n{rows}\n  ]\n}}\n'
        CURVATURE_FILE.write_text(text, encoding="utf-8")
    off = np.linalg.norm(found - curvature()) / np.linalg.norm(found)
    print(f"{CURVATURE_FILE.name} differs from what is found by {off:.4f} of its norm")


if __name__ == "__main__":
    main()

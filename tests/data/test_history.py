"""The periods that releases learn from and are measured on, and how much each label counts."""

import dagster as dg

from data.history import WINDOW_DAYS, History, periods
from ml.privacy.plan import PlanConstants
from orchestration.definitions import build_defs
from tests.support.runs import days, execute
from tests.support.shops import YAML, workspace_of, write_shop


def test_the_windows_are_as_long_as_the_privacy_plan_says() -> None:
    assert PlanConstants().window_days == WINDOW_DAYS


def test_where_nothing_is_sold_a_label_weighs_what_its_weightiest_event_does(tmp_path) -> None:
    lines = [
        "1,ann,a,look,,,2024-02-10 10:00:00,x1",
        "2,ann,a,look,,,2024-02-10 10:01:00,x1",
        "3,ann,b,look,,,2024-02-10 10:02:00,x1",
        "4,ann,b,like,,,2024-02-11 10:02:00,x2",
        "5,ann,d,rate,,1.0,2024-02-11 10:03:00,x2",
        "6,bob,c,like,,,2024-01-03 12:40:00,x3",
        "7,bob,d,look,,,2024-02-12 12:40:00,x4",
    ]
    yaml = YAML.replace("{buy: purchase, look: view}", "{like: favourite, look: view, rate: rating}")
    workspace = workspace_of(write_shop(tmp_path / "shop", lines, yaml), tmp_path / "var")
    with dg.DagsterInstance.ephemeral() as instance:
        assert execute(build_defs(workspace), instance, "daily", days("2024-02-10", "2024-02-12")).success
    with workspace.engine.session() as session:
        history = History(workspace, session, periods(workspace))
        user, item, weight = history.weighted(history.fit_labels())
        labels = history.numbered(history.labels("fit"))
    assert [sorted(zip(user.tolist(), item.tolist(), strict=True))] == [sorted(zip(*map(list, labels), strict=True))]
    who = {(n, i) for n, i in zip(user.tolist(), item.tolist(), strict=True)}
    assert len(who) == 3
    of_ann = max(set(user.tolist()), key=user.tolist().count)
    assert {(u == of_ann, i): w for u, i, w in zip(user.tolist(), item.tolist(), weight.tolist(), strict=True)} == {
        (True, 0): 0.1,
        (True, 1): 0.5,
        (False, 3): 0.1,
    }

"""Naming a landed file: which remedies are offered where a name fits several."""

import pytest

from data.shop.errors import ShopError
from data.take_back import Held, _one

TILLS = Held(source="tills", file="today.csv", sha256="a" * 64, n_rows=3)


@pytest.mark.parametrize(
    ("other", "remedy"),
    [
        ({"sha256": "b" * 64}, "name one by its digest."),
        ({"source": "labels"}, "name one by its source with --source."),
        ({"source": "labels", "sha256": "b" * 64}, "name one by its digest or its source with --source."),
    ],
    ids=["new bytes", "another source", "both"],
)
def test_a_name_of_several_files_is_told_apart_by_what_differs(other, remedy):
    second = TILLS.model_copy(update=other)
    with pytest.raises(ShopError) as caught:
        _one(None, "today.csv", [TILLS, second])
    listed = f"{TILLS} of source tills; {second} of source {second.source}"
    assert str(caught.value) == f"today.csv: that is several files: {listed}; {remedy}"
    assert _one(None, "today.csv", [TILLS]) == _one(None, TILLS.sha256[:12], [TILLS]) == TILLS

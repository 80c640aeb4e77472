"""Keyed pseudonyms of user ids: made once, where a file is read, and never undone."""

import base64
import binascii
import hashlib
import hmac
import os
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path

KEY_BYTES = 32
KEY_VARIABLE = "PORTRAIT_KEY"
KEY_FILE = Path("var/keys/pseudonym.key")
PREFIX = "u_"
DEFAULT_KIND = "user"
"""The kind of identifiers that no shop file names; their pseudonyms are made with the key itself."""
DIGEST_CHARACTERS = 32


class KeyFault(ValueError):
    """The pseudonym key is missing, of a wrong length, or readable by others; the message never holds the key."""


def pseudonymise(ids: Sequence[str], key: bytes) -> list[str]:
    """Replace raw user ids by keyed pseudonyms.

    The first 128 bits of HMAC-SHA-256 (RFC 2104, FIPS 198-1): 10^9 users collide with probability below 2e-21.

    Args:
        ids: Raw ids, none of them empty.
        key: 32 bytes.

    Returns:
        One pseudonym an id, in the same order: `u_` and 32 lower-case hexadecimal characters.

    Raises:
        KeyFault: The key is not 32 bytes long.
    """
    if len(key) != KEY_BYTES:
        raise KeyFault(f"The pseudonym key has {len(key)} bytes; it must have {KEY_BYTES}.")
    return [PREFIX + hmac.digest(key, text.encode(), hashlib.sha256).hex()[:DIGEST_CHARACTERS] for text in ids]


def key_of(kind: str, key: bytes) -> bytes:
    """The key for the identifiers of one kind, so that equal texts of two kinds are two pseudonyms.

    Args:
        kind: Kind of identifier, as the shop file names it.
        key: 32 bytes.

    Returns:
        32 bytes: the key itself for `DEFAULT_KIND`, so that naming further kinds changes none of its pseudonyms; else
        a key derived from both (HMAC-SHA-256 as a key derivation function, NIST SP 800-108r1).
    """
    if kind == DEFAULT_KIND:
        return key
    return hmac.digest(key, f"portrait identifier kind {kind}".encode(), hashlib.sha256)


def ephemeral_key() -> bytes:
    """Make a key that is never stored, for previews whose pseudonyms shall mean nothing later."""
    return secrets.token_bytes(KEY_BYTES)


def load_key(path: Path = KEY_FILE, environment: Mapping[str, str] = os.environ) -> bytes:
    """Find the shop's pseudonym key, or create the key file on first use.

    Args:
        path: Key file; created with owner-only rights (0600) when neither it nor the variable exists.
        environment: Where `PORTRAIT_KEY` (64 hexadecimal characters, or base64) is looked up; it wins over the file.

    Returns:
        32 bytes.

    Raises:
        KeyFault: The key has a wrong form or length, or the key file is readable by others.
    """
    text = environment.get(KEY_VARIABLE)
    if text is not None:
        return _decode(text, f"environment variable {KEY_VARIABLE}")
    try:
        return _create(path)
    except FileExistsError:
        return _read(path)


def _create(path: Path) -> bytes:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    key = secrets.token_bytes(KEY_BYTES)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    handle = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        with os.fdopen(handle, "w", encoding="ascii") as stream:
            stream.write(key.hex() + "\n")
            stream.flush()
            os.fsync(stream.fileno())
        # A link appears with its content or not at all, and only for the first of several processes.
        os.link(draft, path)
    finally:
        draft.unlink()
    return key


def _read(path: Path) -> bytes:
    mode = path.stat().st_mode & 0o777
    if mode & 0o077:
        raise KeyFault(f"Key file {path} is open to others (mode {mode:03o}); run `chmod 600 {path}`.")
    return _decode(path.read_text(encoding="ascii", errors="replace"), f"key file {path}")


def _decode(text: str, origin: str) -> bytes:
    text = text.strip()
    key = b""
    try:
        key = bytes.fromhex(text)
    except ValueError:
        try:
            key = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            # From None: the parser's own message would quote the text.
            raise KeyFault(f"The {origin} is neither hexadecimal nor base64; give {KEY_BYTES} bytes in one.") from None
    if len(key) != KEY_BYTES:
        raise KeyFault(f"The {origin} holds {len(key)} bytes; a key has {KEY_BYTES} (`openssl rand -hex 32`).")
    return key

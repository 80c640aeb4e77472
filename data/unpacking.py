"""Text files made plain: unpacked, and in UTF-8."""

import codecs
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from data.shop.errors import SourceError
from data.shop.source import COMPRESSIONS

CHUNK_BYTES = 1 << 20


@contextmanager
def plain_text(path: Path, encoding: str, shown: str) -> Iterator[Path]:
    """Make a text file available unpacked and in UTF-8: itself when it is that already, else a temporary copy.

    DuckDB reads .gz and .zst too, but takes half a .zst for a whole file and does not check a .gz's sum (measured
    with 2.0.0), so that files are unpacked here, where damage is an error.

    Args:
        path: Local file, possibly ending in .gz or .zst.
        encoding: Encoding of the text.
        shown: How messages name the file.

    Yields:
        Path of the plain file.

    Raises:
        SourceError: The packing is damaged or cut short, the text is empty or not in that encoding.
    """
    is_utf8 = codecs.lookup(encoding).name in ("utf-8", "ascii", "utf-8-sig")
    if path.suffix not in COMPRESSIONS and is_utf8:
        yield path
        return
    with tempfile.NamedTemporaryFile(prefix="portrait-", suffix=".txt") as target:
        decoder = None if is_utf8 else codecs.getincrementaldecoder(encoding)()
        try:
            with pa.input_stream(str(path), compression=_packing(path)) as stream:
                while chunk := stream.read(CHUNK_BYTES):
                    target.write(decoder.decode(chunk).encode() if decoder else chunk)
            if decoder:
                target.write(decoder.decode(b"", final=True).encode())
        except UnicodeDecodeError:
            raise SourceError(shown, f"is not {encoding} text", "correct csv.encoding of the source") from None
        except OSError as error:
            reason = str(error).splitlines()[0]
            raise SourceError(shown, f"is damaged or cut short ({reason})", "deliver the file again") from None
        if target.tell() == 0:
            raise SourceError(shown, "holds no text", "deliver it again or remove it")
        target.flush()
        yield Path(target.name)


def _packing(path: Path) -> str | None:
    return {".gz": "gzip", ".zst": "zstd"}.get(path.suffix)

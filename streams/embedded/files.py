"""Small files of the embedded stack, written so that a reader sees the old content or the new, never a part.

Must not know what the files are for.
"""

import os
import secrets
import tempfile
from pathlib import Path

SECRET_BYTES = 32


def write_file(path: Path, content: str | bytes, *, mode: int = 0o644) -> None:
    """Replace `path` atomically; the file has `mode` from its first byte on. The folder must exist."""
    data = content.encode() if isinstance(content, str) else content
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, mode)
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def keep_secret(path: Path) -> str:
    """The secret in `path`, made at the first call: hexadecimal, readable only by its owner."""
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        secret = secrets.token_hex(SECRET_BYTES)
        write_file(path, secret + "\n", mode=0o600)
        return secret

"""Files that are complete or not there."""

import os
from pathlib import Path

from rlgen.core.errors import UserError


def write_bytes(path: str | Path, data: bytes) -> Path:
    """Writes a file through a temporary one beside it.

    Args:
        path: Where to; its folder has to exist.
        data: The whole content.

    Returns:
        The path.

    Raises:
        UserError: If the folder is missing or the file cannot be written; the old file stays.
    """
    final = Path(path)
    temporary = final.with_name(f".{final.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, final)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        reason = error.strerror or type(error).__name__
        raise UserError(f"{final} cannot be written: {reason}; name another place") from error
    return final

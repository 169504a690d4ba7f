"""What every parser of a foreign file agrees on: how large it may be, and how it says no."""

MAX_TRIANGLES = 200_000
MAX_BYTES = 64 * 2**20
MAX_PARTS = 10_000  # placements of sub-assemblies in one file


class BrokenFileError(Exception):
    """A file cannot be used; the message goes on after the file's name: ``is broken: ...``."""


def check_count(triangles: int) -> None:
    """Refuses more triangles than an evaluation can bear.

    Args:
        triangles: How many the file has.

    Raises:
        BrokenFileError: If there are too many.
    """
    if triangles > MAX_TRIANGLES:
        raise BrokenFileError(
            f"has {triangles} triangles, at most {MAX_TRIANGLES} are read; "
            "simplify it in your CAD program"
        )

"""Writes tables between the marks of a documentation page."""

from pathlib import Path

from rlgen.core.errors import UserError
from rlgen.core.run import write_text


def write_page(page: Path, name: str, text: str) -> None:
    """Puts a text between the marks of a page: ``<!-- NAME -->`` and ``<!-- end of NAME -->``.

    Raises:
        UserError: If there is no such page, or it has no such marks.
    """
    first, last = f"<!-- {name} -->", f"<!-- end of {name} -->"
    if not page.is_file():
        raise UserError(f"page={page}: there is no such file")
    before, _, rest = page.read_text(encoding="utf-8").partition(first)
    _, end, after = rest.partition(last)
    if not end:
        raise UserError(f"page={page} has no {first} and {last}; put both where the tables belong")
    write_text(page, f"{before}{first}\n{text}\n{end}{after}")

"""Statements that stand in files of their own, so that any SQL tool opens them: what is sent for each round of jobs."""

from importlib.resources import files
from typing import Final

from sqlalchemy import TextClause, text

_HERE: Final = files("fairlane.store")


def statement(path: str) -> TextClause:
    """Return the statement of a file of this package, without the reasons that stand in it as comments.

    Args:
        path: without its ending, such as postgres/claim.
    """
    lines = _HERE.joinpath(f"{path}.sql").read_text(encoding="utf-8").splitlines()
    words = "\n".join(line for line in lines if not line.lstrip().startswith("--"))
    return text(words)

"""Gathers the site's pages in build/docs, for Zensical to build: `make docs`.

What is committed reads well in the repository; the site needs a little more. The README becomes its front page, the
reference is filled in from the code, and files that pages link to come along.
"""

import os
import re
import shutil
from pathlib import Path
from typing import Final

from docs import reference, state_machine

ROOT: Final = Path(__file__).parents[1]
TARGET: Final = ROOT / "build" / "docs"
NAMES: Final = {ROOT / "README.md": "index.md", ROOT / "CONTRIBUTING.md": "contributing.md"}


def build() -> None:
    """Write all pages anew."""
    state_machine.PAGE.write_text(state_machine.page(), encoding="utf-8")
    shutil.rmtree(TARGET, ignore_errors=True)
    TARGET.mkdir(parents=True)
    for page in (*NAMES, *sorted((ROOT / "docs").glob("*.md"))):
        text = page.read_text(encoding="utf-8")
        if page.name == "reference.md":
            text = reference.filled(text)
        (TARGET / _place(page)).write_text(_relinked(page, text), encoding="utf-8")


def _relinked(page: Path, text: str) -> str:
    return re.sub(r"\]\(([^)#:]+)(#[^)]*)?\)", lambda found: f"]({_moved(page, found[1])}{found[2] or ''})", text)


def _moved(page: Path, link: str) -> str:
    """Where a link of `page` leads to on the site; a file that is no page is copied there."""
    file = Path(os.path.normpath(page.parent / link))
    if file.suffix == ".md":
        return _place(file)
    if file.is_dir():
        file /= "__init__.py"
    copy = TARGET / file.relative_to(ROOT)
    copy.parent.mkdir(parents=True, exist_ok=True)
    # As text, so that a browser shows it.
    copy = copy.with_name(f"{copy.name}.txt")
    shutil.copyfile(file, copy)
    return copy.relative_to(TARGET).as_posix()


def _place(page: Path) -> str:
    return NAMES.get(page, page.name)


if __name__ == "__main__":
    build()

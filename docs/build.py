"""Gathers the site's pages in build/docs, for Zensical to build: `make docs`.

What is committed reads well in the repository; the site needs a little more. The README becomes its front page, the
reference has all that the docstrings say, and files that pages link to come along.
"""

import os
import re
import shutil
from pathlib import Path
from typing import Final

from docs import asyncapi, reference_pages, state_machine

ROOT: Final = Path(__file__).parents[1]
NAMES: Final = {
    ROOT / "README.md": "index.md",
    ROOT / "CHANGELOG.md": "changelog.md",
    ROOT / "CONTRIBUTING.md": "contributing.md",
    ROOT / "AGENTS.md": "agents.md",
    # Not security.md: that is what Fairlane defends against, and some file systems know no capital letters.
    ROOT / "SECURITY.md": "vulnerabilities.md",
}


def gather(target: Path) -> None:
    """Write all pages anew, and what they link to."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for page in (*NAMES, *sorted((ROOT / "docs").rglob("*.md"))):
        text = reference_pages.full(page) if page in reference_pages.PAGES else page.read_text(encoding="utf-8")
        place = target / _place(page)
        place.parent.mkdir(exist_ok=True)
        place.write_text(_relinked(page, text, target), encoding="utf-8")


def _relinked(page: Path, text: str, target: Path) -> str:
    def moved(found: re.Match[str]) -> str:
        link = os.path.relpath(_moved(page.parent / found[1], target), Path(_place(page)).parent)
        return f"]({link}{found[2] or ''})"

    return re.sub(r"\]\(([^)#:]+)(#[^)]*)?\)", moved, text)


def _moved(link: Path, target: Path) -> str:
    """Return the site's address of a link's target; a file that is no page is copied to the site."""
    file = Path(os.path.normpath(link))
    if file.suffix == ".md":
        return _place(file)
    if file.is_dir():
        file /= "__init__.py"
    # Code as text, so that a browser shows it.
    place = file.relative_to(ROOT).as_posix() + ("" if file.suffix == ".png" else ".txt")
    (target / place).parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(file, target / place)
    return place


def _place(page: Path) -> str:
    return NAMES.get(page) or page.relative_to(ROOT / "docs").as_posix()


if __name__ == "__main__":
    state_machine.PAGE.write_text(state_machine.page(), encoding="utf-8")
    for page in reference_pages.PAGES:
        page.write_text(reference_pages.brief(page), encoding="utf-8")
    asyncapi.PAGE.write_text(asyncapi.text(), encoding="utf-8")
    gather(ROOT / "build" / "docs")

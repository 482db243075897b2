"""Compare answers in every part that could tell objects of another organization from objects that do not exist."""

import re
from typing import Final

import httpx

# These differ from one answer to the next, whatever was asked for. The content is compared itself.
MAY_DIFFER: Final = frozenset({"date", "content-length"})
_NEW: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|\d{4}-\d\d-\d\dT[\d:.]+(Z|\+00:00)")


def told(answer: httpx.Response, *asked: str) -> tuple[int, dict[str, str], str]:
    """Status, headers and content.

    Args:
        asked: what was asked for, which an answer may repeat. Of something that was made, its own ids and times are
            removed, too.
    """
    headers = {name: value for name, value in answer.headers.items() if name not in MAY_DIFFER}
    content = answer.text
    for one in sorted(asked, key=len, reverse=True):
        content = content.replace(one, "ASKED")
    return answer.status_code, headers, _NEW.sub("NEW", content) if answer.is_success else content

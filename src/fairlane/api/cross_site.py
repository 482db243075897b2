"""Whether a page of somebody else's makes this request with the cookies of whoever reads it (CSRF).

Browsers say so: `Origin` on everything but plain GET, `Sec-Fetch-Site` on all. So no token has to go into each form.
"""

from collections.abc import Collection
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers

SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_OWN: Final = frozenset({"same-origin", "none"})  # none: typed, or from a bookmark


def comes_from_elsewhere(headers: Headers, allowed: Collection[str], *, scheme: str, must_say: bool) -> bool:
    """Return True if another site's page sent it.

    Args:
        allowed: origins that may.
        scheme: by which the request came.
        must_say: what says nothing counts as elsewhere, as no browser of today sends it.
    """
    origin = headers.get("origin")
    if origin is not None:
        return origin not in allowed and not _is_at(origin, headers.get("host"), scheme)
    site = headers.get("sec-fetch-site")
    return must_say if site is None else site not in _OWN


def _is_at(origin: str, host: str | None, scheme: str) -> bool:
    try:
        of_page = urlsplit(origin)
    except ValueError:
        return False
    # A page without TLS may be anybody's on the way. The other way round, a proxy has not said that it has TLS.
    is_downgraded = scheme in {"https", "wss"} and of_page.scheme != "https"
    return bool(host) and of_page.netloc.lower() == (host or "").lower() and not is_downgraded

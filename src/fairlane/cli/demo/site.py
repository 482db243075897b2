"""The dashboard, served while the demo runs: with a link that logs an operator in, once."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Final

from fairlane import ConfigurationError, Fairlane

_HOST: Final = "127.0.0.1"
_OPERATOR: Final = "operator"


@contextmanager
def dashboard_of(fl: Fairlane, *, wanted: bool, port: int = 0) -> Iterator[Callable[[], str] | None]:
    """Serve it on this machine, on a free port unless one is named; what makes a link to it, each for one login.

    None where it can't be served: the extra `web` is not installed, or the dashboard is not built.

    Raises:
        ConfigurationError: so it is, and it is `wanted`.
    """
    why = _missing()
    if why is not None:
        if wanted:
            raise ConfigurationError(why)
        yield None
        return
    import uvicorn

    from fairlane.api import create_app
    from fairlane.cli.serve import link_to, listen

    # Nobody else can come in, and it is their own data: they may see what is in the jobs, too.
    fl.users.create(_OPERATOR, operator=True, rights=["payload:read"])
    listening = listen(_HOST, port)
    config = uvicorn.Config(
        create_app(fl, dashboard=True), lifespan="off", log_config=None, timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listening],), name="fairlane-dashboard")
    thread.start()
    try:
        yield partial(link_to, fl, _OPERATOR, f"http://{_HOST}:{listening.getsockname()[1]}/api/v1")
    finally:
        server.should_exit = True
        thread.join()


def _missing() -> str | None:
    try:
        import uvicorn  # noqa: F401 - only whether it is there

        from fairlane.api.dashboard import is_built
    except ModuleNotFoundError as error:
        return f"The dashboard needs {error.name}: pip install 'fairlane[web]'."
    return None if is_built() else "The dashboard is not built; in the repository `make dashboard` builds it."

"""`fairlane worker`: one worker in this process, or a supervisor with several."""

import atexit
import logging
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Annotated, Final

import typer

from fairlane.cli import options as o
from fairlane.cli.output import console
from fairlane.cli.session import APP_EXAMPLE, engine, target_of
from fairlane.domain.errors import ConfigurationError, StorageUnavailable
from fairlane.domain.timing import DAY
from fairlane.engine.job_logs import LogFormat, Logs
from fairlane.engine.own_loop import tell_of_threads_without_words
from fairlane.engine.supervisor import EXIT_REPLACE, Supervisor, stop_with_supervisor

if TYPE_CHECKING:
    from fairlane import Event, Fairlane, Worker
    from fairlane.cli.worker_display import WorkerDisplay
    from fairlane.cli.worker_metrics import WorkerMetrics

# Seconds that a stuck worker gives its last log line, and then its display, to finish.
_SAYING: Final = 1.0
_CLOSING: Final = 1.0
_LAST_WAIT: Final = 5.0  # seconds for the application's own exit handlers


class LogLevel(StrEnum):
    """The lowest level of log lines that are printed."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


def worker(
    context: typer.Context,
    queue: Annotated[
        list[str] | None,
        typer.Option(
            "--queue",
            "-q",
            metavar="QUEUE",
            autocompletion=o.complete_queues,
            help="Serve this queue; may be repeated. Omitted: all queues.",
        ),
    ] = None,
    concurrency: Annotated[
        int, typer.Option("--concurrency", "-c", min=1, metavar="N", help="How many jobs each process runs at once.")
    ] = 100,
    processes: Annotated[
        int, typer.Option(min=1, metavar="N", help="How many processes; a process that ends is replaced.")
    ] = 1,
    plain: Annotated[
        bool, typer.Option("--plain", help="Write log lines on a terminal too, instead of showing what runs.")
    ] = False,
    name: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Its name in logs and `workers list`; with --processes NAME-1:pid and so on. [default: host:pid]",
        ),
    ] = None,
    log_level: Annotated[
        LogLevel, typer.Option(help="The lowest level of log lines that are printed.")
    ] = LogLevel.INFO,
    log_format: Annotated[
        LogFormat, typer.Option(help="The form of log lines; json: one object a line, with the fields of the job.")
    ] = LogFormat.TEXT,
    metrics_port: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=65535,
            metavar="PORT",
            help="Serve /metrics, /livez and /readyz at this port; with --processes at this one and the next ones, one "
            "for each process. [default: FAIRLANE_METRICS_PORT, else none]",
        ),
    ] = None,
    metrics_host: Annotated[
        str | None,
        typer.Option(metavar="HOST", help="The address for them. [default: FAIRLANE_METRICS_HOST, else 127.0.0.1]"),
    ] = None,
) -> None:
    """Run jobs until SIGTERM or Ctrl-C; then let running jobs finish within the grace period.

    A second signal ends the grace at once. On a terminal the running jobs of a single process are shown, elsewhere
    log lines are written to standard error, with times in UTC. Exit code 75 asks the supervisor of the process to
    start another one.

    \b
    Examples:
        fairlane worker --app myproject.jobs:fl
        fairlane worker --app myproject.jobs:fl -q default -q mail --concurrency 20
        fairlane worker --app myproject.jobs:fl --processes 4
        fairlane worker --app myproject.jobs:fl --metrics-port 9464
    """
    if stop_with_supervisor() and name is not None:
        name = f"{name}:{os.getpid()}"  # a killed process and its replacement must have different names
    # Registered before the application's own exit handlers, so that it runs after them: when Python has removed its
    # own handlers, SIGTERM would end a process that is about to end anyway, and with another exit code.
    atexit.register(signal.signal, signal.SIGTERM, signal.SIG_IGN)
    fl = _application(context)
    logs = Logs(_level(log_level), log_format)
    tell_of_threads_without_words()
    place = metrics_host or fl.settings.metrics_host, metrics_port or fl.settings.metrics_port or 0
    metrics = _metrics(fl) if place[1] else None
    if processes > 1:
        logs.set_up()
        _refuse_schema(fl)
        command = _command(context, queue or [], concurrency, log_level, log_format)
        commands = [_named(command, name, number) for number in range(1, processes + 1)]
        Supervisor(_at_ports(commands, *place) if metrics is not None else commands).run()
        return
    from fairlane.cli.worker_display import DisplayHandler, WorkerDisplay, stderr_shown

    live = console(stderr=True).is_terminal and not plain and log_format is LogFormat.TEXT
    terminal = os.fdopen(os.dup(sys.stderr.fileno()), "w") if live else sys.stderr
    display = WorkerDisplay(console(file=terminal)) if live else None
    one = fl.worker(
        queues=queue or None,
        concurrency=concurrency,
        name=name,
        subscribers=[*(each for each in (display, metrics) if each is not None), partial(_end_where_stuck, display)],
    )
    _end_in_order_at_sigterm(one)
    if display is None:
        logs.set_up()
    else:
        # The display shows what happens to jobs.
        logs._replace(level=max(logs.level, logging.WARNING)).set_up(DisplayHandler(display))
    if metrics is not None:
        metrics.serve(one, *place)
    if display is None:
        one.run()
    else:
        with display, stderr_shown(display, terminal):
            one.run()
    _leave(one, fl.settings.grace)


def _leave(worker: "Worker", grace: float) -> None:
    """End the process after the worker, with the exit code that asks for another one if that is needed."""
    code = EXIT_REPLACE if worker.must_be_replaced else 0
    if worker.left_work_behind:
        # Python's own exit would wait for threads that never end, or abort the process if a thread runs native code.
        _end_within(_LAST_WAIT, code)
        atexit._run_exitfuncs()  # noqa: SLF001 - what the application has registered; else nobody would run it
        with suppress(OSError, ValueError):  # one of them may have closed it
            sys.stdout.flush()
        os._exit(code)
    if code:
        # Threads of the application or of handlers get as long as jobs; a replacement may wait for this process.
        _end_within(max(grace, _LAST_WAIT), code)
        raise typer.Exit(code)


def _end_within(seconds: float, code: int) -> None:
    """End the process after that time, whatever it still waits for, and by SIGALRM if Python itself hangs."""
    seconds = min(seconds, DAY)

    def end() -> None:
        time.sleep(seconds)
        os._exit(code)

    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, seconds + _CLOSING)
    with suppress(RuntimeError):  # no thread can be started any more
        threading.Thread(target=end, daemon=True).start()


def _end_in_order_at_sigterm(worker: "Worker") -> None:
    """Let SIGTERM end the process as an ordinary exit would, before the worker runs and after it.

    A running worker handles the signal itself. After its end Python's own exit may take a while, and a signal at that
    time is no failure.
    """
    signal.signal(signal.SIGTERM, lambda *_: os._exit(EXIT_REPLACE if worker.must_be_replaced else 0))


def _end_where_stuck(display: "WorkerDisplay | None", event: "Event") -> None:
    """End a process whose event loop is blocked for ever: it can't end in order, not even at a signal."""
    from fairlane.domain.events import WorkerStuck

    if isinstance(event, WorkerStuck):
        try:
            threading.Thread(target=_end_now, args=(display,), daemon=True).start()
        except RuntimeError:  # no thread can be started any more
            os._exit(EXIT_REPLACE)


def _end_now(display: "WorkerDisplay | None") -> None:
    """End the process without its log and display.

    Both may hang, on a pipe that nobody reads or a terminal that shows nothing more.
    """
    time.sleep(_SAYING)
    if display is not None:
        with suppress(RuntimeError):
            closing = threading.Thread(target=display.close, daemon=True)
            closing.start()
            closing.join(_CLOSING)
    os._exit(EXIT_REPLACE)


def _application(context: typer.Context) -> "Fairlane":
    if target_of(context).app is None:
        raise ConfigurationError(
            f"A worker needs your handlers; name the application that has them: {APP_EXAMPLE} (or set FAIRLANE_APP)."
        )
    fl = engine(context)
    if not fl.catalogue.mine:
        raise ConfigurationError(
            f"{target_of(context).app} has no job types, so there is nothing to run; import the modules with your "
            f"@fl.job_type handlers in the module that --app names: {APP_EXAMPLE}."
        )
    return fl


def _refuse_schema(fl: "Fairlane") -> None:
    """Report errors once that every child would report again and again. Children wait for an unavailable database."""
    from fairlane.store import schema

    with suppress(StorageUnavailable):
        schema.check(fl.database)
    fl.close()


def _command(
    context: typer.Context, queues: list[str], concurrency: int, log_level: LogLevel, log_format: LogFormat
) -> list[str]:
    """Return a child's command line. The URL, which may hold a password, is in the environment.

    Several displays on one terminal would overwrite each other.
    """
    app = target_of(context).app
    assert app is not None
    command = [sys.executable, "-m", "fairlane", "--app", app, "worker", "--processes", "1", "--plain"]
    command += ["--concurrency", str(concurrency), "--log-level", log_level, "--log-format", log_format]
    return [*command, *(part for queue in queues for part in ("--queue", queue))]


def _metrics(fl: "Fairlane") -> "WorkerMetrics":
    try:
        from fairlane.cli.worker_metrics import WorkerMetrics
    except ModuleNotFoundError as error:
        raise ConfigurationError(f"Metrics need {error.name}: pip install 'fairlane[metrics]'.") from None
    return WorkerMetrics(fl.settings.metrics_organizations)


def _at_ports(commands: list[list[str]], host: str, port: int) -> list[list[str]]:
    """Give each child a port of its own: the first one this port, the others the next ones.

    Raises:
        ConfigurationError: there are not so many ports, or one is taken; every child would report it again and again.
    """
    from fairlane.cli.worker_metrics import LAST_PORT, listen

    if port + len(commands) - 1 > LAST_PORT:
        raise ConfigurationError(
            f"{len(commands)} processes need as many ports, and {port} is too near to {LAST_PORT}, the last one; name "
            "a lower one by --metrics-port."
        )
    ports = range(port, port + len(commands))
    for one in ports:
        listen(host, one).close()
    return [
        [*command, "--metrics-host", host, "--metrics-port", str(one)]
        for command, one in zip(commands, ports, strict=True)
    ]


def _named(command: list[str], name: str | None, number: int) -> list[str]:
    """Return a name for each child: host and process id, or the given name, a number and the process id."""
    return [*command, "--name", f"{name}-{number}"] if name is not None else command


def _level(level: LogLevel) -> int:
    return logging.getLevelNamesMapping()[level.upper()]

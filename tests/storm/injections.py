"""Inject faults: a plain function for each, which returns when the fault is over."""

import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import psycopg

from tests.engine.worker_outages import OwnServer, locked
from tests.storm import clock, folder, ledger
from tests.storm.faults import Fault, Injection, Planned
from tests.storm.fleet import Fleet
from tests.storm.proxy import Proxy, Silence

_HOUR: Final = 3600  # seconds
_CLOCK_LIES: Final = 10.0  # seconds
_LATENCY: Final = 0.1  # seconds, at most; half of it at least
_LATENCY_LASTS: Final = 5.0  # seconds
_DOWN: Final = 1.0  # seconds that PostgreSQL stays away at a restart, at most
_FULL_LASTS: Final = 3.0  # seconds
_TERM_PATIENCE: Final = 120.0  # seconds
_HASTE: Final = 0.05  # seconds to a second SIGTERM: sooner than most handlers end
_LOOK: Final = 0.02  # seconds
_BACKENDS: Final = """
SELECT pid, application_name FROM pg_stat_activity
WHERE application_name <> '' AND datname = current_database() ORDER BY state = 'idle', pid
"""  # those that are in the middle of something first; a worker's are called like the worker
# What a worker meets one after the other, as one of them would cut the other short. A kill may come amid any of these.
_TURNS: Final[Mapping[Fault, str]] = {
    fault: "held up" if fault in {Fault.STOP, Fault.TERM, Fault.HALF_OPEN} else fault for fault in Fault
}


@dataclass(slots=True)
class Site:
    """The targets of faults, as far as they fit the database. `lease`: of the workers, in seconds.

    `turns`: of the faults of a worker in a slot, by slot and kind.
    """

    fleet: Fleet
    url: str
    directory: Path
    lease: float
    server: OwnServer | None = None
    proxies: list[Proxy] = field(default_factory=list)
    is_over: threading.Event = field(default_factory=threading.Event)
    database: threading.Lock = field(default_factory=threading.Lock)  # one fault of the whole database at a time
    turns: dict[tuple[int, str], threading.Lock] = field(init=False)

    def __post_init__(self) -> None:
        slots = range(len(self.fleet.slots))
        self.turns = {(slot, turn): threading.Lock() for slot in slots for turn in _TURNS.values()}


def inject(site: Site, planned: Planned) -> list[Injection]:
    """Inject it, and say when and into which worker it was.

    What was cut short, as the worker ended meanwhile, is injected once more: the last one is whole.
    """
    injected = list[Injection]()
    while not (injected and not injected[-1].is_cut):
        with site.turns[planned.slot, _TURNS[planned.fault]]:
            injected.append(_WAYS[planned.fault](site, planned))
        if site.is_over.is_set():
            break
    return injected


def _kill(site: Site, planned: Planned) -> Injection:
    """Kill it amid a handler, so that there is something to rescue; after a lease without one, also idle."""
    waited = 0.0
    worker, process = site.fleet.up(planned.slot)
    while waited < site.lease and process.poll() is None and not ledger.is_busy(site.directory, worker):
        site.is_over.wait(_LOOK)
        waited += _LOOK
    began = time.monotonic()
    process.kill()
    is_cut = process.wait() != -signal.SIGKILL  # it was about to end by itself
    return Injection(Fault.KILL, worker, began, time.monotonic(), is_cut)


def _term(site: Site, planned: Planned) -> Injection:
    worker, process = site.fleet.up(planned.slot)
    began = time.monotonic()
    process.terminate()
    if planned.draw < 0.5:  # a second one ends the grace: what still runs is given back
        site.is_over.wait(_HASTE)
        process.terminate()
    is_cut = process.wait(_TERM_PATIENCE) != 0  # it was killed meanwhile, or was to be replaced
    return Injection(Fault.TERM, worker, began, time.monotonic(), is_cut)


Process = subprocess.Popen[bytes]


def _lasting(
    site: Site, planned: Planned, seconds: float, begin: Callable[[Process], None], end: Callable[[Process], None]
) -> Injection:
    """Begin a fault that lasts, and end it again; it is whole only if the worker lived through all of it."""
    worker, process = site.fleet.up(planned.slot)
    began = time.monotonic()
    begin(process)
    site.is_over.wait(seconds)
    is_cut = process.poll() is not None
    end(process)
    return Injection(planned.fault, worker, began, time.monotonic(), is_cut)


def _stop(site: Site, planned: Planned) -> Injection:
    return _lasting(
        site,
        planned,
        site.lease * (1.2 + planned.draw),
        lambda process: process.send_signal(signal.SIGSTOP),
        lambda process: process.send_signal(signal.SIGCONT),
    )


def _lie(site: Site, planned: Planned) -> Injection:
    file = site.fleet.slots[planned.slot].clock

    def shift(seconds: int) -> Callable[[Process], None]:
        return lambda _: clock.shift(file, seconds)

    return _lasting(site, planned, _CLOCK_LIES, shift(_HOUR if planned.draw < 0.5 else -_HOUR), shift(0))


def _end_backend(site: Site, planned: Planned) -> Injection:
    while True:
        began = time.monotonic()
        with suppress(psycopg.OperationalError), psycopg.connect(site.url, autocommit=True) as connection:
            backends = connection.execute(_BACKENDS).fetchall()
            # Mostly of the first ones.
            for pid, whose in backends[int(len(backends) * planned.draw**2) :][:1]:
                if connection.execute("SELECT pg_terminate_backend(%s)", [pid]).fetchone() == (True,):
                    return Injection(Fault.BACKEND, whose, began, time.monotonic())
        site.is_over.wait(_LOOK)


def _restart(site: Site, planned: Planned) -> Injection:
    return away(site, Fault.RESTART, planned.draw * _DOWN)


def away(site: Site, fault: Fault, seconds: float) -> Injection:
    """Stop PostgreSQL as a crash does, for so long."""
    assert site.server is not None
    with site.database:
        began = time.monotonic()
        site.server.stop()
        site.is_over.wait(seconds)
        starter = threading.Thread(target=site.server.start)
        starter.start()
        # It is there before the one who started it knows.
        while not _answers(site.url):
            site.is_over.wait(_LOOK)
        back = time.monotonic()
        starter.join()
        return Injection(fault, "", began, back)


def _answers(url: str) -> bool:
    try:
        psycopg.connect(url, connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True


def _half_open(site: Site, planned: Planned) -> Injection:
    proxy = site.proxies[planned.slot]

    def silence(_: Process) -> None:
        proxy.silence = Silence.ANSWERS if planned.draw < 0.5 else Silence.ALL

    return _lasting(site, planned, site.lease * (1.2 + planned.draw), silence, lambda _: proxy.cut())


def _delay(site: Site, planned: Planned) -> Injection:
    proxy = site.proxies[planned.slot]

    def delay(seconds: float) -> Callable[[Process], None]:
        return lambda _: setattr(proxy, "delay", seconds)

    return _lasting(site, planned, _LATENCY_LASTS, delay((0.5 + planned.draw / 2) * _LATENCY), delay(0.0))


def _silence(site: Site, planned: Planned) -> Injection:
    with site.database:
        began = time.monotonic()
        for proxy in site.proxies:
            proxy.hold()
        site.is_over.wait(site.lease * (1.2 + 0.8 * planned.draw))
        for proxy in site.proxies:
            proxy.go_on()
        return Injection(Fault.SILENCE, "", began, time.monotonic())


def _lock(site: Site, planned: Planned) -> Injection:
    return _locked(site, Fault.LOCK, site.lease * (0.2 + planned.draw))


def _lock_long(site: Site, planned: Planned) -> Injection:
    return _locked(site, Fault.LONG_LOCK, site.lease * (1.8 + 0.4 * planned.draw))


def _locked(site: Site, fault: Fault, seconds: float) -> Injection:
    with site.database:
        with locked(site.url):
            began = time.monotonic()
            site.is_over.wait(seconds)
        return Injection(fault, "", began, time.monotonic())


def _fill(site: Site, planned: Planned) -> Injection:
    with site.database:
        began = time.monotonic()
        folder.full_file(site.directory).touch()
        site.is_over.wait(_FULL_LASTS)
        folder.full_file(site.directory).unlink()
        return Injection(Fault.FULL, "", began, time.monotonic())


_WAYS: Final[Mapping[Fault, Callable[[Site, Planned], Injection]]] = {
    Fault.KILL: _kill,
    Fault.STOP: _stop,
    Fault.TERM: _term,
    Fault.CLOCK: _lie,
    Fault.BACKEND: _end_backend,
    Fault.RESTART: _restart,
    Fault.HALF_OPEN: _half_open,
    Fault.LATENCY: _delay,
    Fault.SILENCE: _silence,
    Fault.LOCK: _lock,
    Fault.LONG_LOCK: _lock_long,
    Fault.FULL: _fill,
}

"""Running a whole system in this process, from its state folder's lock to its last child."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from runtime.config.load import Loaded
from runtime.host.free_ports import Ports
from runtime.processes.console import Console
from runtime.processes.supervisor import Supervisor
from runtime.system import gates, home, parts
from runtime.system.address import check_address
from runtime.system.house import House
from runtime.system.start_gate import Gate

Then = Callable[[House], None]


def run(
    load: Callable[[], Loaded],
    folder: Path,
    environ: Mapping[str, str],
    console: Console,
    *,
    started: Then | None = None,
    ready: Then | None = None,
) -> int:
    """Run the whole system until it is stopped. Returns the exit code.

    `started` is called when documents and calls are taken, `ready` when every part has answered.
    The settings are loaded under the lock of the state folder: before that, `run.json` may name services that are gone.
    """
    with home.claimed(folder, console.say) as lock:
        loaded = load()
        ports = Ports(loaded.settings.home)
        settings = check_address(loaded.settings, ports)
        if settings.broker_url:
            gates.insist_on_broker(settings, environ)
        console.json = settings.logs.format == "json"
        home.label(lock, parts.gateway_url(settings))
        gate = Gate()
        supervisor = Supervisor(console, keep_open=(lock, gate.fd))

        houses: list[House] = []

        def direct(running: Supervisor) -> None:
            house = House(replace(loaded, settings=settings), environ, running, ports, gate)
            houses.append(house)
            house.start()
            if started:
                started(house)
            house.finish()
            if ready:
                ready(house)

        try:
            code = supervisor.run(direct)
        finally:
            home.forget(folder)
            for made in houses:
                made.close()
        console.say("Stopped.")
        return code

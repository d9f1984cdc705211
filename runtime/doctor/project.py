"""functions.yaml, the functions that it names, and whether they would call themselves for ever."""

from __future__ import annotations

from runtime import keys
from runtime.checks.deployment_check import misfits, unseen
from runtime.checks.loops import loops
from runtime.config.yaml_lines import show
from runtime.deployment.deployment import UNMADE
from runtime.doctor.finding import Verdicts, fail, ok, warn
from runtime.doctor.patient import Patient
from runtime.errors import ConfigError
from runtime.system import reload_state

_CHECK = "Correct it; `tundish check` tells whether all is well."


def configuration(patient: Patient) -> Verdicts:
    """functions.yaml and the environment can be read."""
    try:
        settings = patient.loaded.settings
    except ConfigError as error:
        for problem in error.problems:
            yield fail(str(problem), _CHECK)
        return
    yield ok(f"{settings.file}: {len(settings.project.functions)} functions, {len(settings.project.queues)} queues")


def functions(patient: Patient) -> Verdicts:
    """Every function can be loaded, and called as its triggers will."""
    deployment = patient.deployment
    circles = {show(path) for path, _ in loops(patient.settings.project, patient.settings.root)}
    later = unseen(deployment)
    broken = [(name, found.error) for name, found in deployment.functions.items() if found.error and name not in later]
    for name in later:
        yield warn(
            f"{name} was not looked at: {UNMADE}",
            "`tundish up` makes it, and so does `tundish reload` in a system that runs.",
        )
    for name, error in broken:
        yield fail(f"{name} cannot be loaded: {error}", _CHECK)
    for problem in misfits(deployment, patient.loaded.sources):
        if problem.path not in circles:  # those are told as feedback loops
            yield fail(str(problem), _CHECK)
    if not broken:
        yield ok(f"{len(deployment.functions) - len(later)} functions can be loaded")


def feedback(patient: Patient) -> Verdicts:
    """No function writes what calls it again, as far as can be seen before anything runs."""
    settings = patient.settings
    found = list(loops(settings.project, settings.root))
    for path, message in found:
        yield fail(f"{show(path)} {message}", _CHECK)
    if not found:
        yield ok("no function calls itself through the buckets that it writes to")


def reloaded(patient: Patient) -> Verdicts:
    """The newest change of functions.yaml or code is what runs."""
    newest = reload_state.read(patient.broker.get(keys.RELOAD))
    if newest is None or newest.ok:
        yield ok("the newest change is what runs" if newest else "nothing has changed since the start")
    else:
        yield warn(
            f"The newest change was not taken over, and the version before it still runs: {newest.message}",
            "Correct it; `tundish check` tells whether all is well. The next save is tried by itself.",
        )

"""Fixtures that every test may use: a real Valkey, a real SeaweedFS. Where one is missing the tests fail."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import redis
from starlette.testclient import TestClient

from runtime.broker import connection as broker
from runtime.config.settings import Settings, StoreSettings
from runtime.deployment.deployment import Deployment
from runtime.host.free_ports import Ports
from runtime.system import services
from tests import foreign_store, gatewaying, sharing
from tests.system import System, running_system
from tests.telling_store import TellingStore, telling_store
from tests.triggering import House
from tests.workers import deployment


def pytest_configure() -> None:
    """An example may take as long as a loaded machine needs for it; all else is as hypothesis has it (in CI, too)."""
    known = hypothesis.settings.get_profile(hypothesis.settings.get_current_profile_name())
    hypothesis.settings.register_profile("patient", known, deadline=None)
    hypothesis.settings.load_profile("patient")
    # A shell that starts this in its background has Ctrl-C ignored, and all that is started here would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=sharing.place)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Where tests are shared out by file: some files go together."""
    return sharing.by_unit(config, log) if config.getoption("dist") == "loadfile" else None


@contextlib.contextmanager
def running(service: services.Service, within: float = 60.0) -> Iterator[subprocess.Popen[bytes]]:
    """Run a service until the block ends; its output is shown when it does not come up."""
    log = service.folder / f"{service.name}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            service.argv,
            env=dict(service.environ),
            cwd=service.folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + within
        while not service.ready():
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"{service.name} did not start:\n{log.read_text(errors='replace')[-4000:]}")
            time.sleep(0.05)
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # the data is thrown away
        process.wait()
        for path in service.litter:
            path.unlink(missing_ok=True)


@pytest.fixture(scope="session")
def services_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("services")


@pytest.fixture(scope="session")
def service_ports(services_home: Path) -> Ports:
    return Ports(services_home)


@pytest.fixture(scope="session")
def broker_url(services_home: Path, service_ports: Ports) -> Iterator[str]:
    """The URL of a real Valkey that lives as long as the session."""
    credentials = services.load_credentials(services_home)
    service, url = services.valkey(services_home, service_ports, credentials, durability="fast")
    with running(service):
        yield url


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """With TUNDISH_TEST_STORE the store and bucket tests run against that server as well."""
    found = foreign_store.kinds(os.environ)
    if (
        len(found) > 1
        and "store_kind" in metafunc.fixturenames
        and metafunc.module.__name__.startswith(foreign_store.MODULES)
    ):
        metafunc.parametrize("store_kind", found, indirect=True, scope="session")


@pytest.fixture(scope="session")
def store_kind(request: pytest.FixtureRequest) -> str:
    """Which S3 server `store_settings` reaches: seaweedfs, or what TUNDISH_TEST_STORE is."""
    return str(getattr(request, "param", foreign_store.EMBEDDED))


@pytest.fixture(scope="session")
def store_settings(services_home: Path, service_ports: Ports, store_kind: str) -> Iterator[StoreSettings]:
    """How to reach a real SeaweedFS that lives as long as the session. Make buckets of your own in it."""
    credentials = services.load_credentials(services_home)
    if store_kind == foreign_store.EMBEDDED:
        service, store = services.seaweedfs(services_home, service_ports, credentials)
    else:
        binary = os.environ[foreign_store.VARIABLE]
        service, store = foreign_store.foreign(store_kind, binary, services_home, service_ports, credentials)
    with running(service):
        yield store


@pytest.fixture
def redis_client(broker_url: str) -> Iterator[redis.Redis]:
    """A client of an empty database; keys and values are bytes."""
    client = broker.connect(broker_url)
    client.flushall()
    yield client
    client.close()


@pytest.fixture
def in_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every segment is stored as files, as large ones are, and not as one object."""
    monkeypatch.setattr("runtime.index.pack.LARGEST", 0)


@pytest.fixture(scope="module")
def telling(tmp_path_factory: pytest.TempPathFactory, broker_url: str) -> Iterator[TellingStore]:
    """A SeaweedFS of the module's own whose webhooks go into the stream of events."""
    with telling_store(tmp_path_factory.mktemp("telling"), broker_url) as store, running(store.service):
        yield store


@pytest.fixture(params=["told", "listed"])
def woken(
    request: pytest.FixtureRequest,
    redis_client: redis.Redis,
    broker_url: str,
    store_kind: str,
    store_settings: StoreSettings,
    tmp_path: Path,
) -> Callable[..., House]:
    """Makes a House (tests/triggering.py) whose trigger is woken by what the store tells only, or by nothing at all.

    A SeaweedFS tells by webhook. Any other server is asked what it can do, and polled where it can do nothing.
    """
    store, options = store_settings, {"source": "poll", "rescan": 0.1}
    if request.param == "told":
        options = {"source": "auto", "rescan": None}
        if store_kind == "seaweedfs":
            store, options = request.getfixturevalue("telling").settings, {"source": "seaweedfs", "rescan": 3600.0}
    return lambda **more: House.build(redis_client, broker_url, store, tmp_path, **{**options, **more})


@pytest.fixture(scope="module")
def client(broker_url: str) -> Iterator[redis.Redis]:
    """A client for all tests of a module, of a database that was emptied before the first of them."""
    made = broker.connect(broker_url)
    made.flushall()
    yield made
    made.close()


@pytest.fixture(scope="module")
def deployed(request: pytest.FixtureRequest, broker_url: str) -> Deployment:
    """What is deployed by the functions.yaml that the module names as FILE."""
    return deployment(request.module.FILE, broker_url)


@pytest.fixture
def made(broker_url: str, redis_client: redis.Redis, tmp_path: Path) -> Settings:
    """The settings of tests/gatewaying.py, without a store."""
    return gatewaying.settings(broker_url, StoreSettings(), tmp_path)


@pytest.fixture
def web(made: Settings) -> Iterator[TestClient]:
    """A gateway with these settings."""
    with gatewaying.serving(made) as client:
        yield client


@pytest.fixture(scope="session")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A whole system over tests/samples/system, shared by all tests of the session: leave it as it was found."""
    with running_system(tmp_path_factory.mktemp("system"), "--no-reload") as found:
        yield found


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failed test of the whole system shows the end of the system's log."""
    report = yield
    found = getattr(item, "funcargs", {}).get("system")
    if report.failed and isinstance(found, System):
        report.sections.append(("log of tundish up", found.log[-8000:]))
    return report

"""What several tests share."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch  # noqa: F401 - so that no test, which may have patched the code, is answered from memory
from hypothesis import settings
from processes.tracking_server import TrackingServer

from pebench.plugins.registry import encodings, tasks

# A busy machine is no reason to fail: what is slow is for the eye to see, not for a deadline.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts its background jobs so, and every process tested here would ignore interrupts too.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="module", autouse=True)
def _what_is_there_is_no_garbage() -> None:
    """Sets aside what the collection and the modules before have left in memory. A run looks for garbage
    before it begins, among millions of objects of which none is any, and that took longer than the run."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _plugins_of_one_test() -> Iterator[None]:
    """What a test adds to the registries no other finds there."""
    before = [(registry, dict(registry._files)) for registry in (encodings, tasks)]
    yield
    for registry, files in before:
        registry._files = files


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data, which is no part of the project; tests that want it skip without it."""
    chosen = os.environ.get("PEBENCH_SHARED_DATA")
    folder = Path(chosen) if chosen else Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}; PEBENCH_SHARED_DATA names another place")
    return folder


@pytest.fixture(scope="session")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TrackingServer]:
    server = TrackingServer(tmp_path_factory.mktemp("server"))
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
def server(shared_server: TrackingServer) -> TrackingServer:
    """An MLflow server, running. All tests share it, so each makes runs that no other does."""
    shared_server.start()
    return shared_server


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder with a text in it; nothing is cached or tracked outside."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PEBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("PEBENCH_RUNS", raising=False)
    # The address of a server needs no database to be made, which would take longer than all the rest.
    monkeypatch.setenv("PEBENCH_TRACKING_URI", "http://127.0.0.1:9")
    sheep = (f"The {n}th of {n * n} sheep looked over its shoulder and said nothing.\n\n" for n in range(400))
    (tmp_path / "text.txt").write_text("".join(sheep), encoding="utf-8")
    return tmp_path


@pytest.fixture
def priced_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """An examination takes each time once, since a test does not look at how long it was."""
    monkeypatch.setattr("pebench.conformance.cost._ROUNDS", 1)


@pytest.fixture
def without_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Results have no pictures: these take four fifths of the time, and not every test looks at them."""
    monkeypatch.setattr("pebench.leaderboard.plots.PICTURES", {})

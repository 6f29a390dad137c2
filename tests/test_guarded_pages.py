"""`pebench ui` shows the runs to who has its address, and to no other user of the machine."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from specimens.run_folders import begin, finish, record_sweep, specification, text_scores

from pebench.errors import UserError
from pebench.tracking.guard import Guard
from pebench.tracking.mlflow_internals import ASSISTANT_OPENED, create_store
from pebench.tracking.server import listening

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy")

TOKEN = "a-token-of-this-test"
NOBODY = "65534"

ROUTES = (
    *("/", "/health", "/version", "/static-files/index.html", "/docs", "/openapi.json", "/graphql", "/mcp"),
    *(
        "/api/2.0/mlflow/experiments/search?max_results=5",
        "/ajax-api/2.0/mlflow/experiments/get?experiment_id=1",
    ),
    *("/api/3.0/mlflow/server-info", "/ajax-api/3.0/jobs", "/gateway/", "/v1/traces", "/get-artifact?path=a"),
    *("/ajax-api/3.0/mlflow/assistant/config", "/ajax-api/3.0/mlflow/assistant/providers"),
)


def ask(guard: Guard, path: str, query: str = "", **headers: str) -> list[dict[str, Any]]:
    """The messages that a request is answered with."""
    sent: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        sent.append(dict(message))

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    scope = {
        "type": "http",
        "method": "GET",
        "path": path,
        "query_string": query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }
    asyncio.run(guard(scope, receive, send))
    return sent


async def _behind(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"behind"})


GUARD = Guard(_behind, TOKEN, 5000)


@given(
    st.text(), st.text(alphabet=st.characters(max_codepoint=126)), st.text(st.characters(max_codepoint=126))
)
def test_nothing_passes_without_the_token(path: str, query: str, header: str) -> None:
    for headers in ({}, {"authorization": header}, {"cookie": header}, {"cookie": f"pebench-5000={header}"}):
        assert ask(GUARD, f"/{path}", query, **headers)[0]["status"] == 401


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": f"Bearer {TOKEN}"},
        {"authorization": f"bearer {TOKEN}"},
        {"cookie": f"a=b; pebench-5000={TOKEN}"},
    ],
)
def test_who_has_the_token_passes(headers: dict[str, str]) -> None:
    assert ask(GUARD, "/health", **headers)[1]["body"] == b"behind"


def test_the_cookie_of_another_port_does_not_pass() -> None:
    assert ask(GUARD, "/health", cookie=f"pebench-5001={TOKEN}")[0]["status"] == 401


def test_the_token_in_an_address_becomes_a_cookie() -> None:
    start = ask(GUARD, "//example.org", f"a=1&token={TOKEN}")[0]
    headers = dict(start["headers"])
    assert start["status"] == 302
    assert headers[b"location"] == b"/example.org?a=1", "neither the token, nor another host"
    assert headers[b"set-cookie"].startswith(f"pebench-5000={TOKEN};".encode())
    for guarded in (b"HttpOnly", b"SameSite=Strict"):
        assert guarded in headers[b"set-cookie"]
    assert ask(GUARD, "/", "token=wrong")[0]["status"] == 401


def test_a_browser_goes_on_by_a_page_that_keeps_the_pane_of_the_assistant_closed() -> None:
    start, body = ask(GUARD, "/</script>", f"a=<b>&token={TOKEN}", accept="text/html,*/*;q=0.8")
    assert (start["status"], dict(start["headers"])[b"content-type"]) == (200, b"text/html; charset=utf-8")
    page = body["body"].decode()
    assert f'localStorage.setItem("{ASSISTANT_OPENED}", "true")' in page
    assert 'location.replace("/\\u003c/script>?a=%3Cb%3E" + location.hash)' in page
    assert TOKEN not in page


def test_the_assistant_is_off_for_everybody() -> None:
    for path in ("/ajax-api/3.0/mlflow/assistant/config", "/ajax-api/3.0/mlflow/assistant"):
        assert ask(GUARD, path, authorization=f"Bearer {TOKEN}")[0]["status"] == 403


def test_other_kinds_of_connection_are_closed() -> None:
    sent = []

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(GUARD({"type": "websocket", "path": "/"}, send, send))  # type: ignore[arg-type]
    assert sent[0]["type"] == "websocket.close"


def test_a_port_that_is_taken_or_that_browsers_refuse_is_said() -> None:
    with listening(None) as opened:
        port = opened.getsockname()[1]
        with pytest.raises(UserError, match="is taken"):
            listening(port)
        with listening(None) as other:
            assert other.getsockname()[1] > port
    with pytest.raises(UserError, match="browsers refuse"):
        listening(5060)


class Shown(NamedTuple):
    process: subprocess.Popen[str]
    address: str
    table: str
    folder: Path

    @property
    def root(self) -> str:
        return self.address.partition("/?")[0]

    @property
    def token(self) -> str:
        return self.address.partition("token=")[2].partition("#")[0]

    def status(self, path: str, **headers: str) -> int:
        try:
            with urllib.request.urlopen(urllib.request.Request(self.root + path, headers=headers)) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    folder = tmp_path_factory.mktemp("ui")
    create_store(f"sqlite:///{folder / 'mlflow.db'}")
    runs = folder / "runs"
    spec = specification()
    finish(begin(runs, spec), text_scores(2.5, 3.0))
    record_sweep(runs, [spec])
    command = [sys.executable, "-m", "pebench", "ui", "--runs", str(runs)]
    without = {
        k: v for k, v in os.environ.items() if k not in ("PEBENCH_TRACKING_URI", "MLFLOW_TRACKING_URI")
    }
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=without) as process:
        try:
            assert process.stdout is not None
            address = process.stdout.readline().split()[-1]
            yield Shown(process, address, process.stdout.readline(), folder)
        finally:
            if process.poll() is None:
                process.kill()


@pytest.mark.parametrize("path", ROUTES)
def test_every_route_asks_for_the_token(shown: Shown, path: str) -> None:
    assert shown.status(path) == 401
    assert shown.status(path, Authorization="Bearer wrong") == 401


def test_another_user_of_the_machine_is_not_let_in(shown: Shown) -> None:
    path = "/ajax-api/2.0/mlflow/experiments/get?experiment_id=1"
    client = ["curl", "--silent", "--output", os.devnull, "--write-out", "%{http_code}"]
    if os.geteuid() == 0 and shutil.which("setpriv"):
        client = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", *client]
    if shutil.which("curl") is None:
        pytest.skip("there is no curl to be another user with")
    seen = [
        subprocess.check_output([*client, shown.root + route], text=True) for route in (path, *ROUTES[:3])
    ]
    assert set(seen) == {"401"}
    opened = [*client, "--header", f"Authorization: Bearer {shown.token}", shown.root + path]
    assert subprocess.check_output(opened, text=True) == "200", "the token is what was missing"


def test_the_token_is_in_no_file_and_no_list_of_processes(shown: Shown) -> None:
    assert len(shown.token) >= 32
    listed = b"".join(
        file.read_bytes() for file in Path("/proc").glob("[0-9]*/cmdline") if os.access(file, os.R_OK)
    )
    assert shown.token.encode() not in listed
    shown.status(f"/?token={shown.token}")
    for file in shown.folder.rglob("*"):
        assert not file.is_file() or shown.token.encode() not in file.read_bytes(), file


def test_the_address_opens_the_pages_and_they_end_cleanly(shown: Shown) -> None:
    cookies = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
    with cookies.open(shown.address) as answer:
        assert answer.url == f"{shown.root}/"
        assert b"<html" in answer.read()
    with cookies.open(shown.root + "/health") as answer:
        assert answer.read() == b"OK"
    assert shown.table.startswith(f"  quickstart: {shown.root}/?token={shown.token}#/experiments/1/runs")
    shown.process.send_signal(signal.SIGINT)
    assert shown.process.stdout is not None
    assert shown.process.stdout.read() == "Ended.\n"
    assert shown.process.wait() == 0
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(shown.root + "/health")

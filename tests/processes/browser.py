"""A page in the real browser, for tests of what it does there."""

from __future__ import annotations

import html
import re
import shutil
import subprocess
from pathlib import Path

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")


def told(page: str, script: str, folder: Path, width: int = 1280) -> str:
    """What a script tells that runs in a page of that width once its charts are drawn.

    Args:
        page: the text of the page.
        script: the body of an async function, which returns a text.
        folder: for the files of the browser.
        width: of the page, in CSS pixels.
    """
    before, _, after = page.rpartition("</body>")
    telling = f"""<script>drawn.then(async () => {{ {script} }}).then(
      told => parent.postMessage(told, "*"),
      wrong => parent.postMessage(`error: ${{wrong}}`, "*"))</script>"""
    (folder / "page.html").write_text(f"{before}{telling}</body>{after}", "utf-8")
    # A window has a least width, a frame within it has none.
    (folder / "frame.html").write_text(
        "<script>addEventListener('message', message => document.title = 'told ' + message.data)</script>"
        f"<iframe src='page.html' width='{width}' height='900'></iframe>",
        "utf-8",
    )
    assert CHROMIUM is not None
    shown = subprocess.run(
        [
            *(CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"),
            *("--virtual-time-budget=20000", "--window-size=1400,1000"),
            *(f"--user-data-dir={folder / 'profile'}", f"file://{folder / 'frame.html'}"),
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    found = re.search(r"<title>told (.*?)</title>", shown, re.DOTALL)
    assert found is not None, shown[:2000]
    return html.unescape(found[1])

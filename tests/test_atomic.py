"""A file is written whole or not at all: under exceptions, beside other writers, when a writer is killed."""

from __future__ import annotations

import errno
import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from processes.waiting import until

from pebench import atomic

KILLS = 6
VERSIONS = 50


def content(version: int) -> str:
    """A text too long to be written at once, whose every line names its version."""
    return f"version {version}\n" * 20_000


WRITER = """
import sys, itertools
from pathlib import Path
from pebench import atomic
print("ready", flush=True)
for version in itertools.count():
    atomic.write_text(Path(sys.argv[1]), f"version {version % 50}\\n" * 20_000)
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file with something in it, alone in its folder."""
    path = tmp_path / "file.json"
    path.write_text("old")
    return path


def alone(path: Path) -> bool:
    """Whether nothing but the file is in its folder."""
    return [*path.parent.iterdir()] == [path]


def test_the_new_content_is_there_when_the_block_ends_and_not_before(file: Path) -> None:
    with atomic.replacing(file) as temporary:
        temporary.write_text("new")
        assert temporary.parent == file.parent
        assert file.read_text() == "old"
    assert file.read_text() == "new"
    assert alone(file)


@pytest.mark.parametrize("error", [ValueError, OSError, KeyboardInterrupt, SystemExit])
def test_an_exception_leaves_the_old_content_and_nothing_else(file: Path, error: type[BaseException]) -> None:
    def write() -> None:
        with atomic.replacing(file) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(error):
        write()
    assert file.read_text() == "old"
    assert alone(file)


def test_a_block_that_writes_nothing_is_an_error_and_leaves_the_old_content(file: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic.replacing(file):
        pass
    assert file.read_text() == "old"
    assert alone(file)


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        atomic.write_text(tmp_path / "absent" / "file.txt", "new")
    assert not (tmp_path / "absent").exists()


@pytest.mark.parametrize("value", [float("nan"), [float("inf")], {"key": object()}])
def test_what_json_lacks_is_refused_and_leaves_the_old_content(file: Path, value: object) -> None:
    with pytest.raises((ValueError, TypeError)):
        atomic.write_json(file, value)
    assert file.read_text() == "old"
    assert alone(file)


def test_equal_values_give_equal_bytes_whatever_their_order(tmp_path: Path) -> None:
    atomic.write_json(tmp_path / "one.json", {"b": [1.5, None], "a": {"y": "ü", "x": True}})
    atomic.write_json(tmp_path / "other.json", {"a": {"x": True, "y": "ü"}, "b": [1.5, None]})
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "other.json").read_bytes()


# The folder is the same for every example, as is the file, which each of them replaces.
repeated = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50
)

# A test before this one may have told the processor to round the smallest numbers to zero.
decimals = st.floats(allow_nan=False, allow_infinity=False, allow_subnormal=False)
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False, allow_subnormal=False)
    | st.text()
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8
)


@repeated
@given(text=st.text())
def test_any_text_comes_back_as_it_was_line_endings_included(file: Path, text: str) -> None:
    atomic.write_text(file, text)
    assert file.read_bytes().decode("utf-8") == text


@repeated
@given(value=values)
def test_any_json_value_comes_back_as_it_was(file: Path, value: object) -> None:
    atomic.write_json(file, value)
    assert json.loads(file.read_bytes()) == value


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    """A file that holds version 0."""
    path = tmp_path / "text.txt"
    path.write_text(content(0), encoding="utf-8")
    return path


def writer(path: Path) -> subprocess.Popen[str]:
    """A process that writes one version after another, and has begun."""
    command = [sys.executable, "-c", WRITER, str(path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def test_a_killed_writer_leaves_a_whole_version_and_hinders_nobody(texts: Path) -> None:
    whole = {content(version) for version in range(VERSIONS)}
    seen = {content(0)}
    for kill in range(KILLS):
        with writer(texts) as process:
            if kill == KILLS - 1:
                # Before, each may have been killed while it waited for a core.
                until(lambda: texts.read_text("utf-8") != content(0))
            time.sleep(0.02 + 0.013 * kill)
            process.kill()
        found = texts.read_text("utf-8")
        assert found in whole
        seen.add(found)
    assert len(seen) > 1, "the writers were killed before they wrote"
    atomic.write_text(texts, "the end\n")
    assert texts.read_text("utf-8") == "the end\n"


def test_a_reader_beside_two_writers_sees_whole_versions_only(texts: Path) -> None:
    whole = {content(version) for version in range(VERSIONS)}
    seen: set[str] = set()

    def several_versions() -> bool:
        seen.update(texts.read_text("utf-8") for _ in range(300))
        return len(seen) > 1

    with writer(texts) as one, writer(texts) as other:
        until(several_versions)
        assert one.poll() is None and other.poll() is None, "a writer stumbled over the other"  # noqa: PT018
        one.kill()
        other.kill()
    assert seen <= whole


def test_an_error_of_the_system_names_the_file_that_was_to_be_written(file: Path) -> None:
    with pytest.raises(OSError, match=re.escape(f"full: '{file}'")), atomic.replacing(file):
        raise OSError(errno.ENOSPC, "full")
    with pytest.raises(OSError, match=re.escape(f"denied: '{file}'")), atomic.replacing(file) as temporary:
        raise PermissionError(errno.EACCES, "denied", str(temporary))
    with pytest.raises(FileNotFoundError, match="'another'"), atomic.replacing(file):
        raise FileNotFoundError(errno.ENOENT, "not there", "another")

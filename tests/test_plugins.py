"""Encodings and tasks come from outside: a file named on the command line, or an installed package."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from processes.mistakes import sentence
from specimens.tiny_sweeps import tiny, write

from pebench.command_line.main import main
from pebench.errors import UserError
from pebench.plugins.named_files import plugin_files
from pebench.plugins.registry import encodings, load_plugin, tasks
from pebench.resolve import resolve
from pebench.store.run_folder import RunFolder
from pebench.store.sweep_records import read_sweeps
from pebench.sweeping.sweep import load_sweep

OUTSIDE = Path(__file__).parent / "outside_package"

ENCODING = (OUTSIDE / "src/pebench_outside/parity.py").read_text("utf-8")
TASK = (OUTSIDE / "src/pebench_outside/sequences.py").read_text("utf-8")
SHORT = {"language-modeling": {"extent": 16, "evaluate": [16]}}


@pytest.fixture(autouse=True)
def _no_plugins_before_or_after(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encodings, "_files", {})
    monkeypatch.setattr(tasks, "_files", {})


def written(folder: Path, name: str, source: str) -> Path:
    """A plugin file."""
    path = folder / name
    path.write_text(source, encoding="utf-8")
    return path


def test_an_encoding_from_a_file_is_listed_shown_and_resolved(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = written(tmp_path, "odd_ones.py", ENCODING)
    assert main(["--plugin", str(file), "list", "encodings"]) == 0
    assert "odd-ones" in capsys.readouterr().out
    assert main(["--plugin", str(file), "show", "odd-ones"]) == 0
    assert str(file) in capsys.readouterr().out
    spec = resolve({"odd-ones": {"scale": 2.0}}, SHORT)
    assert spec.encoding.options == {"scale": 2.0}
    assert spec.plugins == {"odd_ones.py": hashlib.sha256(file.read_bytes()).hexdigest()}
    assert plugin_files(spec) == {"odd_ones.py": file.read_bytes()}


def test_a_task_from_a_file_is_listed_shown_and_resolved(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = written(tmp_path, "whole-ones.py", TASK)
    assert main(["--plugin", str(file), "list", "tasks"]) == 0
    listed = capsys.readouterr().out
    assert "whole-ones" in listed
    assert "sequences" in listed
    assert main(["--plugin", str(file), "show", "whole-ones"]) == 0
    assert str(file) in capsys.readouterr().out
    spec = resolve("rope", {"whole-ones": SHORT["language-modeling"]})
    assert spec.task.name == "whole-ones"
    assert [*spec.plugins] == ["whole-ones.py"]


def test_several_files_come_in_together(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = written(tmp_path, "odd_pair.py", ENCODING)
    other = written(tmp_path, "whole_pair.py", TASK)
    assert main(["--plugin", str(one), "--plugin", str(other), "list"]) == 0
    listed = capsys.readouterr().out
    assert "odd-pair" in listed
    assert "whole-pair" in listed


def test_what_a_plugin_says_changes_the_identity_of_a_run(tmp_path: Path) -> None:
    file = written(tmp_path, "changing.py", ENCODING)
    load_plugin(file)
    before = resolve("changing", SHORT).run_id
    file.write_text(ENCODING + "\n# another version\n", encoding="utf-8")
    assert resolve("changing", SHORT).run_id != before


def test_a_copy_of_a_plugin_is_the_same_plugin_and_another_file_is_not(tmp_path: Path) -> None:
    load_plugin(written(tmp_path, "copied.py", ENCODING))
    (tmp_path / "elsewhere").mkdir()
    copy = written(tmp_path / "elsewhere", "copied.py", ENCODING)
    load_plugin(copy)
    copy.write_text(ENCODING + "\n# another version\n", encoding="utf-8")
    with pytest.raises(UserError, match="two encodings are named 'copied': ") as caught:
        load_plugin(copy)
    assert str(tmp_path / "copied.py") in str(caught.value)
    assert str(copy) in str(caught.value)


@pytest.mark.parametrize(
    ("name", "source", "registry_file"),
    [("rope.py", ENCODING, "rope.py"), ("language_modeling.py", TASK, "language_modeling.py")],
    ids=["encoding", "task"],
)
def test_a_name_that_is_taken_is_refused_with_both_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, source: str, registry_file: str
) -> None:
    file = written(tmp_path, name, source)
    told = sentence(["--plugin", str(file), "list"], capsys)
    kind = "encoding" if source is ENCODING else "task"
    taken = (encodings if kind == "encoding" else tasks).origin(Path(name).stem.replace("_", "-")).file
    assert f"two {kind}s are named '{Path(name).stem.replace('_', '-')}': {taken} and {file}." in told


@pytest.mark.parametrize(
    ("name", "source", "reason"),
    [
        ("neither.py", "answer = 42\n", "defines neither a PositionEncoding nor a Task."),
        ("lacking.py", "import a_module_that_nobody_has\n", "No module named 'a_module_that_nobody_has'"),
        ("unfinished.py", "class Unfinished(\n", "SyntaxError"),
        ("failing.py", "raise ValueError('not today')\n", "ValueError: not today"),
        ("wordy.py", "raise ValueError('not today\\nnor tomorrow')\n", "ValueError: not today nor tomorrow"),
        ("leaving.py", "import sys\nsys.exit(3)\n", "SystemExit: 3"),
        ("notes.txt", "Not Python.\n", "not a Python file"),
    ],
)
def test_a_file_that_is_no_plugin_is_one_sentence_with_its_path(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, source: str, reason: str
) -> None:
    file = written(tmp_path, name, source)
    told = sentence(["--plugin", str(file), "list"], capsys)
    assert str(file) in told
    assert reason in told


def test_a_file_with_two_encodings_is_refused_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    twice = ENCODING + "\n\nclass Another(ParityEncoding):\n    pass\n"
    file = written(tmp_path, "two.py", twice)
    told = sentence(["--plugin", str(file), "list"], capsys)
    assert f"{file} must define one PositionEncoding, but defines 2." in told


def test_a_file_that_is_not_there_and_a_folder_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in (tmp_path / "absent.py", tmp_path):
        assert f"no plugin file at {path}." in sentence(["--plugin", str(path), "list"], capsys)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the outside package, installed by pip as a user installs it."""
    target = tmp_path_factory.mktemp("site")
    install = ["install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--target"]
    subprocess.run([sys.executable, "-m", "pip", *install, target, OUTSIDE], check=True)
    return target


def outside(folder: Path, cwd: Path, *arguments: str) -> str:
    """What Python prints with `folder` on its path, started in another folder."""
    done = started(folder, cwd, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def started(folder: Path, cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Python with `folder` on its path, started in another folder, once it has ended."""
    path = os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "PYTHONPATH": path, "COLUMNS": "120", "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *arguments], env=environment, cwd=cwd, capture_output=True, text=True, check=False
    )


def test_an_installed_package_brings_in_an_encoding_and_a_task(installed: Path, tmp_path: Path) -> None:
    listed = outside(installed, tmp_path, "-m", "pebench", "list")
    for line in ("outside-parity", "[pebench-outside 1.2.3]", "outside-sequences", "sequences"):
        assert line in listed
    shown = outside(installed, tmp_path, "-m", "pebench", "show", "outside-parity")
    assert "provided by     pebench-outside 1.2.3" in shown
    assert str(installed / "pebench_outside" / "parity.py") in shown


def test_what_an_installed_package_brings_in_is_known_without_an_import(
    installed: Path, tmp_path: Path
) -> None:
    code = (
        "import sys; from pebench.plugins.registry import encodings;"
        "print(encodings.literals('outside-parity')['acts'], 'pebench_outside' in sys.modules)"
    )
    assert outside(installed, tmp_path, "-c", code) == "I False\n"


RESOLVED = """
import os, sys
import torch._dynamo  # which sizes of tensors without data take
import pebench.tasks.language_modeling
from pebench.resolve import resolve
for site, name in zip(sys.argv[1::2], sys.argv[2::2]):
    if os.fork() == 0:
        sys.path.insert(0, site)
        spec = resolve(name, {"language-modeling": {"extent": 16, "evaluate": [16]}})
        print(spec.run_id, spec.packages, flush=True)
        os._exit(0)
    assert os.wait()[1] == 0
"""
"""Prints what each encoding is, in a process apart with a folder on its path; PyTorch is imported once."""


def test_what_an_installed_package_holds_changes_the_identity_of_a_run(
    installed: Path, tmp_path: Path
) -> None:
    sites = {
        name: shutil.copytree(installed, tmp_path / name)
        for name in ("touched", "formula", "other-formula", "later")
    }
    (sites["touched"] / "pebench_outside" / "sequences.py").touch()
    for name, change in {"formula": "a = 1\n", "other-formula": "a = 2\n"}.items():
        (sites[name] / "pebench_outside" / "formula.py").write_text(change)
    (about,) = sites["later"].glob("*.dist-info")
    metadata = (about / "METADATA").read_text().replace("Version: 1.2.3", "Version: 1.2.4")
    (about / "METADATA").write_text(metadata)
    asked = [(installed, "rope"), *((site, "outside-parity") for site in (installed, *sites.values()))]
    arguments = (str(part) for pair in asked for part in pair)
    rope, as_it_is, touched, *changed = outside(tmp_path, tmp_path, "-c", RESOLVED, *arguments).splitlines()
    assert rope.endswith(" {}")
    assert "'pebench-outside 1.2.3': '" in as_it_is
    assert touched == as_it_is
    assert len({line.split()[0] for line in (as_it_is, *changed)}) == 4


def test_a_run_is_not_continued_with_another_version_of_its_package(installed: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    shutil.copytree(installed, site)
    make = (
        "from pathlib import Path; from pebench.resolve import resolve;"
        "from pebench.store.run_folder import RunFolder;"
        "spec = resolve('outside-parity', 'language-modeling');"
        "RunFolder(Path('runs', spec.run_id)).create(spec, {}); print(spec.run_id)"
    )
    run = outside(site, tmp_path, "-c", make).strip()
    load = (
        "import sys; from pebench.running.plugins import load_plugins;"
        "from pathlib import Path; from pebench.store.run_folder import RunFolder;"
        "folder = RunFolder(Path('runs', sys.argv[1]));"
        "load_plugins(folder, folder.spec())"
    )
    assert outside(site, tmp_path, "-c", load, run) == ""
    (site / "pebench_outside" / "sequences.py").write_text("# gone\n")
    said = started(site, tmp_path, "-c", load, run).stderr
    assert f"run '{run}' was asked for with pebench-outside 1.2.3, which has other files here" in said


def test_an_installed_encoding_trains_on_an_installed_task(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("The sheep looked over its shoulder.\n\n" * 400, encoding="utf-8")
    sizes = {"model.width": 16, "model.heads": 2, "model.layers": 1, "train.steps": 2, "train.batch": 2}
    task = {"data": tmp_path / "text.txt", "extent": 16, "evaluate": "[16]", "tokens": 64}
    settings = {**sizes, **{f"task.{key}": value for key, value in task.items()}}
    assignments = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    chosen = ["--encoding", "outside-parity", "--task", "outside-sequences", "--runs", str(tmp_path / "runs")]
    outside(installed, tmp_path, "-m", "pebench", "run", *chosen, *assignments)
    (result,) = tmp_path.glob("runs/*/result.json")
    found = json.loads(result.read_text("utf-8"))
    assert found["status"] == "done"
    assert found["cost"]["item"] == "sequences"
    assert found["cost"]["encoding_parameters"] == 16


def test_a_retry_takes_the_plugins_of_the_runs_and_leaves_out_runs_that_are_gone(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = written(place, "odd_ones.py", ENCODING)
    path = write(place, tiny(place, encodings=["odd-ones", "none"], plugins=[file.name]))
    runs = place / "runs"
    broken, gone = (RunFolder(runs / run) for run in load_sweep(path).record().runs)
    for folder in (broken, gone):
        folder.metrics.mkdir(parents=True)
    assert main(["submit", str(path)]) == 1
    broken.metrics.rmdir()
    file.unlink()
    shutil.rmtree(gone.path)
    monkeypatch.setattr(encodings, "_files", {})
    capsys.readouterr()
    assert main(["retry", "tiny"]) == 0
    assert "1 of 2 runs of sweep 'tiny' have no folder any more" in capsys.readouterr().err
    assert broken.result() is not None
    (record,) = read_sweeps(runs)
    assert record.runs == (broken.run_id, gone.run_id), "the sweep is still what was submitted"


BEGIN = (
    "from pebench.position_encoding import Geometry, PositionEncoding\n\n\n"
    "class Odd(PositionEncoding):\n    '''One.'''\n\n"
)


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (
            "    def __init__(self) -> None:\n        pass\n",
            "Odd() takes nothing, and must take the geometry",
        ),
        (
            "    def __init__(self, geometry: Geometry) -> None:\n        1 / 0\n",
            "odd.py, line 8) ended in 'Zero",
        ),
        (
            "    def __init__(self, geometry: Geometry) -> None:\n        raise ValueError('no heads.')\n",
            "odd.py, line 8).\n",
        ),
        (
            "    def limit(self) -> int:\n        return nothing\n",
            'odd.py, line 8) ended in "NameError: name',
        ),
        ("    axes = 1\n", "'axes' is a tuple, as (1,), and not 1"),
        ("    causal_only = 'yes'\n", "'causal_only' is a bool, as False, and not 'yes'"),
        ("    acts = 'Q'\n", "'acts' is made of the letters IRBCTW, and not of 'Q'"),
        ("    axes = ('1',)\n", "'axes' holds values of type int alone, and is ('1',)"),
        (
            "    def __init__(self, geometry: Geometry) -> None:\n        self.size = 3\n",
            "encoding 'odd': its constructor must begin with 'super().__init__(geometry)'.",
        ),
        ("    claims = (1,)\n", "'claims' holds values of type str alone, and is (1,)"),
    ],
    ids=[
        "no geometry",
        "constructor",
        "refusal",
        "hook",
        "axes",
        "fact",
        "letter",
        "element",
        "no base",
        "claims",
    ],
)
def test_an_error_in_a_plugin_is_one_sentence_with_its_line(
    place: Path, capsys: pytest.CaptureFixture[str], body: str, told: str
) -> None:
    file = written(place, "odd.py", BEGIN + body)
    write(place, tiny(place, encodings=["odd"], plugins=[str(file)]))
    assert told in sentence(["submit", "tiny.yaml", "--cluster", "inline"], capsys)


def test_a_task_that_lacks_what_its_base_leaves_open_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = "from pebench.task import Task\n\n\nclass Half(Task):\n    axes = 1\n"
    file = written(tmp_path, "half.py", source)
    told = sentence(["--plugin", str(file), "show", "half"], capsys)
    assert "half.py: Half lacks 'Model', 'Options', " in told
    assert "'axes'" not in told


def test_what_cannot_be_built_cannot_be_checked_either(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = written(
        tmp_path, "odd.py", BEGIN + "    def __init__(self, geometry: Geometry) -> None:\n        1 / 0\n"
    )
    assert "odd.py, line 8) ended in 'Zero" in sentence(["check", str(file)], capsys)


def test_an_error_of_pebench_itself_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pebench.errors.unknown", lambda *arguments: 1 / 0)
    monkeypatch.setattr("pebench.plugins.registry.unknown", lambda *arguments: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main(["show", "nothing"])

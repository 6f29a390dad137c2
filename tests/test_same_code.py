"""A job runs the code that it was submitted with, or says which part of it is another now."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from specimens.tiny_sweeps import load

import pebench.encodings
import pebench.tasks
from pebench.errors import UserError
from pebench.running import source_code
from pebench.store.run_folder import RunFolder
from pebench.submission import submissions
from pebench.submission.cells import execute_cell
from pebench.submission.same_code import require_same_code
from pebench.submission.status import statuses
from pebench.submission.stop_on_signal import StopOnSignal
from pebench.submission.submit import submit
from pebench.sweeping.sweep import Sweep


@pytest.fixture
def sweep(place: Path, monkeypatch: pytest.MonkeyPatch) -> Sweep:
    """A sweep that was submitted; this process carries its submission out."""
    sweep = load(place, encodings=["rope"])
    (begun,) = submit(sweep, place / "runs", "inline").submissions
    monkeypatch.setenv("SUBMITIT_FOLDER", str(begun.folder(place / "runs")))
    return sweep


def folder_of(place: Path, sweep: Sweep) -> RunFolder:
    return RunFolder(place / "runs" / sweep.record().runs[0])


def edited(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, **files: str) -> None:
    """Lets files be what they are not."""
    before = source_code._files()
    for name, text in files.items():
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.py"
        path.write_text(text)
        before[name] = path
    monkeypatch.setattr(source_code, "_files", lambda: before)


def test_a_submission_holds_its_code(place: Path, sweep: Sweep) -> None:
    (record,) = place.glob("runs/.submitit/*/code.json")
    kept = source_code.Code.model_validate_json(record.read_bytes())
    assert kept == source_code.installed()
    assert {
        "encodings/rope.py",
        "tasks/language_modeling.py",
        "pebench/models/decoder.py",
    } <= kept.files.keys()
    assert not [name for name in kept.files if name.startswith(("pebench/leaderboard/", "pebench/commands/"))]
    if kept.dirty:
        assert (record.parent / "changes.diff").read_text().startswith("diff --git")


def test_unchanged_code_runs(place: Path, sweep: Sweep) -> None:
    folder = folder_of(place, sweep)
    result = execute_cell(folder, sweep.execution, StopOnSignal())
    assert result is not None
    assert result.status == "done"
    attempts = folder.provenance()["attempts"]
    assert [attempt["code"] for attempt in attempts] == [source_code.installed().digest]


def test_changed_code_is_refused_by_name_and_a_new_submit_takes_it(
    place: Path, sweep: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = folder_of(place, sweep)
    edited(monkeypatch, tmp_path, **{"encodings/rope.py": "# edited", "pebench/store/scores.py": "# edited"})
    with pytest.raises(UserError, match=r"for encodings/rope.py, pebench/store/scores.py changed since"):
        execute_cell(folder, sweep.execution, StopOnSignal())
    (cell,) = statuses(place / "runs", [folder.run_id])
    assert cell.state == "failed"
    assert "'pebench submit' submits the cell again" in cell.detail
    (begun,) = submit(sweep, place / "runs", "inline").submissions
    monkeypatch.setenv("SUBMITIT_FOLDER", str(begun.folder(place / "runs")))
    require_same_code(folder)


def test_what_a_run_does_not_depend_on_may_change(
    place: Path, sweep: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    edited(monkeypatch, tmp_path, **{"encodings/alibi.py": "# edited", "encodings/my_new.py": "# new"})
    require_same_code(folder_of(place, sweep))


def imports(path: Path) -> Iterator[str]:
    """Modules and names that a source imports, inside functions too, and those that it names in a text."""
    typing_alone = set()
    for node in ast.walk(tree := ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            typing_alone |= {*ast.walk(node)}
    for node in {*ast.walk(tree)} - typing_alone:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (node.module, *(f"{node.module}.{alias.name}" for alias in node.names))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value.partition(":")[0]


def test_code_is_compared_where_a_run_imports_it_and_no_room_else() -> None:
    package = Path(pebench.__file__).parent
    files = {
        ".".join(["pebench", *path.relative_to(package).with_suffix("").parts]).removesuffix(
            ".__init__"
        ): path
        for path in package.rglob("*.py")
    }
    del files["pebench"]  # It names the functions for Python, which are imported when they are used.
    plugins = [*pebench.encodings.__path__, *pebench.tasks.__path__]
    waiting = [name for name in files if name.startswith("pebench.running.")]
    waiting += [name for folder in plugins for path in Path(folder).rglob("*.py") for name in imports(path)]
    reached = set[str]()
    while waiting:
        name = waiting.pop()
        if name in files and name not in reached:
            reached.add(name)
            waiting += [name.rpartition(".")[0], *imports(files[name])]
    compared = {name for name in source_code.installed().files if name.startswith("pebench/")}
    needed = {f"pebench/{files[name].relative_to(package).as_posix()}" for name in reached}
    needed -= {"pebench/encodings/__init__.py", "pebench/tasks/__init__.py"}
    assert needed <= compared
    assert compared - needed == {"pebench/__init__.py"}


@pytest.mark.parametrize(
    ("encoding", "file"),
    [
        ("rope + ssmax", "encodings/ssmax.py"),
        ("dape", "encodings/kerple.py"),
        ("seqpe", "encodings/seqpe/encoder.py"),
    ],
    ids=["a part", "what it imports", "a file of its package"],
)
def test_all_that_an_encoding_is_made_of_is_compared(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoding: str, file: str
) -> None:
    (spec,) = load(place, encodings=[encoding]).cells
    before = source_code.installed()
    assert file in before.files
    edited(monkeypatch, tmp_path, **{file: "# edited"})
    assert source_code.changes(before, source_code.installed(), spec) == [file]


def test_another_torch_is_other_code(place: Path, sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    newer = {**source_code.packages(), "torch": "9.0"}
    monkeypatch.setattr(source_code, "packages", lambda: newer)
    with pytest.raises(UserError, match=r"torch .* → 9.0 changed since"):
        require_same_code(folder_of(place, sweep))


def test_outside_of_a_submission_there_is_nothing_to_compare(place: Path) -> None:
    sweep = load(place, encodings=["rope"])
    submissions.begin(place / "runs", "inline", "tiny", [sweep.record().runs[0]])
    require_same_code(folder_of(place, sweep))


def test_a_patch_holds_edited_and_new_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def git(*arguments: str) -> None:
        source_code._git(tmp_path, "-c", "user.name=n", "-c", "user.email=e@example.org", *arguments)

    git("init", "--quiet")
    (tmp_path / "encodings").mkdir()
    (tmp_path / "encodings" / "rope.py").write_text("one\n")
    git("add", ".")
    git("commit", "--quiet", "-m", "first")
    monkeypatch.setattr(source_code, "_root", lambda: tmp_path)
    assert source_code.patch() == ""
    (tmp_path / "encodings" / "rope.py").write_text("two\n")
    (tmp_path / "encodings" / "mine.py").write_text("new\n")
    assert source_code.commit()[1]
    for line in ("-one", "+two", "+new", "+++ b/encodings/mine.py"):
        assert line in source_code.patch().splitlines()

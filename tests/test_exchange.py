"""What `pebench export` and `import` promise: the same results elsewhere, and no harm from strangers."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from specimens.run_folders import begin, finish, record_sweep, specification, text_scores

from pebench.command_line.main import main
from pebench.errors import UserError
from pebench.exchange import export, receive
from pebench.leaderboard import from_runs, make_board, write_leaderboard
from pebench.specification.run_spec import RunSpec, Start
from pebench.store.records import CurvePoint, Sample
from pebench.store.run_folder import RunFolder
from pebench.store.sweep_records import read_sweeps
from pebench.sweeping.recorded import recorded_sweeps


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A sweep of four cells, of which one has not begun."""
    folder = tmp_path / "runs"
    for spec in CELLS[:3]:
        finish(begin(folder, spec), text_scores(2.0 + spec.seed / 10, 3.0))
        (folder / spec.run_id / "model.safetensors").write_bytes(b"weights")
        (folder / spec.run_id / "classes.json").write_text('["a", "b"]')
        RunFolder(folder / spec.run_id).append_sample(Sample(time=1.0, values={"cpu-percent": 99.0}))
        RunFolder(folder / spec.run_id).append_to_curve(CurvePoint(step=10, items=100, scores=()))
    RunFolder(folder / CELLS[3].run_id).create(CELLS[3], {})
    record_sweep(folder, CELLS)
    return folder


CELLS = [specification(name, seed) for name in ("rope", "alibi") for seed in (0, 1)]


def packed(runs: Path, name: str = "quickstart.tar.zst", weights: bool = False) -> Path:
    archive = runs.parent / name
    export(runs, recorded_sweeps(runs, ["quickstart"]), archive, weights)
    return archive


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".import.lock"
    }


@pytest.mark.parametrize("name", ["a.tar.zst", "a.tar.xz", "a.tar.gz"])
def test_what_is_exported_and_imported_gives_the_same_tables(runs: Path, tmp_path: Path, name: str) -> None:
    there = tmp_path / "there"
    received = receive(packed(runs, name), there)
    assert sorted(received.added) == sorted(spec.run_id for spec in CELLS)
    tables = []
    for folder in (runs, there):
        (collection,) = from_runs(folder, ["quickstart"])
        tables.append(files(write_leaderboard(make_board(collection), tmp_path / folder.name / "results")))
    assert tables[0] == tables[1]
    for kept in ("metrics.jsonl", "system.jsonl", "curve.jsonl", "classes.json", "provenance.json"):
        assert (there / CELLS[0].run_id / kept).read_bytes() == (runs / CELLS[0].run_id / kept).read_bytes()
    assert not list(there.glob("*/model.safetensors"))
    assert not list(there.glob(".import-*"))


def test_weights_travel_when_asked_for(runs: Path, tmp_path: Path) -> None:
    kept = RunFolder(runs / CELLS[0].run_id).weights_after(10)
    kept.parent.mkdir()
    kept.write_bytes(b"earlier weights")
    receive(packed(runs, weights=True), tmp_path / "there")
    there = RunFolder(tmp_path / "there" / CELLS[0].run_id)
    assert there.weights.read_bytes() == b"weights"
    assert there.weights_after(10).read_bytes() == b"earlier weights"
    begun = tmp_path / "begun"
    for spec in CELLS:
        RunFolder(begun / spec.run_id).create(spec, {})
    receive(packed(runs, weights=True), begun)
    assert RunFolder(begun / CELLS[0].run_id).weights_after(10).read_bytes() == b"earlier weights"


def test_a_cell_that_is_started_again_while_it_is_exported_stops_nothing(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = RunFolder(runs / CELLS[3].run_id)
    failed.write_failure("it broke")
    digest = hashlib.file_digest

    def meanwhile(*arguments: Any) -> Any:
        failed.clear_failure()
        return digest(*arguments)

    monkeypatch.setattr("hashlib.file_digest", meanwhile)
    exported = export(runs, recorded_sweeps(runs, ["quickstart"]), tmp_path / "a.tar.gz")
    assert exported == (4, 3, 0, ())
    there = tmp_path / "there"
    receive(tmp_path / "a.tar.gz", there)
    failure = RunFolder(there / failed.run_id).failure()
    assert failure is not None
    assert failure.message == "it broke", "as it was when its turn came"


@pytest.mark.parametrize("moment", ["hashlib.file_digest", "tarfile.TarFile.addfile"])
def test_of_a_run_that_vanishes_while_it_is_exported_the_specification_is_left(
    runs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    moment: str,
) -> None:
    gone = runs / CELLS[1].run_id
    before = hashlib.file_digest if moment.startswith("hashlib") else tarfile.TarFile.addfile

    def meanwhile(*arguments: Any) -> Any:
        if gone.exists():
            gone.rename(tmp_path / "gone")
        return before(*arguments)

    monkeypatch.setattr(moment, meanwhile)
    archive = tmp_path / "a.tar.gz"
    assert main(["export", "quickstart", "-o", str(archive), "--runs", str(runs)]) == 0
    said = capsys.readouterr().out
    assert "4 runs, 2 of them finished" in said
    assert said.endswith(f"by specification alone, as files vanished meanwhile: {gone.name}\n")
    there = tmp_path / "there"
    receive(archive, there)
    assert sorted(path.name for path in (there / gone.name).iterdir()) == ["spec.json"]
    assert sum(RunFolder(there / spec.run_id).is_finished for spec in CELLS) == 2


def test_a_log_that_grows_while_it_is_exported_spoils_no_archive(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = hashlib.file_digest

    def meanwhile(*arguments: Any) -> Any:
        found = digest(*arguments)
        for spec in CELLS[:3]:
            RunFolder(runs / spec.run_id).append_sample(Sample(time=2.0, values={"cpu-percent": 1.0}))
        return found

    monkeypatch.setattr("hashlib.file_digest", meanwhile)
    there = tmp_path / "there"
    receive(packed(runs), there)
    assert len(list(RunFolder(there / CELLS[2].run_id).samples())) > 0


def test_weights_that_were_left_out_can_come_later(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    elsewhere = tmp_path / "elsewhere"
    receive(packed(runs), elsewhere)
    (elsewhere / CELLS[1].run_id / "model.safetensors").write_bytes(b"own")
    before = files(elsewhere)
    later = packed(runs, "later.tar.zst", weights=True)
    assert main(["import", str(later), "--runs", str(elsewhere)]) == 0
    assert "2 of these got the weights that they lacked here" in capsys.readouterr().out
    added = {f"{CELLS[number].run_id}/model.safetensors": b"weights" for number in (0, 2)}
    assert files(elsewhere) == before | added, "what is here stays"


def test_who_leaves_out_weights_that_cells_begin_with_is_told(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start = Start(run=CELLS[0].run_id, group=CELLS[0].group, label="the first", extent=(128,))
    later = CELLS[0].model_copy(update={"start": start})
    RunFolder(runs / later.run_id).create(later, {})
    record_sweep(runs, [*CELLS, later])
    for options, said in (([], "1 that is not finished begins with weights"), (["--weights"], "")):
        assert (
            main(["export", "quickstart", "-o", str(runs.parent / "a.tar.gz"), "--runs", str(runs), *options])
            == 0
        )
        err = capsys.readouterr().err
        assert said in err if said else not err


def test_an_archive_is_the_same_whenever_it_is_written(runs: Path) -> None:
    for name in ("a.tar.zst", "a.tar.xz", "a.tar.gz"):
        first = packed(runs, name).read_bytes()
        os.utime(runs / CELLS[0].run_id / "result.json", (1, 1))
        assert packed(runs, name).read_bytes() == first


@pytest.mark.parametrize("name", ["spec.json", "result.json", "provenance.json", "examples.npz"])
@pytest.mark.parametrize("damaged", [b"[]", None])
def test_a_run_that_is_damaged_is_no_part_of_an_archive(runs: Path, name: str, damaged: bytes | None) -> None:
    path = runs / CELLS[0].run_id / name
    path.unlink(missing_ok=True)
    if damaged is None:
        path.mkdir()
    else:
        path.write_bytes(damaged)
    with pytest.raises(UserError, match=f"{CELLS[0].run_id}/{name} cannot be read"):
        packed(runs)
    assert not list(runs.parent.glob("*.tar*"))


def test_importing_twice_adds_nothing(runs: Path, tmp_path: Path) -> None:
    archive, there = packed(runs), tmp_path / "there"
    receive(archive, there)
    before = files(there)
    received = receive(archive, there)
    assert (received.added, received.completed, len(received.known)) == ([], [], 4)
    assert files(there) == before


def test_a_cell_that_nobody_has_begun_here_is_completed(runs: Path, tmp_path: Path) -> None:
    there = tmp_path / "there"
    for spec in CELLS:
        RunFolder(there / spec.run_id).create(spec, {})
    record_sweep(there, CELLS)
    received = receive(packed(runs), there)
    assert sorted(received.completed) == sorted(spec.run_id for spec in CELLS[:3])
    assert RunFolder(there / CELLS[0].run_id).result() == RunFolder(runs / CELLS[0].run_id).result()


def other_scores(there: Path) -> None:
    finish(begin(there, CELLS[0]), text_scores(9.0, 9.0))


def under_way(there: Path) -> None:
    begin(there, CELLS[0])


@pytest.mark.parametrize("content", [other_scores, under_way])
def test_other_content_is_never_overwritten(
    runs: Path, tmp_path: Path, content: Callable[[Path], None]
) -> None:
    archive, there = packed(runs), tmp_path / "there"
    content(there)
    before = files(there)
    with pytest.raises(UserError, match=f"run {CELLS[0].run_id} has other content here"):
        receive(archive, there)
    assert files(there) == before
    received = receive(archive, there, keep_own=True)
    assert (received.kept, len(received.added)) == ([CELLS[0].run_id], 3)
    assert {name: files(there)[name] for name in before} == before


def test_the_same_scores_from_a_faster_machine_are_no_conflict(runs: Path, tmp_path: Path) -> None:
    there = tmp_path / "there"
    finish(begin(there, CELLS[0]), text_scores(2.0, 3.0), speed=5.0)
    assert receive(packed(runs), there).known == [CELLS[0].run_id]


def test_a_sweep_of_other_cells_needs_another_name(runs: Path, tmp_path: Path) -> None:
    there, archive = tmp_path / "there", packed(runs)
    other = specification("none")
    finish(begin(there, other), text_scores(2.0, 3.0))
    record_sweep(there, [other])
    with pytest.raises(UserError, match="--name"):
        receive(archive, there)
    assert not (there / CELLS[0].run_id).exists()
    receive(archive, there, name="theirs")
    assert [sweep.name for sweep in read_sweeps(there)] == ["quickstart", "theirs"]


def entries(archive: Path) -> list[tuple[tarfile.TarInfo, bytes]]:
    with tarfile.open(archive) as file:
        return [(entry, stream.read()) for entry in file if (stream := file.extractfile(entry))]


def rebuilt(archive: Path, parts: list[tuple[tarfile.TarInfo, bytes]]) -> Path:
    with tarfile.open(archive, "w:gz") as file:
        for entry, content in parts:
            file.addfile(entry, io.BytesIO(content))
    return archive


def entry(name: str, content: bytes = b"", kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.size, made.type, made.linkname = len(content), kind, link
    return made


def honest(parts: list[tuple[tarfile.TarInfo, bytes]]) -> list[tuple[tarfile.TarInfo, bytes]]:
    """With a manifest that says what is there: a stranger can write that too."""
    from hashlib import sha256

    held = {made.name: {"sha256": sha256(c).hexdigest(), "size": len(c)} for made, c in parts[1:]}
    text = json.dumps({"format": 1, "pebench": "0", "files": held}).encode()
    return [(entry("manifest.json", text), text), *parts[1:]]


RUN = f"runs/{CELLS[0].run_id}"

HOSTILE: dict[str, tarfile.TarInfo] = {
    "a path out of the folder": entry("../outside.txt", b"x"),
    "a path out of a run": entry(f"{RUN}/../../outside.txt", b"x"),
    "an absolute path": entry("/tmp/outside.txt", b"x"),
    "a symbolic link": entry(f"{RUN}/log.txt", kind=tarfile.SYMTYPE, link="/etc/passwd"),
    "a hard link": entry(f"{RUN}/log.txt", kind=tarfile.LNKTYPE, link=f"{RUN}/spec.json"),
    "a device": entry(f"{RUN}/log.txt", kind=tarfile.CHRTYPE),
    "a pipe": entry(f"{RUN}/log.txt", kind=tarfile.FIFOTYPE),
    "a folder": entry("runs", kind=tarfile.DIRTYPE),
    "a checkpoint, which is unpickled": entry(f"{RUN}/checkpoint/state.pt", b"x"),
    "a plugin in a folder": entry(f"{RUN}/plugins/a/b.py", b"x"),
    "a hidden plugin": entry(f"{RUN}/plugins/..", b"x"),
    "a name of two lines": entry(f"{RUN}/log.txt\n", b"x"),
    "a name that is too long": entry(f"runs/{'a' * 5000}/log.txt", b"x"),
}


@pytest.mark.parametrize("made", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_archive_does_no_harm(runs: Path, tmp_path: Path, made: tarfile.TarInfo) -> None:
    archive, there = packed(runs, "a.tar.gz"), tmp_path / "there"
    parts = entries(archive)
    added = [*parts, (made, b"x" * made.size)]
    before = files(tmp_path)
    rebuilt(archive, honest(added))
    del before["a.tar.gz"]
    with pytest.raises(UserError, match=r"is no (plain file|file of a run)"):
        receive(archive, there)
    after = files(tmp_path)
    del after["a.tar.gz"]
    assert after == before
    assert not list(there.glob(".import-*"))


def test_a_bomb_is_refused_before_it_has_unpacked(runs: Path, tmp_path: Path) -> None:
    archive = packed(runs, "a.tar.gz")
    parts = entries(archive)
    large = b"\0" * 50_000_000
    rebuilt(archive, honest([*parts, (entry(f"runs/{CELLS[3].run_id}/log.txt", large), large)]))
    assert archive.stat().st_size < 200_000
    with pytest.raises(UserError, match="--most"):
        receive(archive, tmp_path / "there", most=10_000_000)
    large = b"\0" * 20_000_000
    rebuilt(archive, honest([*parts, (entry(f"runs/{CELLS[3].run_id}/provenance.json", large), large)]))
    with pytest.raises(UserError, match="too large"):
        receive(archive, tmp_path / "there")


def test_the_description_of_a_file_cannot_fill_the_memory(runs: Path, tmp_path: Path) -> None:
    archive = packed(runs, "a.tar.gz")
    made = entry("runs/a/log.txt")
    made.pax_headers = {"comment": "x" * 5_000_000}
    rebuilt(archive, [*entries(archive), (made, b"")])
    with pytest.raises(UserError, match="not imported"):
        receive(archive, tmp_path / "there")


def changed(name: str, content: bytes) -> Callable[[Path], None]:
    def change(archive: Path) -> None:
        parts = [
            (entry(made.name, new), new)
            for made, old in entries(archive)
            for new in [content if made.name == name else old]
        ]
        rebuilt(archive, honest(parts))

    return change


def without(name: str) -> Callable[[Path], None]:
    def change(archive: Path) -> None:
        rebuilt(archive, honest([part for part in entries(archive) if part[0].name != name]))

    return change


def infinite(archive: Path) -> None:
    (text,) = (content for made, content in entries(archive) if made.name == f"{RUN}/result.json")
    changed(f"{RUN}/result.json", text.replace(b'"value": 2.0', b'"value": Infinity'))(archive)


def unannounced(archive: Path) -> None:
    rebuilt(archive, [*entries(archive), (entry(f"runs/{CELLS[3].run_id}/log.txt", b"x"), b"x")])


def absent(archive: Path) -> None:
    rebuilt(archive, entries(archive)[:-1])


def altered(archive: Path) -> None:
    parts = entries(archive)
    rebuilt(archive, [(made, c[::-1] if made.name.endswith("result.json") else c) for made, c in parts])


def cut(archive: Path) -> None:
    archive.write_bytes(archive.read_bytes()[:-300])


def noise(archive: Path) -> None:
    archive.write_bytes(gzip.compress(os.urandom(5000)))


def text(archive: Path) -> None:
    archive.write_text("no archive")


def other_spec(archive: Path) -> None:
    spec: RunSpec = CELLS[0].model_copy(update={"seed": 77})
    changed(f"{RUN}/spec.json", spec.model_dump_json().encode())(archive)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (other_spec, "has the specification of rope-"),
        (changed(f"{RUN}/spec.json", b"{}"), "cannot be read"),
        (changed(f"{RUN}/result.json", b"[" * 100_000), "cannot be read"),
        (changed(f"{RUN}/provenance.json", b"[" * 100_000), "cannot be read"),
        (infinite, "has a score that is no number"),
        (without(f"{RUN}/provenance.json"), "has a result but no provenance"),
        (without(f"{RUN}/spec.json"), "has no specification"),
        (changed("sweeps/quickstart.json", b"{}"), "cannot be read"),
        (unannounced, "which its manifest does not say"),
        (absent, "is not in it, which its manifest says"),
        (altered, "is not what its manifest says"),
        (cut, "damaged or incomplete"),
        (noise, "damaged or incomplete"),
        (text, "none of .tar.zst, .tar.xz and .tar.gz"),
    ],
)
def test_what_is_not_what_it_says_is_refused(
    runs: Path, tmp_path: Path, change: Callable[[Path], None], sentence: str
) -> None:
    archive = packed(runs, "a.tar.gz")
    change(archive)
    with pytest.raises(UserError, match=sentence):
        receive(archive, tmp_path / "there")
    assert files(tmp_path / "there") == {}


@pytest.mark.parametrize("name", ["a.tar.zst", "a.tar.xz"])
def test_a_damaged_archive_is_told_in_one_sentence(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    archive = packed(runs, name)
    whole = archive.read_bytes()
    for damaged in (whole[: len(whole) // 2], whole[:50] + bytes(200) + whole[250:]):
        archive.write_bytes(damaged)
        assert main(["import", str(archive), "--runs", str(tmp_path / "there")]) == 2
        told = capsys.readouterr().err
        assert told.startswith("pebench: ")
        assert told.count("\n") == 1


def test_an_import_that_is_killed_leaves_whole_runs_or_none(runs: Path, tmp_path: Path) -> None:
    archive, there = packed(runs), tmp_path / "there"
    command = [sys.executable, "-m", "pebench", "import", str(archive), "--runs", str(there)]
    for wait in (0.25, 0.35, 0.5):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(wait)
        process.send_signal(signal.SIGKILL)
        process.wait()
        for folder in there.glob("[!.]*"):
            assert RunFolder(folder).spec().run_id == folder.name
            assert folder.name == CELLS[3].run_id or RunFolder(folder).result() is not None
    receive(archive, there)
    assert len(list(there.glob("[!.]*"))) == 4
    assert not list(there.glob(".import-*"))


def test_the_commands_hand_results_on(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    archive, there = str(tmp_path / "out.tar.gz"), str(tmp_path / "there")
    assert main(["export", "quickstart", "-o", archive, "--runs", str(runs)]) == 0
    assert "4 runs, 3 of them finished" in capsys.readouterr().out
    assert main(["import", archive, "--runs", there, "--dry-run"]) == 0
    told = capsys.readouterr().out
    assert f"run {CELLS[0].run_id}\n" in told
    assert "sweep quickstart\n" in told
    assert "4 runs would be added, 0 are here already" in told
    assert not (tmp_path / "there").exists()
    assert main(["import", archive, "--runs", there]) == 0
    assert "4 runs added" in capsys.readouterr().out
    assert main(["export", "quickstart", "-o", "out.zip", "--runs", str(runs)]) == 2
    assert "end it in .tar.zst, .tar.xz or .tar.gz" in capsys.readouterr().err
    assert main(["import", str(tmp_path / "absent.tar.gz"), "--runs", there]) == 2
    assert "there is no archive" in capsys.readouterr().err

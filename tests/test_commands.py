"""Every mistake on the command line gets one sentence and exit status 2; what is right gets an answer."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from processes.mistakes import sentence
from specimens.tiny_sweeps import tiny, write

from pebench.command_line.main import main
from pebench.commands.check import _split
from pebench.data.text import TextSource, load_corpus
from pebench.data.tokenization import LibraryTokenizer, TokenizerChoice, load_tokenizer
from pebench.errors import UserError
from pebench.plugins.registry import tasks

RUN = ["run", "--encoding", "rope"]


def mistake(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The sentence that a command line is answered with, which writes nothing."""
    before = set(Path().rglob("*"))
    told = sentence(arguments, capsys)
    assert set(Path().rglob("*")) == before, "nothing is written"
    return told


def test_a_folder_hides_no_encoding_of_its_name(place: Path) -> None:
    (place / "rope").mkdir()
    assert _split("rope") == ("rope", {})
    with pytest.raises(UserError, match="write the encoding as 'name'"):
        _split("")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["lst"], "unknown command 'lst': did you mean 'list' or 'logs'?"),
        (["list", "encoding"], "'encoding' is not one of 'encodings', 'tasks'"),
        (["list", "--axis"], "No such option"),
        (["show"], "Missing argument 'NAME'"),
        (["show", "rpoe"], "unknown encoding or task 'rpoe': did you mean 'rope'"),
        (["show", "rope", "--width", "wide"], "'wide' is not a valid integer"),
        (["show", "learned + rpoe"], "unknown encoding 'rpoe': did you mean 'rope'"),
        (["show", "{rope: [}"], "'{rope: [}', line 1: "),
        (
            ["show", "rope:frequencies=0.75"],
            "'rope' with options is written as '{rope: {frequencies: 0.75}}'.",
        ),
        (["show", "rope(base=5, rotated=0.5)"], "is written as '{rope: {base: 5, rotated: 0.5}}'."),
        (["show", "rope+"], "'rope+' lacks an encoding beside a '+'"),
        (["run", "--encoding", ""], "write the encoding as 'name' or 'name: {option: value}', not ''."),
        ([*RUN, "--task", ""], "unknown task ''"),
        ([*RUN, "--task", "retrieval:extent=64"], "and '--task retrieval --set task.extent=64' on a command"),
        (["show", "pope + path"], "'path' takes heads of the model's width, which 'pope' before it widens"),
        (["show", "rope", "--width", "10"], "--width 10 does not divide into --heads 4"),
        (["run"], "--encoding names what to train"),
        (["run", "--encoding", "rpoe"], "unknown encoding 'rpoe': did you mean 'rope'"),
        (
            [*RUN, "--task", "language-modelling"],
            "unknown task 'language-modelling': did you mean 'language-modeling'",
        ),
        ([*RUN, "--option", "bsae=3"], "unknown option 'bsae' of encoding 'rope': did you mean 'base'?"),
        ([*RUN, "--option", "base"], "'base' is not of the form key=value"),
        ([*RUN, "--option", "base=big"], "encoding 'rope', option 'base': input should be a valid number"),
        ([*RUN, "--option", "base=[1"], "'base=[1', line 1:"),
        ([*RUN, "--set", "steps=3"], "unknown place 'steps'"),
        ([*RUN, "--set", "train.stesp=3"], "unknown option 'stesp' of 'train': did you mean 'steps'?"),
        ([*RUN, "--set", "train.steps=many"], "'train', option 'steps': input should be a valid integer"),
        ([*RUN, "--set", "train.steps=0"], "without a run to start from there is nothing to evaluate"),
        ([*RUN, "--set", "train.steps=-1"], "option 'steps'"),
        ([*RUN, "--set", "train.=3"], "'train.' names no option"),
        ([*RUN, "--set", "model.size=huge"], "option 'size': input should be 'tiny'"),
        ([*RUN, "--set", "model.width=30"], "width 30 does not divide into"),
        (
            [*RUN, "--set", "task.extnet=64"],
            "unknown option 'extnet' of task 'language-modeling': did you mean 'extent'",
        ),
        (
            ["run", "--encoding", "none", "--task", "image-classification", "--set", "task.patch=4"],
            "unknown option 'patch' of task 'image-classification': it is 'model.patch'.",
        ),
        (
            [*RUN, "--set", "model.extent=64"],
            "unknown option 'extent' of the model of task 'language-modeling': it is 'task.extent'.",
        ),
        ([*RUN, "--set", "task.evaluate=64"], "task 'language-modeling', option 'evaluate'"),
        ([*RUN, "--seed", "-1"], "-1 is not in the range"),
        ([*RUN, "--device", "tpu"], "'tpu' is not one of"),
        (
            ["run", "--encoding", "seqpe", "--set", "task.evaluate=[128, 10000000]"],
            "positions an axis, but task",
        ),
        (["--plugin", "absent.py", "list"], "no plugin file at"),
        (["--plugin", "text.txt", "list"], "text.txt"),
        (["--plugin", "broken.py", "list"], "cannot be imported"),
        (["--plugin", "empty.py", "list"], "defines neither a PositionEncoding nor a Task"),
        (["--plugin", "rope.py", "list"], "two encodings are named 'rope'"),
        (["submit"], "Missing argument 'SWEEP"),
        (
            ["submit", "quikstart"],
            "unknown sweep 'quikstart': did you mean 'quickstart', 'images-quickstart' or "
            "'images-quickstart-smoke'?",
        ),
        (["submit", "absent.yaml"], "cannot read absent.yaml: No such file or directory"),
        (["submit", "folder.yaml"], "cannot read folder.yaml: Is a directory"),
        (["submit", "binary.yaml"], "cannot read binary.yaml: it is not UTF-8 text"),
        (["submit", "broken.yaml"], "broken.yaml, line 2: "),
        (["submit", "tiny.yaml", "--cluster", "slrum"], "'slrum' is not one of 'inline', 'local', 'slurm'"),
        (
            ["submit", "tiny.yaml", "--gpus", "1"],
            "--gpus is for '--cluster slurm', not for '--cluster inline'",
        ),
        (["submit", "tiny.yaml", "--cluster", "local", "--mem", "4G"], "--mem is for '--cluster slurm'"),
        (["submit", "tiny.yaml", "--cpus", "2"], "inline runs go one by one here"),
        (["submit", "tiny.yaml", "--cluster", "slurm", "--time", "soon"], "'soon' is no time limit"),
        (["submit", "tiny.yaml", "--cluster", "slurm", "--time", "0"], "'0' is no time limit"),
        (["submit", "tiny.yaml", "--cluster", "slurm", "--mem", "lots"], "'lots' is no amount of memory"),
        (["submit", "tiny.yaml", "--max-parallel", "0"], "0 is not in the range"),
        (["submit", "tiny.yaml", "--runs", "text.txt"], "is a file"),
        (["submit", "tiny.yaml", "--runs", "text.txt/runs"], "cannot write"),
        ([*RUN, "--runs", "text.txt/runs"], "cannot write"),
        (
            ["status", "tiny"],
            "no sweep was submitted into 'runs': submit one, or name the folder with --runs",
        ),
        (
            ["status", "tiny.yaml"],
            "sweep 'tiny' has not been submitted into runs: 'pebench submit tiny.yaml' does it",
        ),
        (["status", "absent.yaml"], "cannot read absent.yaml"),
        (["leaderboard", "--from-mlflow", "x", "--runs", "runs"], "are two places to read from: give one"),
        ([*RUN, "--set", "task.data=absent.txt"], "no text file or folder at 'absent.txt'"),
        (["submit", "dataless.yaml"], "no text file or folder at 'absent.txt'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_gets_one_sentence(
    place: Path,
    arguments: list[str],
    said: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Some environments let Python write nothing compiled, where a plugin would leave none beside it anyway.
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    write(place, tiny(place))
    write(place, "encodings: [rope\ntasks: [x]\n", "broken.yaml")
    dataless = "encodings: [rope]\ntasks: [{language-modeling: {data: absent.txt}}]\n"
    (place / "dataless.yaml").write_text(dataless)
    (place / "folder.yaml").mkdir()
    (place / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    (place / "broken.py").write_text("import nothing_of_this_name\n")
    (place / "empty.py").write_text("")
    plugin = (
        "from pebench.position_encoding import PositionEncoding\nclass Rope(PositionEncoding):\n    pass\n"
    )
    (place / "rope.py").write_text(plugin)
    assert said in mistake(arguments, capsys)


def test_a_run_folder_that_cannot_be_read_is_named(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "runs" / "rope-1").mkdir(parents=True)
    (place / "runs" / "rope-1" / "spec.json").write_text("{")
    assert main(["status"]) == 1
    told = capsys.readouterr().out
    assert "unreadable" in told
    assert "rope-1/spec.json cannot be read" in told


def test_the_process_itself_ends_with_status_2_and_no_traceback(place: Path) -> None:
    command = [sys.executable, "-m", "pebench", "show", "rpoe"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("pebench: unknown encoding or task 'rpoe': did you mean 'rope'")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("name", ["list", "show", "run", "submit", "status", "doctor", "lm-eval"])
def test_the_help_of_a_command_ends_in_an_example(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    text, _, options = capsys.readouterr().out.partition("Options:")
    assert options
    assert text.rstrip().splitlines()[-1].strip().startswith(f"pebench {name}")


def test_list_tells_what_the_files_say(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    (rope,) = (line for line in lines if line.startswith("rope "))
    assert rope.split()[:3] == ["rope", "1", "R"]
    assert any(line.startswith("language-modeling ") for line in lines)
    assert main(["list", "tasks"]) == 0
    assert "rope" not in capsys.readouterr().out


def test_list_shows_a_file_that_is_broken_and_the_others(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import pebench.encodings as package

    (place / "half-written.py").write_text("class Half(")
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(place)])
    assert main(["list", "encodings"]) == 0
    told = capsys.readouterr().out
    assert "cannot be read" in told
    assert "rope" in told


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        (
            "rope",
            [
                "base",
                "float > 1",
                "10000.0",
                "queries and keys (R)",
                "encodings/rope.py",
                "arxiv.org/abs/2104.09864",
            ],
        ),
        (
            "t5",
            ["parameters", "(width 256, heads 4, layers 4, extent 128)", "the logits, from positions (B)"],
        ),
        ("language-modeling", ["extent", "model", "layers", "causal", "tasks/language_modeling.py"]),
    ],
)
def test_show_tells_all_of_a_plugin(name: str, parts: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", name]) == 0
    told = capsys.readouterr().out
    assert [part for part in parts if part not in told] == []


def test_show_says_what_every_option_of_every_task_and_its_model_means(
    capsys: pytest.CaptureFixture[str],
) -> None:
    silent = []
    for name in tasks.origins():
        assert main(["show", "--json", name]) == 0
        told = json.loads(capsys.readouterr().out)
        rows = [row for title in ("options", "model") for row in told.get(title, ())]
        # A second name in a meaning is that of an option which has none of its own.
        silent += [
            (name, row["name"])
            for row in rows
            if not row["meaning"] or re.search(r"\. [a-z_]+: ", row["meaning"])
        ]
    assert silent == []


@pytest.mark.parametrize("name", ["train", "execution", "sweep", "tune"])
def test_show_says_what_each_key_of_a_sweep_means_in_no_words_of_python(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["show", name, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["options"]
    assert [row["name"] for row in rows if not row["meaning"]] == []
    assert [row["type"] for row in rows if re.search(r"[\[.]", row["type"])] == []


def test_show_tells_all_of_a_composition(capsys: pytest.CaptureFixture[str]) -> None:
    written = "{layers: [{compose: [rope, {window: {size: 16}}], times: 3}, learned + rope]}"
    assert main(["show", written]) == 0
    told = capsys.readouterr().out
    assert told.startswith("3 × (rope + window(size=16)) / learned + rope: each in layers of its own")
    assert told.count("options of rope") == 1
    assert re.search(r"^size .* 512 +16 ", told, re.MULTILINE), "the default and what was chosen"
    assert main(["show", "learned + rope", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [part["name"] for part in found["parts"]] == ["learned", "rope"]
    assert (found["name"], found["acts"]) == ("learned + rope", "IR")
    assert main(["run", "--encoding", "{compose: [learned, {rope: {base: 500}}]}", "--dry-run"]) == 0
    assert json.loads(capsys.readouterr().out)["encoding"]["label"] == "learned + rope(base=500.0)"


def test_show_counts_parameters_for_the_size_that_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "learned", "--width", "12", "--heads", "2", "--extent", "10"]) == 0
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("parameters"))
    assert line.split()[1] == "120"


def settings(place: Path, **changes: Any) -> list[str]:
    """The tiny sweep's settings as arguments of `run`."""
    written = tiny(place, **changes)
    task = written["tasks"][0]["language-modeling"]
    values = {f"task.{key}": value for key, value in task.items()}
    values |= {f"{at}.{key}": value for at in ("model", "train") for key, value in written[at].items()}
    return [argument for path, value in values.items() for argument in ("--set", f"{path}={value}")]


def test_run_prints_scores_and_the_second_time_the_same(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [*RUN, *settings(place), "--option", "base=500", "--device", "cpu", "--threads", "1"]
    assert main(arguments) == 0
    first = capsys.readouterr().out
    assert "bits-per-byte" in first
    assert "runs/rope-" in first
    assert main(arguments) == 0
    assert capsys.readouterr().out == first


def test_a_dry_run_prints_every_setting_and_runs_nothing(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = set(place.rglob("*"))
    arguments = ["--set", "train.steps=7", "--option", "base=500", "--seed", "3", "--dry-run"]
    assert main([*RUN, *arguments]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["train"]["steps"], told["encoding"]["options"]["base"], told["seed"]) == (7, 500, 3)
    assert told["task"]["options"]["extent"]
    assert told["run"].startswith("rope-")
    assert set(place.rglob("*")) == before


def test_run_refuses_data_that_are_too_short_before_anything_is_on_record(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*RUN, *settings(place), "--set", "task.evaluate=[100000]"]) == 2
    told = capsys.readouterr().err
    assert told.startswith("pebench: the validation split has ")
    assert told.endswith("too few for an extent of 100000.\n")
    assert told.count("\n") == 1
    assert not (place / "runs").exists()


def test_run_refuses_a_retrieval_text_that_has_no_room_with_the_tokenizer_of_a_file(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus = load_corpus(TextSource.model_validate(str(place / "text.txt")))
    bpe = load_tokenizer(TokenizerChoice.model_validate("bpe-300"), corpus)
    assert isinstance(bpe, LibraryTokenizer)
    (place / "tokenizer.json").write_text(json.dumps(bpe.definition()))
    asked = ["--task", "retrieval", "--set", "task.tokenizer=tokenizer.json", "--set", "task.extent=20"]
    assert main(["run", "--encoding", "rope", *asked]) == 2
    told = capsys.readouterr().err
    assert re.fullmatch(r"pebench: .*needles and question need \d+ tokens, and an extent has 20\.\n", told)
    assert not (place / "runs").exists()


def test_run_ends_with_status_1_and_names_the_log_if_the_run_fails(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: object, **options: object) -> None:
        raise OSError("the disk is gone")

    monkeypatch.setattr("pebench.running.run.train", broken)
    assert main([*RUN, *settings(place)]) == 1
    told = capsys.readouterr()
    assert told.err.splitlines()[-1].startswith("pebench: OSError: the disk is gone; ")
    assert "log.txt" in told.err
    assert "Traceback" not in told.err


def test_doctor_names_everything_and_finds_nothing_broken(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor"]) == 0
    told = capsys.readouterr().out
    for subject in (
        "Python",
        "torch",
        "GPU",
        "SLURM",
        "encoding rope",
        "task language-modeling",
        "cache",
        "tracking",
    ):
        assert f"  {subject}" in told, subject


def test_doctor_tells_what_runs_left_out_of_their_data(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = "1 of 3 files of 'corpus' is left out: 'notes.md'"
    for number in range(2):
        (place / "runs" / f"rope-{number}").mkdir(parents=True)
        note = {"data": {"left out": said, "train": "abc"}}
        (place / "runs" / f"rope-{number}" / "provenance.json").write_text(json.dumps(note))
    main(["doctor"])
    assert f"{said} (2 runs)" in " ".join(capsys.readouterr().out.split())


def test_doctor_tells_that_python_keeps_no_compiled_files(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "pycache_prefix", str(place / "compiled"))
    main(["doctor"])
    assert "compiled Python files" in capsys.readouterr().out
    kept = Path(importlib.util.cache_from_source(torch.__file__))
    kept.parent.mkdir(parents=True)
    kept.touch()
    main(["doctor"])
    assert "compiled Python files" not in capsys.readouterr().out


def test_doctor_fails_for_what_is_essential(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import pebench.encodings as package

    (place / "half-written.py").write_text("class Half(")
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(place)])
    monkeypatch.setenv("PEBENCH_TRACKING_URI", "nowhere")
    assert main(["doctor"]) == 1
    told = capsys.readouterr()
    broken = [line for line in told.out.splitlines() if line.startswith("NO")]
    assert ["half-written" in line or "tracking store" in line for line in broken] == [True, True]
    assert told.err == "2 essential things broken.\n"


@pytest.mark.parametrize("arguments", [["list"], ["show", "rope"]], ids=["rich", "click"])
def test_a_reader_that_has_gone_is_told_by_the_usual_status(arguments: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "pebench", *arguments]
    with os.fdopen(writing, "wb") as pipe:
        done = subprocess.run(command, stdout=pipe, stderr=subprocess.PIPE, check=False)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_signs_that_a_terminal_lacks_are_replaced(place: Path, encoding: str) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    done = subprocess.run(
        [sys.executable, "-m", "pebench", "show", "−"], env=environment, capture_output=True, check=False
    )
    assert done.returncode == 2
    assert b"Traceback" not in done.stderr
    assert b"unknown" in done.stderr

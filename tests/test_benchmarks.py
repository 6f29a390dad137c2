"""Each benchmark runs at its smallest size and keeps to what all of them promise: rows as ratios to a
baseline that was measured beside them, in a table and in a file."""

from __future__ import annotations

import ast
import importlib.util
import json
from functools import partial
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

from pebench.command_line.main import main
from pebench.encoding_config import build_encoding
from pebench.encodings.seqpe.encoder import Strings, Tokens
from pebench.models.decoder import Decoder
from pebench.position_encoding import Extrapolation, grid, tabulate
from pebench.specification.run_spec import Training

REPOSITORY = Path(__file__).resolve().parents[1]
BENCHMARKS = REPOSITORY / "benchmarks"

TEXT = ["--size", "tiny", "--extent", "16", "--batch", "2", "--vocabulary", "32"]
SMALLEST = {
    "aggregation": ["--runs", "10"],
    "attention-paths": ["--lengths", "16", "--heads", "4", "--tokens", "16", "--encodings", "t5"],
    "commands": ["--runs", "2"],
    "encodings-side-by-side": [
        *TEXT,
        *("--processes", "1", "--seconds", "0.1", "--warmup", "1", "--encodings", "seqpe:positions=200"),
    ],
    "evaluation": ["--extents", "16", "32", "--size", "tiny", "--vocabulary", "32"],
    "host-training": [*TEXT, "--no-compile"],
    "position-encoder": ["--positions", "32", "--width", "16", "--heads", "2"],
    "pretrained-model": ["--size", "tiny", "--extents", "16", "32", "--vocabulary", "64"],
    "ranks": [*TEXT, "--ranks", "2", "--warmup", "1", "--updates", "2"],
    "side-by-side": [*TEXT, "--processes", "1", "2", "--seconds", "0.1"],
    "sweep-costs": [
        "--sweep",
        str(REPOSITORY / "sweeps" / "images-quickstart.yaml"),
        "--encodings",
        "lookhere",
    ],
    "sync": ["--runs", "2"],
    "training-loops": [*TEXT, "--no-compile", "--conditions", "equal"],
    "training-step": [
        *TEXT,
        "--no-compile",
        "--prepare",
        "1",
        "--encodings",
        "seqpe:dropout=0,unshared",
    ],
    "biased-attention": [*TEXT, "--encodings", "t5", "--evaluated", "64"],
    "whole-cells": [
        *("--encodings", "none", "--seeds", "1", "--extent", "16", "--steps", "2", "--tokens", "128"),
        "--cold",
    ],
}
ROWS = {
    "biased-attention": {"without a bias", "blocked, t5", "t5"},
    "aggregation": {"reading the files", "pebench leaderboard"},
    "attention-paths": {"fused, no bias", "factored, alibi", "blocked, t5", "whole matrix, t5"},
    "commands": {"show", "submit of 12 cells", "first sync of 2 runs"},
    "encodings-side-by-side": {"none", "seqpe:positions=200"},
    "evaluation": {"fused, none", "fused, rope", "factored, alibi", "factored, seqpe", "blocked, t5"},
    "host-training": {"plain loop", "pebench"},
    "position-encoder": {"plain", "read-out only", "shared prefixes", "plain, dropout", "tensor code"},
    "pretrained-model": {"transformers, with losses", "pebench, logits", "pebench"},
    "ranks": {"1 rank", "1 of 2 ranks", "2 ranks"},
    "side-by-side": {"1 process", "2 processes"},
    "sweep-costs": {"learned", "lookhere"},
    "sync": {"log_batch by hand", "pebench sync", "pebench sync, idle"},
    "training-loops": {"plain loop, learned", "pebench, none", "pebench, alibi"},
    "training-step": {"none", "seqpe:dropout=0,unshared"},
    "whole-cells": {"a process a cell", "one process"},
}
"""Rows that must be there."""


OF_PROCESSES = {
    "aggregation",
    "commands",
    "encodings-side-by-side",
    "ranks",
    "side-by-side",
    "sync",
    "whole-cells",
}
"""What measures processes that it starts, on whatever device by the wall clock."""


ELSEWHERE = {"cluster"}
"""What needs a SLURM is tried where there is one, in tests/slurm."""


def test_every_benchmark_is_tried() -> None:
    assert {*SMALLEST, *ELSEWHERE} == {path.stem.replace("_", "-") for path in BENCHMARKS.glob("*.py")}


@pytest.mark.parametrize("name", SMALLEST)
def test_a_benchmark_measures_itself_against_its_baseline(
    name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    # Profiles are of the same steps, in the same process.
    profiles = ["--profiles", str(tmp_path)] if name == "training-step" else []
    arguments = [*SMALLEST[name], *profiles, "--rounds", "1", "--output", str(tmp_path)]
    assert main(["bench", name, *arguments]) == 0
    if profiles:
        assert_profiles(tmp_path)
    record = json.loads((tmp_path / f"{name}.json").read_text("utf-8"))
    by_wall = name in OF_PROCESSES or torch.cuda.is_available()
    assert record["machine"]["clock"] == ("wall clock" if by_wall else "processor time")
    assert record["title"] in capfd.readouterr().out
    assert {"date", "device", "torch", "load"} <= record["machine"].keys()
    names = {row["name"] for row in record["rows"]}
    assert names >= ROWS[name] | {record["baseline"]}
    for row in record["rows"]:
        assert row["seconds"] > 0
        assert row["more"].get("processor s") != 0
        assert row["spread"][0] <= row["ratio"] <= row["spread"][1]
    assert {row["ratio"] for row in record["rows"] if row["name"] == record["baseline"]} == {1.0}


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """What writes the page."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    spec = importlib.util.spec_from_file_location("measuring.page", BENCHMARKS / "measuring" / "page.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_nothing_to_compare_is_said_and_not_written(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    chosen = [*TEXT, "--no-compile", "--encodings", "none", "--output", str(tmp_path)]
    assert main(["bench", "training-step", *chosen]) != 0
    assert "there is nothing to compare" in capfd.readouterr().err
    assert not list(tmp_path.iterdir())


def assert_profiles(folder: Path) -> None:
    """What a step of each encoding spends its time on is written down."""
    written = {path.name: path.read_text("utf-8") for path in folder.glob("*.txt")}
    assert written.keys() == {"none.txt", "seqpe-dropout-0-unshared.txt"}
    for text in written.values():
        title, clock, _, headings, *lines = text.splitlines()
        assert title.startswith("A step of ")
        assert "ms in operators" in clock
        assert headings.split() == ["ms", "times", "share", "name"]
        times = [float(line.split()[0]) for line in lines]
        assert times == sorted(times, reverse=True)
        assert times[0] > 0
        assert any(line.endswith("aten::mm") for line in lines)


def test_a_reader_that_shares_nothing_is_measured_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    training = importlib.import_module("measuring.training")
    task = training.random_text(16, "tiny", 32)
    for label, kind in (("seqpe:dropout=0", Tokens), ("seqpe:dropout=0,unshared", Strings)):
        encoding = training.labelled(label, task)
        read: list[object] = []
        encoding.encoder.register_forward_pre_hook(lambda _, spelt, read=read: read.extend(spelt))
        tabulate(encoding, grid((16,)), Extrapolation((16,)))
        assert [type(spelt) for spelt in read] == [kind]


def test_the_documentation_says_what_the_results_say(page: Any) -> None:
    assert page.PAGE.read_text("utf-8") == page.page(page.RESULTS)
    readme = page.README.read_text("utf-8")
    assert readme == page.within(readme, page.quotation(page.RESULTS))


def test_a_readme_without_a_place_for_them_is_refused(page: Any) -> None:
    with pytest.raises(ValueError, match="lacks"):
        page.within("# pebench\n", "lines")


def test_a_result_of_another_machine_is_told_apart(page: Any, tmp_path: Path) -> None:
    for machine, cuda in (("laptop", None), ("node", "12.8")):
        row = {
            "name": "none",
            "setting": {"extent": 8},
            "seconds": 0.5,
            "ratio": 1.0,
            "spread": [1.0, 1.0],
            "added_bytes": None,
            "more": {"tokens/s": 1234.0, "utilisation": None},
        }
        of: dict[str, Any] = {"device": machine, "date": "2026-01-01", "commit": None, "dirty": None}
        of |= {"torch": "2", "cuda": cuda, "python": "3", "threads": 1, "load": 0.5}
        record = {"title": "Steps", "baseline": "none", "machine": of, "rows": [row]}
        (tmp_path / machine).mkdir()
        (tmp_path / machine / "training-step.json").write_text(json.dumps(record))
    of["date"] = "2026-01-02"
    (tmp_path / "node" / "training-step.cope.json").write_text(json.dumps(record))
    written = page.page(tmp_path)
    headings = [written.index(f"### Steps: {name}\n") for name in ("laptop", "node", "node, cope")]
    assert headings == sorted(headings)
    assert "| none | 8 | 500 | 1.00 | 1.00–1.00 | 1,234 |" in written
    assert "node; 2026-01-01" in page.quotation(tmp_path)


def test_names_and_summaries_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == sorted({*SMALLEST, *ELSEWHERE})
    assert all(ast.get_docstring(ast.parse(p.read_text("utf-8"))) for p in BENCHMARKS.glob("*.py"))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["evaluatoin"], "unknown benchmark 'evaluatoin': did you mean 'evaluation'?"),
        (["sync", "evaluation", "--rounds", "2"], "'--rounds' belongs to one benchmark"),
        (["--rounds", "2"], "'--rounds' belongs to one benchmark"),
        (["sync", "--rounds", "0"], "'0' is no number from 1 on"),
        (["sync", "--runds", "1"], "unrecognized arguments: --runds 1"),
        (["whole-cells", "--other", "nowhere"], "'nowhere' is no worktree of pebench"),
        (["commands", "--other", "nowhere"], "'nowhere' is no worktree of pebench"),
        (["whole-cells", "--sweep-only"], "what is measured with --other"),
        (["whole-cells", "--other", ".", "--cell-only", "--sweep-only"], "not allowed with argument"),
        (["whole-cells", "--cache", "nowhere"], "--cache nowhere has no folder 'other'"),
        (["whole-cells", "--sweep", "nowhere.yaml"], "nowhere.yaml"),
        (
            ["whole-cells", "--sweep", str(REPOSITORY / "sweeps" / "trained-questions.yaml")],
            "one task is measured, without a 'train' or a 'from' of its own",
        ),
    ],
)
def test_a_mistake_gets_one_sentence(
    arguments: list[str], sentence: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", *arguments]) == 2
    told = capfd.readouterr()
    assert sentence in told.err
    assert told.err.splitlines()[-1].startswith("pebench: ")
    assert "Traceback" not in told.err


def test_a_training_is_shortened_whatever_its_schedule(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    shortened = importlib.import_module("whole_cells").shortened
    whole = {"steps": 10, "warmup": 4, "schedule": "warmup-stable-decay", "decay": 4, "evaluate_at": [5]}
    short = shortened({**whole, "batch": 3}, 2)
    assert Training.model_validate(short) == Training(steps=2, warmup=2, batch=3)


def test_an_installed_package_says_that_it_has_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import pebench.commands.bench as bench

    monkeypatch.setattr(bench, "__file__", str(tmp_path / "site-packages/pebench/commands/bench.py"))
    assert main(["bench", "--list"]) == 2
    assert "part of a checkout" in capsys.readouterr().err


def test_x_transformers_turns_as_much_of_a_head_as_pebench_does(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("x_transformers")
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    loops = importlib.import_module("training_loops")
    chosen = SimpleNamespace(size="tiny", vocabulary=32, extent=16)
    width, _, heads = loops.SIZES["tiny"]
    model = loops.other_model("rope", chosen, fused=False)
    assert 2 * model.attn_layers.rotary_pos_emb.inv_freq.numel() == width // heads


def test_the_plain_loop_of_a_host_has_the_decoders_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    training = importlib.import_module("host_training")
    for host in training.HOSTS:
        chosen = training.options(host, "tiny")
        geometry = chosen.geometry(16)
        ours = Decoder(geometry, 32, build_encoding("rope", {}, geometry), chosen, seed=0)
        plain = training.PlainModel(chosen, 16, 32)
        counts = [sum(weight.numel() for weight in model.parameters()) for model in (ours, plain)]
        assert counts[0] == counts[1]


def test_no_round_begins_when_the_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    alternation = importlib.import_module("measuring.alternation")
    calls: list[str] = []
    works = {name: partial(calls.append, name) for name in ("one", "other")}
    rows = alternation.alternate(works, "one", {}, rounds=9, warmup=1, seconds=0)
    assert [row.name for row in rows] == ["one", "other"]
    # To warm up, to be timed, and for its memory.
    assert calls.count("one") == calls.count("other") == 3

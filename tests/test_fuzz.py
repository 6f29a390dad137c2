"""Mutated sweeps and command lines: each is carried out or refused in one sentence, without a traceback."""

from __future__ import annotations

import copy
import json
import os
import random
import time
from pathlib import Path
from typing import Any

import pytest

from pebench.command_line.main import main

SWEEPS = 700
LINES = 300
SEED = int(os.environ.get("PEBENCH_FUZZ_SEED", "19"))
PATIENCE = 8.0
"""Seconds for which one input may keep the command line busy."""

BUDGET = 45.0
"""Processor seconds for all of these inputs; with those of damaged folders they take under a minute."""

SCALARS: tuple[Any, ...] = (
    *(None, True, -1, 0, 1, 2, 1.5, 10**6, 10**9, 10**30, -(10**30), 1e-300, 1e300),
    *(
        float("inf"),
        float("-inf"),
        float("nan"),
        "inf",
        "nan",
        ".inf",
        "=",
        "",
        " ",
        "~",
        "x",
        "rope",
        "a: b",
    ),
    *(
        "x" * 300,
        "é" * 200,
        "a\nb",
        "a\rb",
        "\x1b[31m",
        "\0",
        "\ud800",
        "../..",
        "/",
        "%j",
        "{}",
        "[",
        "-",
        "1e3",
    ),
)
KEYS = ("", "x", "name", "steps", "\n", "\ud800", "x" * 300, "from", "train", "0")


def base() -> dict[str, Any]:
    """A sweep with something of everything."""
    text = {"data": "text.txt", "extent": 16, "evaluate": [16, 32], "stride": 4, "tokens": 100}
    return {
        "name": "fuzzed",
        "encodings": [
            "none",
            {"rope": {"base": 500}},
            {"cope": {"p_max": 8}},
            {"xpos": {"scale_base": 64}},
            {"seqpe": {"base": 10, "width": 16, "layers": 1}},
            {"alibi": {}, "train": {"weight_decay": 0.1}},
        ],
        "tasks": [
            {"language-modeling": text},
            {"retrieval": {"variant": "needle", "evaluate": [400], "extent": 200, "depths": [0, 50]}},
            {"question-answering": {"data": "pocket", "extent": 256}, "train": {"steps": 2}},
            {"length-generalization": {"problem": "copy", "extent": 4}},
        ],
        "seeds": [0, 1],
        "model": {"width": 16, "layers": 1, "heads": 2},
        "train": {"steps": 3, "batch": 2, "learning_rate": 1e-3, "clip": 1.0, "betas": [0.9, 0.95]},
        "grid": {"train.warmup": [0, 1]},
        "baseline": "none",
        "execution": {"device": "cpu"},
        "plugins": [],
    }


def mutated(value: Any, rng: random.Random) -> Any:
    """The value with one thing in it that is another."""
    if isinstance(value, dict) and value:
        if rng.random() < 0.1:
            return {**value, rng.choice(KEYS): rng.choice(SCALARS)}
        key = rng.choice(list(value))
        if rng.random() < 0.05:
            return {k: v for k, v in value.items() if k != key}
        return {**value, key: mutated(value[key], rng)}
    if isinstance(value, list) and value and rng.random() < 0.85:
        place = rng.randrange(len(value))
        if rng.random() < 0.1:
            return [*value, value[place]]
        return [*value[:place], mutated(value[place], rng), *value[place + 1 :]]
    kind = rng.random()
    if kind < 0.03:
        nested: Any = "x"
        for _ in range(300):
            nested = [nested]
        return nested
    if kind < 0.05:
        return ["x"] * 2000
    if kind < 0.1:
        return {rng.choice(KEYS): rng.choice(SCALARS)}
    return rng.choice(SCALARS)


def written(sweep: dict[str, Any], rng: random.Random) -> bytes:
    """The text of a file: JSON is YAML, and now and then some of it is lost or strange."""
    content = json.dumps(sweep).encode("utf-8", "surrogatepass")
    content = content.replace(b"Infinity", b".inf").replace(b"NaN", b".nan")
    if rng.random() < 0.15:
        place = rng.randrange(len(content))
        return (
            content[:place]
            + rng.choice([b"", b"=", b"\0", b"\xff", b"\t", b"&a *a", b"!!python/x", b"- "])
            + (content[place + rng.randrange(3) :])
        )
    return content


def refused_or_done(arguments: list[str], capsys: pytest.CaptureFixture[str], what: object) -> None:
    """Carries a command line out."""
    took = _seconds(arguments, capsys, what)
    if took >= PATIENCE:
        # A machine with other things to do is slow now and then, what keeps a command busy every time.
        took = _seconds(arguments, capsys, what)
    assert took < PATIENCE, (took, what)


def _seconds(arguments: list[str], capsys: pytest.CaptureFixture[str], what: object) -> float:
    """How long its answer takes, which is one sentence or what was asked for."""
    began = time.monotonic()
    try:
        status = main(arguments)
    except BaseException as error:
        pytest.fail(f"{what!r:.600} ended in {error!r:.300}")
    took = time.monotonic() - began
    told = capsys.readouterr()
    assert status in (0, 1, 2), what
    assert "Traceback" not in told.err, what
    if status == 2:
        assert told.err.count("\n") == 1, (what, told.err)
        assert len(told.err) < 1500, what
    return took


def small(place: Path) -> None:
    """A folder of runs that holds nothing."""
    (place / "runs").mkdir()


def test_no_mutated_sweep_ends_in_a_traceback(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small(place)
    rng = random.Random(SEED)
    (place / "fuzzed.yaml").write_bytes(json.dumps(base()).encode())
    # Whatever is imported is imported now.
    main(["submit", "fuzzed.yaml", "--dry-run", "--cluster", "inline"])
    capsys.readouterr()
    began = time.process_time()
    for number in range(SWEEPS):
        sweep = base()
        # A few encodings and tasks a sweep are quicker than all of them, and all have their turn.
        sweep["encodings"] = rng.sample(sweep["encodings"], 2)
        sweep["tasks"] = rng.sample(sweep["tasks"], 1)
        sweep["baseline"] = None
        for _ in range(rng.choice([1, 1, 2])):
            sweep = mutated(copy.deepcopy(sweep), rng)
        content = written(sweep, rng)
        (place / "fuzzed.yaml").write_bytes(content)
        arguments = ["submit", "fuzzed.yaml", "--dry-run", "--cluster", "inline"]
        refused_or_done(arguments, capsys, (number, content))
    assert time.process_time() - began < BUDGET * SWEEPS / (SWEEPS + LINES)
    assert not list((place / "runs").iterdir())


def test_no_mutated_command_line_ends_in_a_traceback(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small(place)
    rng = random.Random(SEED)
    words = [str(scalar) for scalar in SCALARS if scalar is not None]
    commands = (
        *(
            ["show"],
            ["status"],
            ["logs"],
            ["cancel"],
            ["retry"],
            ["leaderboard"],
            ["export", "-o"],
            ["compare"],
        ),
        *(["submit", "--dry-run"], ["import"], ["register"], ["status", "--runs"], ["list"]),
        *(["--plugin"], ["run", "--encoding"], ["run", "--set"], ["run", "--encoding", "rope", "--task"]),
    )
    main(["list"])
    began = time.process_time()
    for number in range(LINES):
        arguments = [*rng.choice(commands), *rng.choices(words, k=rng.choice([1, 1, 2]))]
        if arguments[0] == "run":
            arguments += ["--set", f"{rng.choice(['train.steps', 'model.width', 'task.extent', ''])}=-1"]
        if arguments[0] == "--plugin":
            arguments.append("list")
        refused_or_done(arguments, capsys, (number, arguments))
    assert time.process_time() - began < BUDGET * LINES / (SWEEPS + LINES)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"train": {"learning_rate": float("inf")}}, "learning_rate': input should be finite, not inf"),
        ({"train": {"weight_decay": float("inf")}}, "weight_decay': input should be finite, not inf"),
        ({"train": {"clip": float("inf")}}, "clip': input should be finite, not inf"),
        ({"grid": {"train.learning_rate": [1e-3, float("inf")]}}, "input should be finite, not inf"),
        ({"name": "x" * 300}, "a sweep's name has 120 letters at the most, not 300"),
        ({"name": "a\nb"}, "a sweep's name is made of a-z, 0-9 and hyphens, as 'a-b'"),
        ({"tasks": [{"language-modeling": {"data": "x" * 300}}]}, "no text file or folder at 'xxx"),
        ({"tasks": [{"question-answering": {"data": "x" * 300}}]}, "no file or folder of questions at 'xxx"),
        ({"tasks": [{"language-modeling": {"data": "/"}}]}, "'/' is the whole machine"),
        ({"tasks": [{"question-answering": {"data": "/"}}]}, "'/' is the whole machine"),
        ({"tasks": [{"language-modeling": {"data": "a\ud800"}}]}, r"'a\ud800' is no valid text"),
        ({"tasks": [{"language-modeling": {"data": "a\0"}}]}, "is no valid text"),
        ({"plugins": ["x" * 300 + ".py"]}, "File name too long"),
        ({"seeds": 1_000_000}, "a sweep has 1,000 seeds at the most, not 1000000"),
        ({"seeds": 10**30}, "a sweep has 1,000 seeds at the most"),
        ({"encodings": [{"cope": {"p_max": 10**9}}]}, "'p_max' is from 2 to 1,000,000, not 1,000,000,000"),
        ({"encodings": [{"seqpe": {"base": 10**9}}]}, "less than or equal to 65536"),
        ({"encodings": [{"seqpe": {"width": 10**9}}]}, "less than or equal to 65536"),
        ({"encodings": [{"seqpe": {"layers": 10**6}}]}, "less than or equal to 1024"),
        (
            {"encodings": [{"xpos": {"scale_base": float("inf")}}]},
            "scale_base': input should be finite, not inf",
        ),
        ({"model": {"layers": 10**9}}, "less than or equal to 10000"),
        ({"encodings": ["x\ny"]}, r"unknown encoding 'x\ny'"),
        ({"train": {"steps": "x" * 5000}}, "not 'xxx"),
    ],
    ids=str,
)
def test_what_cannot_be_is_told_in_one_short_sentence(
    place: Path, capsys: pytest.CaptureFixture[str], change: dict[str, Any], sentence: str
) -> None:
    small(place)
    sweep = {
        **base(),
        "encodings": ["rope"],
        "tasks": base()["tasks"][:1],
        "grid": {},
        "baseline": None,
        **change,
    }
    content = json.dumps(sweep).replace("Infinity", ".inf")
    (place / "fuzzed.yaml").write_text(content)
    assert main(["submit", "fuzzed.yaml", "--cluster", "inline"]) == 2
    told = capsys.readouterr().err
    assert sentence in told
    assert told.count("\n") == 1
    assert len(told) < 1100
    assert not list((place / "runs").iterdir())


def test_a_lone_equals_sign_is_a_value_like_any_other(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "fuzzed.yaml").write_text("encodings: [rope]\ntasks: [language-modeling]\nbaseline: =\n")
    assert main(["submit", "fuzzed.yaml", "--cluster", "inline"]) == 2
    assert "unknown baseline '='" in capsys.readouterr().err

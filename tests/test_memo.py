"""Answers that are kept on disk: the same as those worked out anew, and never those of other code."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pebench.sweeping import sweep
from pebench.sweeping.names import find, names
from pebench.sweeping.sweep_file import read

ROOT = Path(__file__).resolve().parents[1]


def asked(code: str, cache: Path, root: Path = ROOT) -> str:
    """What a program prints that has not imported PyTorch."""
    environment = {**os.environ, "PEBENCH_CACHE": str(cache), "PYTHONPATH": str(root)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment, cwd=cache
    )
    return done.stdout.strip()


ASK = """
import sys
from pebench.plugins.memo import remembered
print(remembered("test", sys.argv[1:] or "question", lambda: {"b": [1, None], "a": "%s"}))
"""


def test_the_first_answer_is_given_again_with_its_keys_in_their_order(tmp_path: Path) -> None:
    first = asked(ASK % "first", tmp_path)
    assert first == str({"b": [1, None], "a": "first"})
    assert asked(ASK % "second", tmp_path) == first


def test_another_question_has_an_answer_of_its_own(tmp_path: Path) -> None:
    asked(ASK % "first", tmp_path)
    assert "second" in asked(ASK.replace('"question"', '"another"') % "second", tmp_path)


def test_a_damaged_answer_is_worked_out_anew(tmp_path: Path) -> None:
    asked(ASK % "first", tmp_path)
    (path,) = tmp_path.glob("answers/*/*.json")
    path.write_text("{")
    assert "second" in asked(ASK % "second", tmp_path)
    assert "second" in asked(ASK % "third", tmp_path)


def test_a_process_that_has_imported_torch_works_everything_out(tmp_path: Path) -> None:
    asked(ASK % "first", tmp_path)
    assert "second" in asked("import torch" + ASK % "second", tmp_path)


def test_nothing_is_remembered_beside_a_plugin_from_elsewhere(tmp_path: Path) -> None:
    asked(ASK % "first", tmp_path)
    plugin = tmp_path / "mine.py"
    plugin.write_text("""from pebench.position_encoding import PositionEncoding
class Mine(PositionEncoding):
    pass
""")
    taken = f"""
from pathlib import Path
from pebench.plugins.registry import encodings, Origin
encodings._files["mine"] = Origin("mine", "mine", Path({str(plugin)!r}), None, "file")
"""
    assert "second" in asked(taken + ASK % "second", tmp_path)


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path: Path) -> None:
    (tmp_path / "answers").write_text("no folder")
    assert "first" in asked(ASK % "first", tmp_path)


def test_changed_code_answers_for_itself(tmp_path: Path) -> None:
    root = tmp_path / "tree"
    for room in ("pebench", "encodings", "tasks"):
        shutil.copytree(ROOT / room, root / room, ignore=shutil.ignore_patterns("__pycache__"))
    file = root / "pebench" / "formulas" / "rotation.py"
    asked(ASK % "first", tmp_path, root)
    assert "first" in asked(ASK % "second", tmp_path, root)
    file.write_text(file.read_text() + "\n")
    assert "second" in asked(ASK % "second", tmp_path, root)


def test_another_kind_of_tokenizer_at_the_same_name_is_another_question(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "library").mkdir()
    (tmp_path / "library" / "tokenizer.json").write_text("{}")
    (tmp_path / "gpt2").mkdir()
    for name in ("vocab.json", "merges.txt"):
        (tmp_path / "gpt2" / name).write_text("")
    path = tmp_path / "mine.yaml"
    path.write_text(
        "name: mine\nencodings: [none]\ntasks: [{language-modeling: {tokenizer: $TOKENIZER}}]\nseeds: 1\n"
    )
    known: dict[str, object] = {}
    monkeypatch.setattr(
        sweep,
        "remembered",
        lambda kind, question, answer: known.setdefault(json.dumps([kind, question]), answer()),
    )
    for kind, option in (("library", "file"), ("gpt2", "gpt2")):
        monkeypatch.setenv("TOKENIZER", str(tmp_path / kind))
        (spec,) = sweep.resolved(read(path)[0], None).cells
        assert spec.task.options["tokenizer"] == {option: "$TOKENIZER"}
    assert len(known) == 2


@pytest.mark.parametrize("name", names())
def test_every_sweep_is_possible_and_read_back_it_is_the_same(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in ("CALTECH", "IMAGENET", "SCAN"):
        monkeypatch.setenv(place, "/nowhere")
    file, _ = read(find(name))
    found = sweep.looked_up(file, None)
    assert file.name == name
    assert found.cells
    again = sweep.from_object(json.loads(json.dumps(sweep.as_object(found))))
    assert again == found
    assert [spec.run_id for spec in again.cells] == [spec.run_id for spec in found.cells]
    assert [spec.model_dump_json() for spec in again.cells] == [s.model_dump_json() for s in found.cells]

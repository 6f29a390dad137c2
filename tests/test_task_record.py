"""What tables know of a task comes from the task, whatever its options are called."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from specimens.tiny_sweeps import tiny, write

from pebench.command_line.main import main
from pebench.plugins.registry import tasks
from pebench.resolve import build_task, resolve
from pebench.store.run_folder import RunFolder
from pebench.store.task_record import EvaluationData, task_record

WITH_LENGTH = """
from pebench.specification.run_spec import Frozen
from pebench.tasks.language_modeling import LanguageModeling, LanguageModelingOptions


class WithLengthOptions(Frozen):
    text: str
    length: int = 16
    ways: tuple[str, ...] = ("extend", "yarn")


class WithLength(LanguageModeling):
    Options = WithLengthOptions

    def __init__(self, options, model):
        own = LanguageModelingOptions(
            data=options.text,
            extent=options.length,
            evaluate=(options.length, 2 * options.length),
            tokens=128,
            protocols=("non-overlapping",),
            extrapolations=options.ways,
        )
        super().__init__(own, model)
"""


@pytest.mark.usefixtures("without_pictures")
def test_a_task_with_options_of_other_names_keeps_marks_and_extrapolations(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "_files", {})
    plugin = place / "with_length.py"
    plugin.write_text(WITH_LENGTH)
    task = {"with-length": {"text": str(place / "text.txt")}}
    path = write(place, tiny(place, encodings=["rope"], tasks=[task]))
    assert main(["--plugin", str(plugin), "submit", str(path), "--cluster", "inline"]) == 0
    assert main(["leaderboard", "tiny"]) == 0
    lines = Path("results/tiny/leaderboard.md").read_text().splitlines()
    assert any("16 (trained)" in line and "| " in line for line in lines)
    assert any(line.startswith("| rope, yarn") for line in lines)
    (folder,) = (RunFolder(path.parent) for path in Path("runs").glob("*/spec.json"))
    assert task_record(folder.spec(), folder.provenance()).trained_extent == (16,)


@pytest.mark.usefixtures("without_pictures")
def test_a_run_that_only_evaluates_is_marked_at_the_extent_of_its_start(place: Path) -> None:
    def task(extent: int, **more: Any) -> dict[str, Any]:
        data = str(place / "text.txt")
        return {"data": data, "extent": extent, "evaluate": [16, 32], "tokens": 128, **more}

    start = {"language-modeling": task(32), "train": {"steps": 2}}
    tasks_ = [{"language-modeling": task(16), "from": start, "train": {"steps": 0}}]
    path = write(place, tiny(place, encodings=["rope"], tasks=tasks_))
    assert main(["submit", str(path), "--cluster", "inline"]) == 0
    assert main(["leaderboard", "tiny"]) == 0
    text = Path("results/tiny/leaderboard.md").read_text()
    assert "32 (trained)" in text
    assert "16 (trained)" not in text
    for folder in (RunFolder(path.parent) for path in Path("runs").glob("*/spec.json")):
        record = task_record(folder.spec(), folder.provenance())
        assert record.trained_extent == (32,)
        assert record.vocabulary == folder.provenance()["data"]["tokenizer"]
        # A run from before there were records says the same.
        before = {"data": folder.provenance()["data"]}
        assert task_record(folder.spec(), before).trained_extent == (32,)
        assert task_record(folder.spec(), before).vocabulary == record.vocabulary


IMAGENET = {"dataset": "ILSVRC/imagenet-1k"}


@pytest.mark.parametrize(
    ("task", "model", "trained", "data"),
    [
        (
            {
                "language-modeling": {
                    "data": {"dataset": "Salesforce/wikitext", "configuration": "wikitext-103-v1"}
                }
            },
            {},
            (128,),
            {"names": ("wikitext", "wikitext-103-v1"), "split": "validation", "whole": True},
        ),
        (
            {"language-modeling": {"data": "/data/wikitext-103", "tokens": 64}},
            {},
            (128,),
            {"paths": ("/data/wikitext-103",), "names": (), "whole": False},
        ),
        (
            {"image-classification": {"data": IMAGENET, "extent": [32, 48], "crop": 1.0}},
            {"name": "vit_tiny_patch16_224"},
            (32, 48),
            {"suffix": "-crop-1", "unsaid": "crop; ours is 1", "model": "vit_tiny_patch16_224"},
        ),
        (
            {"image-classification": {"data": IMAGENET, "extent": 32, "images": 7}},
            {},
            (32, 32),
            {"suffix": "", "unsaid": "crop; ours is 224/256", "whole": False},
        ),
        ({"length-generalization": {"problem": "copy", "extent": 12}}, {}, (12,), {"names": ("copy",)}),
        ({"retrieval": {"extent": 256}}, {}, (256,), None),
        ({"question-answering": {"questions": 3}}, {}, (512,), {"names": ("pocket",), "whole": False}),
    ],
)
def test_every_task_tells_its_trained_extent_and_its_data(
    task: dict[str, Any], model: dict[str, Any], trained: tuple[int, ...], data: dict[str, Any] | None
) -> None:
    encoding = "sinusoidal" if "image-classification" in task else "rope"
    spec = resolve(encoding, task, model=model)
    built = build_task(spec)
    found = built.evaluation_data()
    assert built.trained_extent() == trained
    assert (found is None) == (data is None)
    if found is not None and data is not None:
        assert {name: getattr(found, name) for name in data} == data
    # What is read from the options of runs that kept no record marks the same extent.
    before = task_record(spec, {})
    assert before.trained_extent == trained
    if isinstance(found, EvaluationData) and found.names and "length-generalization" not in task:
        assert before.evaluation_data is not None
        # A text alone may have been a name or a path.
        assert before.evaluation_data.model_copy(update={"paths": found.paths}) == found

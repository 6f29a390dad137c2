"""Scores of single examples: kept with a run without loss, and the scores are found again from them."""

from __future__ import annotations

import contextlib
import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from specimens.tiny_sweeps import load, tiny, write

from pebench.command_line.main import main
from pebench.data.stretches import spread
from pebench.resolve import build_task, resolve
from pebench.specification.run_spec import RunSpec
from pebench.store import example_scores
from pebench.store.example_scores import Examples, Ratio
from pebench.store.record_files import Unreadable
from pebench.store.run_folder import RunFolder
from pebench.store.task_record import task_record

whole = st.integers(-(2**62), 2**62)
# Runs take denormal numbers for zero, in whatever process they are.
finite = st.floats(allow_nan=False, allow_infinity=False, allow_subnormal=False, width=64)


@given(
    st.lists(
        st.integers(1, 6).flatmap(
            lambda rows: st.tuples(
                st.lists(whole, min_size=rows, max_size=rows),
                st.lists(finite, min_size=rows, max_size=rows),
            )
        ),
        min_size=1,
        max_size=3,
    )
)
def test_what_is_read_is_what_was_written(sets: list[tuple[list[int], list[float]]]) -> None:
    written = tuple(
        Examples(
            ratios=(Ratio(metric=f"m{number}", over="value"),),
            units=("document",),
            columns={"document": tuple(documents), "value": tuple(values)},
            counts={"documents": len(documents)},
            extent=(16, number + 1),
            extrapolation="yarn(factor=4)",
        )
        for number, (documents, values) in enumerate(sets)
    )
    content = example_scores.dump(written)
    assert example_scores.load(content) == written
    assert example_scores.dump(written) == content


def test_a_score_is_the_mean_over_its_units_and_moves_with_each() -> None:
    own = Examples(
        ratios=(
            Ratio(metric="perplexity", over="nats", under="tokens", form="exponential"),
            Ratio(metric="bits", over="nats", under="tokens", form="bits"),
        ),
        units=("document", "window"),
        columns={
            "document": (3, 3, 4, 5, 6, 7),
            "window": (0, 1, 2, 3, 4, 5),
            "nats": (2.0, 3.0, 5.0, 4.5, 6.5, 6.0),
            "tokens": (1, 2, 3, 3, 3, 3),
        },
        counts={},
    )
    assert own.scores() == {
        "perplexity": pytest.approx(math.exp(27 / 15)),
        "bits": pytest.approx(27 / 15 / math.log(2)),
    }
    for metric, score in own.scores().items():
        found = own.by_unit(metric)
        assert found is not None
        assert found.unit == "document"
        assert found.keys.tolist() == [3, 4, 5, 6, 7]
        assert found.weights.tolist() == pytest.approx([3 / 15] * 5)
        assert found.influence.sum() == pytest.approx(0.0)
        # The derivative of the score by what a document is counted.
        for document, influence in zip(found.keys, found.influence, strict=True):
            times = [1 + 1e-6 * (each == document) for each in own.columns["document"]]
            more = own.model_copy(
                update={
                    "columns": own.columns
                    | {
                        name: tuple(x * y for x, y in zip(own.columns[name], times, strict=True))
                        for name in ("nats", "tokens")
                    }
                }
            )
            assert (more.scores()[metric] - score) / 1e-6 == pytest.approx(influence, rel=1e-4, abs=1e-6)
    # Two documents are too few to tell how documents differ, and so is a long one among short ones.
    for documents in ((1, 1, 1, 2, 2, 2), (1, 2, 3, 4, 5, 5)):
        few = own.model_copy(update={"columns": {**own.columns, "document": documents}})
        found = few.by_unit("bits")
        assert found is not None
        assert found.unit == "window"
    assert own.by_unit("accuracy") is None


TASKS: dict[str, tuple[str, dict[str, Any]]] = {
    "language-modeling": ("rope", {"extent": 16, "evaluate": [16, 32], "tokens": 256}),
    "whole split": ("rope", {"extent": 16, "evaluate": [32], "data": "text"}),
    "question-answering": ("rope", {"extent": 512, "evaluate": [512], "questions": 6}),
    "retrieval": ("rope", {"extent": 128, "evaluate": [128], "examples": 2}),
    "length-generalization": ("rope", {"problem": "copy", "extent": 4, "examples": 6}),
    "image-classification": ("rope-axial", {"images": 20}),
    "video-classification": ("rope-axial", {"clips": 6}),
}


@pytest.mark.parametrize("name", TASKS)
def test_every_task_keeps_its_examples_and_they_give_back_its_scores(name: str, place: Path) -> None:
    encoding, options = TASKS[name]
    task = "language-modeling" if name == "whole split" else name
    if options.get("data") == "text":
        options = {**options, "data": str(place / "text.txt")}
    settings = [f"task.{key}={json.dumps(value)}" for key, value in options.items()]
    settings += ["train.steps=1", "train.batch=2"]
    if task in ("language-modeling", "question-answering", "retrieval", "length-generalization"):
        settings += ["model.width=16", "model.layers=1", "model.heads=2"]
    arguments = [part for setting in settings for part in ("--set", setting)]
    assert main(["run", "--encoding", encoding, "--task", task, *arguments]) == 0
    (path,) = Path("runs").glob("*/spec.json")
    folder = RunFolder(path.parent)
    result = folder.result()
    assert result is not None
    kept = {
        (metric, one.extent, one.extrapolation): score
        for one in folder.examples()
        for metric, score in one.scores().items()
    }
    scores = {(score.metric, score.extent, score.extrapolation): score.value for score in result.scores}
    assert kept
    assert {place: scores[place] for place in kept} == kept
    alone = {metric for metric, _, _ in scores.keys() - kept.keys()}
    assert alone <= {"word-perplexity", "effective-length"}
    assert all(one.counts for one in folder.examples())
    assert (folder.path / "examples.npz").stat().st_size < 20_000


def test_damaged_examples_are_unreadable_and_missing_ones_are_none(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    assert folder.examples() == ()
    own = Examples(
        ratios=(Ratio(metric="m", over="value"),), columns={"value": (1.0, 2.0)}, counts={"images": 2}
    )
    folder.write_examples([own])
    sound = (tmp_path / "examples.npz").read_bytes()
    assert folder.examples() == (own,)
    rng = np.random.default_rng(0)
    for _ in range(200):
        content = bytearray(sound)
        for place in rng.integers(0, len(content), 3):
            content[place] = int(rng.integers(0, 256))
        (tmp_path / "examples.npz").write_bytes(bytes(content[: int(rng.integers(1, len(content) + 1))]))
        with contextlib.suppress(Unreadable):
            folder.examples()
    (tmp_path / "examples.npz").write_bytes(sound[:-9])
    with pytest.raises(Unreadable, match=r"examples\.npz cannot be read"):
        folder.examples()


@given(
    st.lists(st.integers(1, 300), min_size=1, max_size=30),
    st.integers(2, 200),
    st.integers(2, 64),
)
def test_stretches_lie_in_the_text_and_never_overlap(lengths: list[int], count: int, longest: int) -> None:
    starts = np.cumsum([1, *(length + 1 for length in lengths)]).tolist()
    documents, tokens = starts[:-1], starts[-1]
    count = min(count, tokens - 2)
    if count < 1:
        return
    found = spread(documents, tokens, count, longest)
    assert found == spread(documents, tokens, count, longest)
    assert sum(stretch.length for stretch in found) == count
    assert all(stretch.length == min(longest, count) for stretch in found[:-1])
    assert found[0].start >= 0
    assert found[-1].start + found[-1].length <= tokens - 1
    for one, other in itertools.pairwise(found):
        assert one.start + one.length <= other.start


def test_stretches_are_of_every_document_that_has_room_for_one() -> None:
    lengths = [400, 90, 700, 64, 5000, 120]
    starts = np.cumsum([1, *(length + 1 for length in lengths)]).tolist()
    found = spread(starts[:-1], starts[-1], 20 * 64, 64)
    of = np.searchsorted(starts[:-1], [stretch.start + 1 for stretch in found], "right") - 1
    counts = np.bincount(of, minlength=len(lengths))
    assert counts.min() >= 1
    assert counts[4] == counts.max() >= 10


@pytest.mark.usefixtures("without_pictures")
def test_evaluated_text_is_of_all_documents_and_is_recorded(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PEBENCH_CACHE", str(tmp_path / "cache"))
    for split in ("train", "validation"):
        (tmp_path / "text" / split).mkdir(parents=True)
        for number in range(6):
            (tmp_path / "text" / split / f"{number}.txt").write_text(f"Text {number} of {split}. " * 40)
    task = {"language-modeling": {"data": "text", "extent": 16, "evaluate": [16, 32], "tokens": 320}}
    sweep = write(tmp_path, tiny(tmp_path, tasks=[task], seeds=2, encodings=["rope"]))
    assert main(["submit", str(sweep), "--cluster", "inline"]) == 0
    kept = [RunFolder(path.parent).examples() for path in Path("runs").glob("*/spec.json")]
    assert len(kept) == 2
    for one, other in zip(*kept, strict=True):
        assert one.columns["document"] == other.columns["document"]
        assert one.columns["stretch"] == other.columns["stretch"]
        assert set(one.columns["document"]) == set(range(6))
        expected = 10 * 16 if "tail" in one.ratios[0].metric else 320
        assert one.counts["tokens"] == sum(one.columns["tokens"]) == expected
        assert one.counts["documents"] == 6
    # Every extent is measured on the same text.
    by_protocol: dict[str, set[Any]] = {}
    for one in kept[0]:
        places = tuple(zip(*(one.columns[name] for name in ("document", "stretch", "tokens")), strict=True))
        by_protocol.setdefault(one.ratios[0].metric, set()).add(places)
    assert all(len(places) == 1 for places in by_protocol.values())
    assert main(["leaderboard", str(sweep)]) == 0
    text = Path("results/tiny/leaderboard.md").read_text()
    assert "interval over the seeds and the text" in text
    assert "### Behind each score" in text
    (counts,) = [line.split() for line in text.splitlines() if line.startswith("| documents")]
    assert counts == ["|", "documents", "|", "6", "|", "6", "|"]


def test_an_old_run_is_never_taken_for_a_new_one(place: Path) -> None:
    data = str(place / "text.txt")
    new = resolve("rope", {"language-modeling": {"data": data, "tokens": 128}})
    old = resolve("rope", {"language-modeling": {"data": data, "tokens": 128, "choice": "beginning"}})
    whole = resolve("rope", {"language-modeling": {"data": data}})
    assert new.task.options["choice"] == "spread"
    # Specifications from before have no such option, and mean the beginning.
    assert "choice" not in old.task.options
    assert "choice" not in whole.task.options
    assert len({spec.run_id for spec in (new, old, whole)}) == 3
    again = RunSpec.model_validate_json(old.model_dump_json())
    assert again.run_id == old.run_id
    assert build_task(again).options.choice == "beginning"
    assert build_task(new).options.choice == "spread"
    assert task_record(again, {}) == task_record(old, {})
    images = [
        resolve("rope-axial", {"image-classification": options})
        for options in ({"images": 9}, {"images": 9, "choice": "beginning"}, {})
    ]
    assert [spec.task.options.get("choice") for spec in images] == ["spread", None, None]
    assert "choice" not in load(place).cells[0].task.label

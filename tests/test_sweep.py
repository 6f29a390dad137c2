"""A sweep's file stands for exactly the cells that it says, and a mistake in it is told in one sentence."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from specimens.tiny_sweeps import load, tiny, write

from pebench.encoding_config import serving
from pebench.errors import UserError, join_and
from pebench.specification.run_spec import RunSpec
from pebench.sweeping.cell import Cell, merged
from pebench.sweeping.sweep import load_sweep
from pebench.sweeping.sweep_file import SweepFile, read

KEYS = st.text("abc", min_size=1, max_size=2)
VALUES = st.recursive(st.none() | st.integers(), lambda inner: st.dictionaries(KEYS, inner, max_size=3))
MAPPINGS = st.dictionaries(KEYS, VALUES, max_size=4)


def test_cells_are_the_product_in_the_order_of_the_file(place: Path) -> None:
    sweep = load(
        place, encodings=["rope", "none"], seeds=[5, 2], grid={"train.steps": [7, 3], "train.batch": [1, 2]}
    )
    cells = [(c.encoding.name, c.train.steps, c.train.batch, c.seed) for c in sweep.cells]
    assert cells == list(itertools.product(["rope", "none"], [7, 3], [1, 2], [5, 2]))


@settings(max_examples=25, deadline=None)
@given(
    encodings=st.lists(st.sampled_from(["a", "b", "c", "d"]), min_size=1, unique=True),
    tasks=st.lists(st.sampled_from(["x", "y"]), min_size=1, unique=True),
    values=st.lists(st.lists(st.integers(), min_size=1, max_size=3), max_size=3),
)
def test_every_combination_comes_once(
    encodings: list[str], tasks: list[str], values: list[list[int]]
) -> None:
    grid = {f"train.option{number}": choices for number, choices in enumerate(values)}
    file = SweepFile.model_validate({"name": "s", "encodings": encodings, "tasks": tasks, "grid": grid})
    found = [(c.encoding, c.task, *c.options["train"].values()) for c in file.cells()]
    assert found == list(itertools.product(encodings, tasks, *values))


@given(MAPPINGS, MAPPINGS)
def test_merging_takes_the_new_value_and_changes_neither(old: dict[str, Any], new: dict[str, Any]) -> None:
    before = repr((old, new))
    both = merged(old, new)
    assert repr((old, new)) == before
    assert set(both) == set(old) | set(new)
    assert merged(both, new) == both
    assert all(both[key] == new[key] for key in new if not isinstance(new[key], dict))


def test_a_grid_crosses_whole_models(place: Path) -> None:
    hosts: list[dict[str, Any]] = [{"block": "gpt2"}, {"block": "llama", "key_value_heads": 1}]
    plain = load(place).cells
    cells = load(place, grid={"model": hosts}).cells
    assert [(spec.encoding.name, spec.model.get("block")) for spec in cells] == [
        ("none", None),
        ("none", "llama"),
        ("rope", None),
        ("rope", "llama"),
    ]
    assert [spec.run_id for spec in cells[::2]] == [spec.run_id for spec in plain]
    assert cells[1].model == plain[0].model | hosts[1]


def test_a_cell_is_the_run_that_the_command_line_would_name(place: Path) -> None:
    sweep = load(place, encodings=["rope"])
    written = tiny(place)
    cell = Cell("rope", "language-modeling", {"task": written["tasks"][0]["language-modeling"]})
    for key, value in {**written["model"]}.items():
        cell = cell.with_value(f"model.{key}", value)
    for key, value in written["train"].items():
        cell = cell.with_value(f"train.{key}", value)
    assert sweep.cells[0].run_id == cell.resolve(0).run_id


def test_an_entry_overrides_training_and_model_for_itself_alone(place: Path) -> None:
    rope = {"rope": {"base": 500}, "train": {"learning_rate": 2e-3}, "model": {"layers": 2}}
    none, changed = load(place, encodings=["none", rope]).cells
    assert (none.train.learning_rate, none.model["layers"]) == (1e-3, 1)
    assert (changed.train.learning_rate, changed.model["layers"], changed.encoding.options["base"]) == (
        2e-3,
        2,
        500,
    )
    assert changed.train.steps == none.train.steps == 4


def test_the_override_of_an_encoding_goes_before_that_of_a_task(place: Path) -> None:
    task = {**tiny(place)["tasks"][0], "train": {"steps": 5, "batch": 3}}
    (cell,) = load(place, encodings=[{"rope": {}, "train": {"steps": 6}}], tasks=[task]).cells
    assert (cell.train.steps, cell.train.batch) == (6, 3)


def test_exponents_without_a_dot_are_numbers(place: Path) -> None:
    text = write(place, tiny(place, encodings=["none"])).read_text("utf-8")
    path = write(place, f"{text}grid: {{train.learning_rate: [1e-3, 3E-4, 1.5e+0]}}\n", "numbers.yaml")
    assert read(path)[0].grid["train.learning_rate"] == [1e-3, 3e-4, 1.5]
    assert [cell.train.learning_rate for cell in load_sweep(path).cells] == [1e-3, 3e-4, 1.5]


def test_an_integer_stays_an_integer(place: Path) -> None:
    path = write(place, "encodings: [none]\ntasks: [x]\ntrain: {steps: 100, name: 1e, tag: e3}\n")
    assert read(path)[0].train == {"steps": 100, "name": "1e", "tag": "e3"}


def test_the_name_is_that_of_the_file_by_default(place: Path) -> None:
    written = tiny(place)
    del written["name"]
    assert load_sweep(write(place, written, "my-first.yaml")).name == "my-first"


def test_seeds_are_a_count_or_a_list(place: Path) -> None:
    assert [cell.seed for cell in load(place, encodings=["none"], seeds=3).cells] == [0, 1, 2]
    assert [cell.seed for cell in load(place, encodings=["none"], seeds=[4, 1]).cells] == [4, 1]


@pytest.mark.parametrize("wanted", ["rope(base=500.0)", "none"])
def test_a_baseline_is_one_of_the_labels(place: Path, wanted: str) -> None:
    encodings = ["none", "rope", {"rope": {"base": 500}}]
    assert load(place, encodings=encodings, baseline=wanted).baseline == wanted


def test_a_baseline_may_be_a_name_that_fits_one_label(place: Path) -> None:
    sweep = load(place, encodings=["none", {"rope": {"base": 500}}], baseline="rope")
    assert sweep.record().baseline == "rope(base=500.0)"


def test_execution_is_no_part_of_what_is_run(place: Path) -> None:
    one, other = load(place), load(place, execution={"threads": 2, "log_every": 1})
    assert one.record().runs == other.record().runs
    assert other.execution.threads == 2


def test_plugins_are_found_beside_the_sweep(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pebench.plugins.registry import encodings

    monkeypatch.setattr(encodings, "_files", {})
    folder = place / "sweeps"
    folder.mkdir()
    (folder / "my_own.py").write_text(
        '"""An encoding of my own."""\n'
        "from pebench.position_encoding import PositionEncoding\n\n\n"
        "class MyOwn(PositionEncoding):\n    pass\n",
        "utf-8",
    )
    path = write(folder, tiny(place, encodings=["my-own"], plugins=["my_own.py"]))
    (cell,) = load_sweep(path).cells
    assert list(cell.plugins) == ["my_own.py"]


def test_a_name_is_looked_for_here_and_then_among_those_that_come_with_the_package(place: Path) -> None:
    shipped = load_sweep("quickstart")
    assert {spec.encoding.name for spec in shipped.cells} >= {"none", "rope", "alibi", "t5", "seqpe"}
    (place / "sweeps").mkdir()
    write(place / "sweeps", tiny(place, name="quickstart"), "quickstart.yaml")
    assert len(load_sweep("quickstart").cells) == 2


def test_everything_but_the_seed_is_looked_up_once(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    chain = Cell.chain

    def counted(cell: Cell, seed: int = 0, runs: Path | None = None) -> list[RunSpec]:
        asked.append(cell)
        return chain(cell, seed, runs)

    monkeypatch.setattr(Cell, "chain", counted)
    sweep = load(place, seeds=100, grid={"train.batch": [1, 2]})
    assert (len(sweep.cells), len(asked)) == (400, 4)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"encodings": ["rpoe"]}, "unknown encoding 'rpoe': did you mean 'rope'"),
        (
            {"encodings": [{"rope": {"bsae": 5}}]},
            "unknown option 'bsae' of encoding 'rope': did you mean 'base'",
        ),
        ({"encodings": [{"rope": {"base": "big"}}]}, "encoding 'rope', option 'base'"),
        ({"encodings": [{"rope": {}, "none": {}}]}, "an entry names one thing"),
        ({"encodings": [{"train": {}}]}, "an entry names one thing"),
        ({"encodings": [3]}, "write 'name' or 'name: {option: value}', not 3"),
        ({"encodings": [{"rope": {}, "train": 3}]}, "should be a valid dictionary"),
        ({"encodings": []}, "option 'encodings'"),
        ({"encodings": "rope"}, "option 'encodings'"),
        ({"encodigns": ["rope"]}, "unknown option 'encodigns'"),
        ({"encodings": ["rope", "rope"]}, "the same run as cell 1 (rope on language-modeling"),
        ({"grid": {"train.batch": [2, 2]}}, "the same run as cell 1"),
        ({"grid": {"train.batch": []}}, "option 'grid.train.batch'"),
        ({"grid": {"train.btach": [2]}}, "unknown option 'btach' of 'train': did you mean 'batch'"),
        ({"grid": {"trian.batch": [2]}}, "unknown place 'trian.batch': did you mean 'train"),
        ({"grid": {"train": [2]}}, "'train' takes 'option: value', not 2"),
        ({"grid": {"task": [{"extent": 8}]}}, "the grid sets 'task', and so does the entry"),
        ({"grid": {"model": [{"blok": "llama"}]}}, "unknown option 'blok' of the model of task"),
        ({"grid": {"task.extent": [8, 16]}}, "the grid sets 'task.extent', and so does the entry"),
        ({"seeds": 0}, "at least one seed"),
        ({"seeds": [1, 1]}, "a seed stands twice"),
        ({"seeds": [-1]}, "option 'seeds.0'"),
        ({"seeds": True}, "option 'seeds'"),
        ({"seeds": "three"}, "option 'seeds'"),
        ({"encodings": []}, "option 'encodings': should hold at least 1 entry, not 0."),
        ({"tasks": []}, "option 'tasks': should hold at least 1 entry, not 0."),
        ({"seeds": "="}, "option 'seeds': input should be a list, not '='."),
        ({"name": "My Sweep"}, "as 'my-sweep'"),
        ({"baseline": "ropee"}, "unknown baseline 'ropee': did you mean 'rope'"),
        (
            {"encodings": [{"rope": {"base": 5}}, {"rope": {"base": 6}}], "baseline": "rope"},
            "write one of these",
        ),
        ({"execution": {"devcie": "cpu"}}, "unknown option 'devcie' of 'execution' of sweep"),
        ({"plugins": ["absent.py"]}, "no plugin file at"),
        ({"model": {"width": 15, "heads": 4}}, "width 15 does not divide into 4 heads"),
        (
            {"encodings": ["none", "rope-mixed"]},
            "serves 2 or 3 position axes, but task 'language-modeling' has 1 position axis: "
            f"{join_and(serving(1, causal=True))} can serve it.",
        ),
        (
            {"encodings": ["fox"], "tasks": ["image-classification"]},
            f"{join_and(serving(2, causal=False))} can serve it.",
        ),
        ({"encodings": [{"rope": {"frequencies": 0.01}}]}, "of 4 frequencies a share of 0.01 is none"),
        ({"encodings": [{"rope": {"rotated": 0.2}}]}, "channels a head do not make up two pairs or more"),
        ({"encodings": [{"liere": {"block": 3}}]}, "8 channels a head do not divide into blocks of 3"),
        ({"encodings": [{"kerple": {"kind": "linear"}}]}, "input should be 'log' or 'power'"),
    ],
)
def test_a_mistake_is_told_in_one_sentence(place: Path, changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError) as told:
        load(place, **changes)
    assert sentence in str(told.value)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("name: a\nname: b\n", 'bad.yaml, line 2: found duplicate key "name".'),
        ("train:\n  steps: 1\n  batch: 2\n  steps: 3\n", 'bad.yaml, line 4: found duplicate key "steps".'),
        ("encodings: [rope\ntasks: [x]\n", "bad.yaml, line 2:"),
        ("a: b: c\n", "bad.yaml, line 1:"),
        ("a: !!python/object:os.system x\n", "bad.yaml, line 1:"),
        ("a: \x00\n", "bad.yaml: "),
        ("a: !!bool\n", "bad.yaml: "),
        ("", "must hold 'key: value' lines, not nothing"),
        ("- rope\n", "must hold 'key: value' lines, not a list"),
        ("3: rope\n", "must hold 'key: value' lines"),
    ],
)
def test_what_is_no_yaml_mapping_is_told_with_its_line(place: Path, text: str, sentence: str) -> None:
    with pytest.raises(UserError) as told:
        load_sweep(write(place, text, "bad.yaml"))
    assert sentence in str(told.value)
    assert "\n" not in str(told.value)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=60))
def test_no_text_does_worse_than_a_sentence(place: Path, text: str) -> None:
    path = place / "any.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(UserError) as told:
        read(path)
    assert "\n" not in str(told.value)


def test_a_name_that_is_no_sweep_is_answered_with_the_nearest(place: Path) -> None:
    nearest = r"unknown sweep 'quikstart': did you mean 'quickstart', 'images-quickstart' or "
    with pytest.raises(UserError, match=nearest):
        load_sweep("quikstart")


def test_a_file_that_is_not_there_is_named(place: Path) -> None:
    with pytest.raises(UserError, match=r"cannot read sweeps/none\.yaml: No such file"):
        load_sweep("sweeps/none.yaml")

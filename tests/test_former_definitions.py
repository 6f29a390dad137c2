"""Options that came later leave the names of runs alone, and a run of an earlier definition computes what it
did."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from specimens.tiny_sweeps import tiny
from specimens.trained_runs import trained

from pebench.atomic import write_json
from pebench.command_line.main import main
from pebench.encoding_config import build_encoding, current_options, encoding_config, same_encoding
from pebench.position_encoding import Geometry
from pebench.resolve import build_task, encoding_of, resolve
from pebench.running.finished import load_finished
from pebench.specification.run_spec import PluginConfig, RunSpec
from pebench.store.run_folder import RunFolder

TEXT = {"language-modeling": {"data": "python-docs", "extent": 128, "evaluate": [128, 512]}}

NAMES = {
    "t5": "t5-e765cf4b75",
    "fire": "fire-3e94116407",
    "rope": "rope-1f936b9d8a",
    "xpos": "xpos-ea85f20eb0",
    "alibi + fire": "alibi-fire-976bca9596",
}
"""Of runs from before there were some of these encodings' options."""


@pytest.mark.parametrize("name", NAMES)
def test_options_that_came_later_leave_the_names_of_runs_alone(name: str) -> None:
    assert resolve(name, TEXT, model={"size": "tiny"}).run_id == NAMES[name]


def test_an_option_that_came_later_is_written_down_where_it_is_not_its_default() -> None:
    plain, same = (resolve({"t5": options}, TEXT) for options in ({}, {"max_distance": 128}))
    other = resolve({"t5": {"max_distance": "25%"}}, TEXT)
    assert plain == same
    assert plain.encoding.options == {}
    assert other.encoding.options == {"max_distance": "25%"}
    assert other.encoding.label == "t5(max_distance=25%)"
    assert RunSpec.model_validate_json(other.model_dump_json()).run_id == other.run_id != plain.run_id


@pytest.mark.parametrize("task", ["language-modeling", "position-probe", "picture-probe"])
def test_an_empty_list_of_extrapolations_is_none_and_a_run_that_has_one_keeps_its_name(task: str) -> None:
    encoding = "rope-axial" if task == "picture-probe" else "rope"
    without, empty, one = (
        resolve(encoding, {task: {"extrapolations": asked}}) for asked in (None, [], ["extend"])
    )
    assert without == empty
    assert one.run_id != without.run_id
    options = {**without.task.options, "extrapolations": []}
    former = without.model_copy(update={"task": without.task.model_copy(update={"options": options})})
    assert RunSpec.model_validate_json(former.model_dump_json()).run_id == former.run_id != without.run_id
    assert build_task(former).extrapolations() == ()


FORMER: list[tuple[PluginConfig, dict[str, Any]]] = [
    (PluginConfig(name="fox", version=2), {"gate_bias": 5.0}),
    (PluginConfig(name="cable", version=2), {"bias": False, "scaled": True}),
    (PluginConfig(name="cope", version=1, options={"p_max": 64}), {"p_max": 65}),
    (PluginConfig(name="liere", version=1, options={"block": 4}), {"block": 4, "inclusive": False}),
]


@pytest.mark.parametrize(("former", "today"), FORMER, ids=[former.name for former, _ in FORMER])
def test_a_specification_of_an_earlier_definition_means_what_it_did(
    former: PluginConfig, today: dict[str, Any]
) -> None:
    assert current_options(former) == today
    now = encoding_config({former.name: former.options})
    assert not same_encoding(former, now)
    assert same_encoding(former, encoding_config({former.name: today}))
    spec = resolve(former.name, TEXT, model={"size": "tiny"}).model_copy(update={"encoding": former})
    task = build_task(spec)
    geometry = task.geometry()
    found, wanted = encoding_of(spec, task), build_encoding(former.name, today, geometry)
    assert found.scale() == wanted.scale()
    assert found.state_dict().keys() == wanted.state_dict().keys()
    for name, tensor in wanted.state_dict().items():
        assert torch.equal(found.state_dict()[name], tensor)


def test_so_do_the_parts_of_a_composition() -> None:
    parts = [former.model_dump(include={"name", "version", "options"}) for former, _ in FORMER[:2]]
    found = encoding_config({"compose": parts}).options["parts"]
    assert [part["options"] for part in found] == [
        {"gate_bias": 5.0},
        {"bias": False, "scaled": True},
    ]
    whole: Any = build_encoding("compose", {"parts": parts}, Geometry(16, 2, 1, (8,)))
    assert (whole.parts[0].gates[0].bias == 5).all()
    assert whole.parts[1].steps[0].bias is None


def test_the_folder_of_a_run_of_an_earlier_definition_is_read(place: Path) -> None:
    folder = trained(place, encoding="cable")
    former = folder.spec().model_copy(update={"encoding": FORMER[1][0]})
    write_json(folder.path / "spec.json", former.model_dump(mode="json"))
    weights = {name: value for name, value in load_file(folder.weights).items() if "steps.0.bias" not in name}
    save_file(weights, folder.weights)
    encoding: Any = load_finished(folder, torch.device("cpu")).model.encoding
    assert encoding.steps[0].bias is None
    assert encoding.scaled


def test_definitions_on_the_command_line(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    task = tiny(place)["tasks"][0]["language-modeling"]
    asked = ["run", "--encoding", "t5", "--threads", "1", "--set", "train.steps=1", "--set", "train.batch=2"]
    for name, value in {**task, "extent": 80}.items():
        asked += ["--set", f"task.{name}={json.dumps(value)}"]
    assert main([*asked, "--option", "max_distance=25%"]) == 0
    (spec,) = (RunFolder(path.parent).spec() for path in (place / "runs").glob("*/result.json"))
    assert spec.encoding.options == {"max_distance": "25%"}
    capsys.readouterr()
    assert main([*asked, "--option", "max_distance=10%"]) == 2
    assert "leaves nothing for the others" in capsys.readouterr().err
    method = ["--set", "task.extrapolations=[dynamic-ntk]"]
    assert main([*asked, "--set", "train.steps=1", *method]) == 2
    assert "unknown extrapolation 'dynamic-ntk': did you mean 'dynamic'?" in capsys.readouterr().err

"""`pebench gallery --run`: what training has made of an encoding."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from specimens.trained_runs import trained

from pebench.command_line.main import main
from pebench.portrait.logits import portrait_of
from pebench.position_encoding import PositionEncoding
from pebench.running.finished import load_finished


def test_the_portrait_of_a_trained_encoding_is_that_of_its_weights(place: Path) -> None:
    encoding = load_finished(trained(place, "t5"), torch.device("cpu")).model.encoding
    assert isinstance(encoding, PositionEncoding)
    before = portrait_of(encoding, draws=2).change
    assert before.shape == (2, 4 * 16)
    with torch.no_grad():
        for parameter in encoding.parameters():
            parameter.fill_(0.25)
    torch.testing.assert_close(portrait_of(encoding, draws=2).change, torch.full((2, 64), 0.25))


@pytest.mark.parametrize(("encoding", "changed"), [("fire", True), ("rope", False)])
def test_a_run_is_drawn_untrained_and_trained(
    place: Path, capsys: pytest.CaptureFixture[str], encoding: str, changed: bool
) -> None:
    folder = trained(place, encoding)
    output = place / "pictures"
    command = ["gallery", "--run", folder.run_id[:8], "--runs", str(place / "runs"), "--output", str(output)]
    assert main(command) == 0
    path = output / f"{folder.run_id}.png"
    assert path.read_bytes().startswith(b"\x89PNG")
    said = capsys.readouterr().out.strip()
    unchanged = " (training changed nothing of what it shows)"
    assert said.replace("\n", "") == str(path) + ("" if changed else unchanged)
    first = path.read_bytes()
    assert main(command) == 0
    assert path.read_bytes() == first


def test_every_layer_that_differs_has_a_picture_of_its_own(place: Path) -> None:
    from pebench.portrait.trained import _by_layer

    folder = trained(place, "fire", model={"width": 16, "heads": 2, "layers": 3})
    encoding = load_finished(folder, torch.device("cpu")).model.encoding
    assert isinstance(encoding, PositionEncoding)
    assert list(_by_layer(encoding)) == [", layer 1", ", layer 2", ", layer 3"]


def test_a_run_that_is_not_there_is_refused(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = trained(place, "rope")
    (folder.path / "result.json").unlink()
    command = ["gallery", "--runs", str(place / "runs"), "--output", str(place / "pictures"), "--run"]
    assert main([*command, folder.run_id]) == 2
    assert "is not finished" in capsys.readouterr().err
    assert main([*command, "nosuch"]) == 2
    assert "unknown run 'nosuch'" in capsys.readouterr().err
    assert not (place / "pictures").exists()

"""Pictures of encodings show what the encodings do."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from pebench.cli import pebench
from pebench.encodings.alibi import slopes
from pebench.portrait import DRAWS, portrait
from pebench.registry import encodings


def test_without_an_encoding_the_logit_is_flat() -> None:
    logits = portrait("none", {}, 1).logits
    assert logits.shape == (4, 256)
    assert (logits - logits[:, :1]).abs().max() < 1e-4
    assert logits.mean().item() == pytest.approx(32**0.5, rel=4 / DRAWS**0.5)


def test_alibi_falls_with_its_slopes() -> None:
    logits = portrait("alibi", {}, 1).logits
    torch.testing.assert_close(logits[:, 0] - logits[:, 100], 100 * slopes(4), rtol=1e-3, atol=1e-3)


def test_the_factored_bias_of_a_query_is_seen_from_that_query() -> None:
    flat = portrait("alibi", {}, 2)
    query = flat.query[0] * flat.extent[1] + flat.query[1]
    assert (flat.logits.argmax(-1) == query).all()


@pytest.mark.parametrize("name", encodings.origins())
def test_every_encoding_can_be_drawn(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pebench.portrait.DRAWS", 2)
    axes = [number for number in encodings.load(name).axes if number < 3]
    for number in axes:
        logits = portrait(name, {}, number).logits
        assert not logits.isnan().any()
        assert logits.shape[0] == 4


def test_check_draws_a_picture_and_refuses_what_is_none(tmp_path: Path) -> None:
    runner = CliRunner()
    found = runner.invoke(
        pebench, ["check", "none", "--plot", str(tmp_path / "none.txt")], standalone_mode=False
    )
    assert "ends in .png, .svg, .pdf" in str(found.exception)
    from pebench.portrait import picture_of

    picture_of("alibi", {}, tmp_path / "alibi.png")
    assert (tmp_path / "alibi.png").read_bytes().startswith(b"\x89PNG")

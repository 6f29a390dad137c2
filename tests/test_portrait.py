"""Pictures of encodings show what the encodings do."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from pebench.command_line.main import pebench
from pebench.encodings.alibi import slopes
from pebench.plugins.registry import encodings
from pebench.portrait import portrait
from pebench.portrait.gallery import FLAT


def test_without_an_encoding_nothing_changes() -> None:
    change = portrait("none", {}, 1).change
    assert change.shape == (4, 256)
    assert change.abs().max() < 1e-5


def test_alibi_falls_with_its_slopes() -> None:
    change = portrait("alibi", {}, 1).change
    torch.testing.assert_close(change[:, 100], -100 * slopes(4), rtol=1e-3, atol=1e-3)


def test_what_starts_alike_at_every_distance_is_said_to_be_flat() -> None:
    flat = {name: portrait(name, {}, 1).is_flat() for name in ("none", "cope", "seqpe", "t5", "alibi")}
    assert flat == {"none": True, "cope": True, "seqpe": True, "t5": False, "alibi": False}


def test_a_temperature_scales_all_logits_of_a_query_and_a_window_hides_keys() -> None:
    scaled = portrait("ssmax", {}, 1)
    assert scaled.is_flat()
    assert (scaled.change > 1).all()
    hidden = portrait("window", {"size": 10}, 1).change
    assert (hidden[:, :10] == 0).all()
    assert (hidden[:, 10:] == -math.inf).all()


def test_the_factored_bias_of_a_query_is_seen_from_that_query() -> None:
    flat = portrait("alibi", {}, 2)
    query = flat.query[0] * flat.extent[1] + flat.query[1]
    assert (flat.change.argmax(-1) == query).all()


@pytest.mark.parametrize("name", encodings.origins())
def test_every_encoding_can_be_drawn(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pebench.portrait.logits.DRAWS", 2)
    for number in encodings.load(name).axes:
        change = portrait(name, {}, number).change
        assert not change.isnan().any()
        assert change.shape[0] == 4


def test_the_gallery_of_the_documentation_shows_every_encoding() -> None:
    docs = Path(__file__).parents[1] / "docs"
    page = (docs / "gallery.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (.*)", page, re.MULTILINE) == list(encodings.origins())
    pictures = re.findall(r"!\[.*\]\((.*)\)", page)
    assert pictures == [f"gallery/{name}.png" for name in encodings.origins()]
    assert {path.name for path in (docs / "gallery").iterdir()} == {Path(name).name for name in pictures}
    for name in encodings.origins():
        assert encodings.literals(name)["summary"] in page
    flat = [
        name for name, text in zip(encodings.origins(), page.split("\n## ")[1:], strict=True) if FLAT in text
    ]
    # Of these a picture shows what they do only once they are trained.
    assert flat == ["cope", "repo", "selective-rope", "seqpe"]


def test_what_hides_keys_hides_some_in_its_picture() -> None:
    for name in ("window", "chunk"):
        options = encodings.load(name).drawn_with
        assert portrait(name, options, 1).change.isinf().any()
        caption = f"Drawn with size: {options['size']}."
        assert caption in (Path(__file__).parents[1] / "docs" / "gallery.md").read_text(encoding="utf-8")


def test_check_draws_a_picture_and_refuses_what_is_none(tmp_path: Path) -> None:
    runner = CliRunner()
    found = runner.invoke(
        pebench, ["check", "none", "--plot", str(tmp_path / "none.txt")], standalone_mode=False
    )
    assert "ends in .png, .svg, .pdf" in str(found.exception)
    from pebench.portrait import picture_of

    picture_of("alibi", {}, tmp_path / "alibi.png")
    assert (tmp_path / "alibi.png").read_bytes().startswith(b"\x89PNG")

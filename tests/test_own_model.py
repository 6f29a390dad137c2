"""The page on encodings in models of one's own: its code runs, and does what it says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import pebench
from pebench.errors import UserError
from pebench.machine.torchvision_operators import declare_missing
from pebench.plugins.registry import encodings

PAGE = Path(__file__).resolve().parents[1] / "docs" / "own-model.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
ON_TEXT = [
    name
    for name in encodings.origins()
    if 1 in encodings.load(name).axes and name != "seqpe"  # which reads digits for seconds
]


@pytest.fixture(scope="module")
def page() -> dict[str, Any]:
    """The names that the page defines, in the order of its code."""
    declare_missing()
    torch.manual_seed(0)
    names: dict[str, Any] = {"__name__": "page"}
    for block in BLOCKS:
        exec(compile(block, str(PAGE), "exec"), names)
    return names


def test_an_encoding_takes_few_lines_of_a_language_model() -> None:
    assert sum(line.endswith("# pebench") for line in BLOCKS[0].splitlines()) == 8


@torch.no_grad()
@pytest.mark.parametrize("name", ON_TEXT)
def test_every_encoding_acts_in_the_language_model(page: dict[str, Any], name: str) -> None:
    torch.manual_seed(1)
    model = page["GPT"](vocabulary=65, context=32, encoding=name).eval()
    tokens = torch.randint(65, (2, 32))
    changed = tokens.clone()
    changed[:, 20:] = 0
    one, other = model(tokens), model(changed)
    torch.testing.assert_close(one[:, :20], other[:, :20])
    assert not torch.allclose(one[:, 20:], other[:, 20:])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ON_TEXT)
def test_every_encoding_acts_in_a_model_of_half_precision(
    page: dict[str, Any], name: str, dtype: torch.dtype
) -> None:
    """Its own weights and buffers stay as they are: rounded frequencies would be wrong far out."""
    torch.manual_seed(1)
    model = page["GPT"](vocabulary=65, context=32, encoding=name).eval()
    tokens = torch.randint(65, (2, 32))
    before = {key: tensor.clone() for key, tensor in model.encoding.state_dict(keep_vars=True).items()}
    wanted = model(tokens)
    found = model.to(dtype)(tokens)
    assert found.dtype == dtype
    torch.testing.assert_close(found.float(), wanted, atol=0.05, rtol=0.05)
    after = model.encoding.state_dict()
    assert all(torch.equal(after[key], tensor) for key, tensor in before.items())
    assert all(tensor.dtype != dtype for tensor in model.encoding.buffers())
    found.float().square().sum().backward()
    assert all(parameter.grad is not None for parameter in model.encoding.parameters())


def test_a_way_that_an_encoding_does_not_have_is_refused() -> None:
    geometry = pebench.Geometry(width=16, heads=2, layers=1, extent=(8,))
    rope, alibi = (pebench.encoding(name, geometry) for name in ("rope", "alibi"))
    places = pebench.grid((16,))
    for encoding, method, sentence in (
        (rope, "yarnn", "unknown extrapolation 'yarnn' of this encoding: did you mean 'yarn'"),
        (alibi, "yarn", "unknown extrapolation 'yarn'"),
        (rope, "yarn(factor=4)", "names options, and has none with it"),
    ):
        with pytest.raises(UserError, match=re.escape(sentence)):
            pebench.tabulate(encoding, places, pebench.Extrapolation((16,), method))


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ({"window": 0}, "a window of 0 tokens"),
        ({"window": -3}, "a window of -3 tokens"),
        ({"softcap": 0.0}, "a soft cap is above 0, not 0.0"),
        ({"softcap": -1.0}, "a soft cap is above 0, not -1.0"),
    ],
)
def test_windows_and_caps_that_leave_nothing_are_refused(setting: dict[str, Any], sentence: str) -> None:
    encoding = pebench.encoding("rope", pebench.Geometry(width=16, heads=2, layers=1, extent=(8,)))
    here = pebench.encoded_positions(
        encoding, pebench.tabulate(encoding, pebench.grid((8,)), encoding.trained_with)
    )
    x, hidden = torch.randn(1, 2, 8, 8), torch.randn(1, 8, 16)
    with pytest.raises(ValueError, match=re.escape(sentence)):
        here.attend(x, x, x, hidden, 0, causal=True, **setting)


def test_the_models_learn(page: dict[str, Any]) -> None:
    assert float(page["loss"].detach()) == pytest.approx(4.3, abs=0.4)
    assert all(parameter.grad is not None for parameter in page["model"].parameters())
    assert page["scores"].shape == (2, 10)


@torch.no_grad()
def test_decoding_through_the_cache_equals_the_whole_pass(page: dict[str, Any]) -> None:
    whole = page["model"](page["tokens"])
    parts = torch.cat((page["first"], page["following"]), dim=1)
    torch.testing.assert_close(parts, whole, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_without_an_encoding_the_vision_transformer_is_timms(page: dict[str, Any]) -> None:
    import timm

    vit, image = page["vit"].eval(), torch.randn(2, 3, 32, 32)
    plain = timm.create_model("vit_tiny_patch16_224", pos_embed="none", **page["sizes"]).eval()
    state = {key: value for key, value in vit.state_dict().items() if not key.startswith("encoding.")}
    plain.load_state_dict(state)
    for name, same in (("none", True), ("rope-axial", False)):
        encoding = pebench.encoding(name, page["geometry"])
        table = pebench.tabulate(encoding, pebench.grid((4, 4)), encoding.trained_with)
        found = vit(image, attn_mask=pebench.encoded_positions(encoding, table))
        assert torch.allclose(found, plain(image), atol=1e-5) == same


def test_the_contracts_run_in_the_tests_of_another_package(tmp_path: Path) -> None:
    (block,) = (block for block in BLOCKS if "conformance" in block)
    plugin = tmp_path / "forgetful.py"
    plugin.write_text(
        "from pebench.position_encoding import Factored, PositionEncoding\n\n\n"
        "class ForgetfulEncoding(PositionEncoding):\n"
        '    """A bias that counts from the first of the keys it is asked for."""\n\n'
        '    acts = "B"\n'
        '    kernels = ("factored",)\n\n'
        "    def bias(self, x):\n"
        "        first = x.k_table[:, -x.q.shape[2], None]\n"
        "        return Factored(key=(x.k_table - first)[:, None].float().square() / 100)\n",
        "utf-8",
    )
    (tmp_path / "test_mine.py").write_text(
        f"import pebench\n\npebench.load_plugin({str(plugin)!r})\n"
        + block.replace('checks("alibi")', 'checks("forgetful")'),
        "utf-8",
    )
    chosen = "causality or cached_decoding"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_mine.py", "-k", chosen]
    told = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False).stdout
    assert "cached_decoding (1-D, causal)" in told
    assert "decoding with a cache differs from the full pass" in told
    assert re.search(r"\d+ failed, \d+ passed", told)

"""On CUDA the kernels for logits that a network over the heads adjusts agree with the N×N form, repeat
themselves, and stand in a model that is compiled."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from references.adjusted_comparison import SETTINGS, SLOPE, Setting, compare, draw
from references.compiled_steps import compare_with_uncompiled

from pebench.attention import kernels

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]

LONG = [
    Setting(1024, heads=12, channels=64, dtype=torch.bfloat16),
    Setting(1000, heads=12, channels=64),
]


@pytest.mark.parametrize("setting", SETTINGS + LONG, ids=str)
def test_agrees_with_the_plain_form_in_outputs_and_gradients(setting: Setting) -> None:
    compare(setting, "cuda")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gradients_repeat_themselves(dtype: torch.dtype) -> None:
    from pebench.attention.adjusted import Weights, attend_adjusting

    leaves, weights = draw(Setting(300, heads=12, channels=64, texts=4, dtype=dtype), "cuda")
    q, k, v, *network = leaves
    first, second = (
        torch.autograd.grad(
            (attend_adjusting(q, k, v, Weights(*network), scale=0.125, slope=SLOPE) * weights).sum(), leaves
        )
        for _ in range(2)
    )
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one, other)


def test_a_compiled_step_takes_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    every = {(dtype, True): 1 for dtype in (torch.float32, torch.bfloat16)}
    monkeypatch.setattr(kernels, "ADJUSTED_FROM", every)
    (tmp_path / "text.txt").write_text("".join(f"line {number} of a text\n" for number in range(4000)))
    compare_with_uncompiled(tmp_path, "dape", layers=2, extent=256, device="cuda")

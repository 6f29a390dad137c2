"""On CUDA the kernels for a bias that is looked up by counts agree with the N×N form, alone and in a model
that is compiled."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from references.compiled_steps import compare_with_uncompiled
from references.counted_comparison import SETTINGS, Setting, compare

from pebench.attention import kernels

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]

LONG = [
    Setting(1024, numbers=64, channels=64, dtype=torch.bfloat16),
    Setting(1024, numbers=64, channels=64, scaled=True, size=2.0, dtype=torch.bfloat16),
    Setting(1000, numbers=64, channels=64),
    Setting(1024, numbers=64, channels=64, size=0.2),
]


@pytest.mark.parametrize("setting", SETTINGS + LONG, ids=str)
def test_agrees_with_the_plain_form_in_outputs_and_gradients(setting: Setting) -> None:
    compare(setting, "cuda")


def test_a_compiled_step_takes_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    every = {(dtype, True): 1 for dtype in (torch.float32, torch.bfloat16)}
    monkeypatch.setattr(kernels, "COUNTED_FROM", every)
    (tmp_path / "text.txt").write_text("".join(f"line {number} of a text\n" for number in range(4000)))
    compare_with_uncompiled(tmp_path, "cope", layers=2, extent=256, device="cuda")

"""On CUDA the kernels for a bias that all texts share agree with blocks of queries, alone and in a model that
is compiled."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from references.compiled_steps import compare_with_uncompiled
from references.shared_bias_comparison import SETTINGS, Setting, compare

from pebench.attention import kernels

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]

LONG = [
    Setting(1024, channels=64, dtype=torch.bfloat16, texts=20),
    Setting(1024, channels=64, dtype=torch.bfloat16, texts=20, by_distance=False),
    Setting(1000, channels=64),
    Setting(1024, channels=128, dtype=torch.bfloat16, causal=False),
]


@pytest.mark.parametrize("setting", SETTINGS + LONG, ids=str)
def test_agrees_with_blocks_in_outputs_and_gradients(setting: Setting) -> None:
    compare(setting, "cuda")


@pytest.mark.parametrize("name", ["t5", "kerple", "fire"])
def test_a_compiled_step_takes_them(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    every = {(dtype, True): 1 for dtype in (torch.float32, torch.bfloat16)}
    monkeypatch.setattr(kernels, "SHARED_FROM", every)
    (tmp_path / "text.txt").write_text("".join(f"line {number} of a text\n" for number in range(4000)))
    compare_with_uncompiled(tmp_path, name, layers=2, extent=256, device="cuda")

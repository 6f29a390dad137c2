"""What one run compiled serves the next, from a folder that outlives the job."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from pebench.running.compilation import compile_whole


def test_gradients_of_exact_products_are_exact_under_autocast() -> None:
    x, weight = torch.randn(8, 16), torch.randn(16, 4, requires_grad=True)

    def loss(x: Tensor, weight: Tensor) -> Tensor:
        with torch.autocast("cpu", enabled=False):
            return (x @ weight).square().sum()

    gradients = []
    for function in (loss, compile_whole(loss, "aot_eager")):
        with torch.autocast("cpu", torch.bfloat16):
            found = function(x, weight)
        gradients.append(torch.autograd.grad(found, weight)[0])
    torch.testing.assert_close(*gradients)


def test_compiled_kernels_of_one_process_serve_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PEBENCH_CACHE", str(tmp_path))
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    code = (
        "import torch;"
        "from pebench.running.execution import Execution; from pebench.running.run import _prepare_process;"
        "_prepare_process(Execution(compile=True));"
        "from torch._dynamo.utils import counters; torch.compile(lambda x: x.sin() + 1)(torch.ones(8));"
        "print(counters['inductor']['fxgraph_cache_hit'] + counters['aot_autograd']['autograd_cache_hit'])"
    )
    hits = [
        int(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
        for _ in range(2)
    ]
    assert hits[0] == 0
    assert hits[1] > 0
    assert list((tmp_path / "compiled").iterdir())

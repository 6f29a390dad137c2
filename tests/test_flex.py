"""Flex attention computes what blocks of queries do: on the CPU without being compiled, on CUDA compiled."""

from __future__ import annotations

import importlib

import pytest
import torch
from torch import Tensor
from torch.nn.attention import flex_attention as torch_flex

from pebench.attention import flex, kernels
from pebench.attention.flex import attend_by_score, visible_blocks
from pebench.conformance import Subject, subjects
from pebench.position_encoding import Dense
from pebench.registry import encodings

# The compiler looks at the gradients of all that a bias has captured, and is warned of those in between.
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")

cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")


def _bias(subject: Subject, count: int, device: str = "cpu") -> tuple[Dense | None, list[Tensor]]:
    """The dense bias of an encoding at positions with gaps, None if it has no form by number, and the
    parameters behind it."""
    encoding = subject.encoding().to(device)
    positions, reach = subject.scattered(count)
    table = encoding.table(positions.to(device), reach)
    q = torch.randn(2, 4, count, 16, device=device)
    bias = encoding.bias(q, q, torch.randn(2, count, 64, device=device), table, table, 1, {})
    parameters: list[Tensor] = list(encoding.parameters())
    return (bias if isinstance(bias, Dense) and bias.score is not None else None), parameters


def _scored() -> list[Subject]:
    """Every encoding whose bias can be given number by number, in every setting where it is."""
    found = [subject for name in encodings.origins() for subject in subjects(name)]
    found += [*subjects("kerple", {"kind": "power"}), *subjects("lookhere", {"view": 45})]
    with torch.no_grad():
        return [subject for subject in found if _bias(subject, 4)[0] is not None]


SCORED = _scored()


def _title(subject: Subject) -> str:
    return f"{subject.name}-{dict(subject.options)}-{subject.axes}d-{subject.causal}"


def test_the_biases_by_position_alone_have_this_form() -> None:
    assert {subject.name for subject in SCORED} == {"t5", "kerple", "fire", "alibi", "lookhere"}


@pytest.fixture
def uncompiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Flex attention as PyTorch runs it without a compiled kernel, with the whole matrix; gradients, which it
    has on CUDA alone, included."""
    module = importlib.import_module("torch.nn.attention.flex_attention")
    monkeypatch.setattr(module, "_validate_device", lambda *_: None)
    monkeypatch.setattr(module, "_warn_once", lambda *_, **__: None)
    monkeypatch.setattr(flex, "compiled", lambda: torch_flex.flex_attention)


def _compare(subject: Subject, count: int, mask: Tensor | None, dtype: torch.dtype, device: str) -> None:
    """Outputs and all gradients against those of blocks in float32."""
    bias, parameters = _bias(subject, count, device)
    assert bias is not None
    assert bias.score is not None
    generator = torch.Generator().manual_seed(0)
    q, k, v, weights = (
        torch.randn(2, 4, count, 16, generator=generator).to(device, dtype).requires_grad_() for _ in range(4)
    )
    found = attend_by_score(q, k, v, bias.score, causal=subject.causal, key_mask=mask)
    sight = kernels._Sight(count, count, subject.causal, mask, q.device)
    exact = [x.detach().float().requires_grad_() for x in (q, k, v)]
    wanted = kernels._blocked(exact[0], exact[1], exact[2], sight, bias)
    half = dtype != torch.float32
    tolerance = 3e-2 if half else 1e-5
    torch.testing.assert_close(found.float(), wanted, atol=tolerance, rtol=tolerance)
    pairs = [
        torch.autograd.grad(
            (out * weights.to(out.dtype)).sum(), [*leaves, *parameters], retain_graph=True, allow_unused=True
        )
        for out, leaves in ((found, [q, k, v]), (wanted, exact))
    ]
    for one, other in zip(*pairs, strict=True):
        if one is None or other is None:
            # Of another layer.
            assert one is other
            continue
        scale = max(1.0, float(other.abs().max()))
        difference = float((one.float() - other).abs().max())
        assert difference <= (3e-2 if half else 2e-5) * scale


@pytest.mark.usefixtures("uncompiled")
@pytest.mark.parametrize("masked", [False, True], ids=["open", "padded"])
@pytest.mark.parametrize("subject", SCORED, ids=_title)
def test_flex_agrees_with_blocks_in_outputs_and_gradients(subject: Subject, masked: bool) -> None:
    mask = torch.arange(150).expand(2, -1) >= torch.tensor([[0], [130]]) if masked else None
    _compare(subject, 150, mask, torch.float32, "cpu")


@pytest.mark.cuda
@cuda
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("masked", [False, True], ids=["open", "padded"])
@pytest.mark.parametrize("subject", SCORED, ids=_title)
def test_compiled_flex_agrees_with_blocks_in_outputs_and_gradients(
    subject: Subject, masked: bool, dtype: torch.dtype
) -> None:
    for count in (150, 384):
        mask = None
        if masked:
            mask = (torch.arange(count).expand(2, -1) >= torch.tensor([[0], [130]])).to("cuda")
        _compare(subject, count, mask, dtype, "cuda")


@pytest.mark.cuda
@cuda
def test_lengths_and_layers_share_a_few_compiled_kernels() -> None:
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    for count in (128, 200, 256, 333, 512, 640):
        for _layer in range(2):
            bias, _ = _bias(Subject("t5", 1, True), count, "cuda")
            assert bias is not None
            assert bias.score is not None
            q = torch.randn(2, 4, count, 16, device="cuda")
            with torch.no_grad():
                attend_by_score(q, q, q, bias.score, causal=True, key_mask=None)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] <= 3


@pytest.mark.cuda
@cuda
def test_on_cuda_a_long_bias_by_position_takes_flex(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "FLEX_FROM", {(torch.float32, False): 300})
    kernels_used = []
    for count in (299, 300):
        bias, _ = _bias(Subject("t5", 1, True), count, "cuda")
        q = torch.randn(2, 4, count, 16, device="cuda")
        with torch.no_grad():
            kernels_used.append(kernels.choose_kernel(bias, q, q))
    assert kernels_used == ["blocked", "flex"]


@pytest.mark.parametrize("causal", [True, False], ids=["causal", "bidirectional"])
@pytest.mark.parametrize("masked", [False, True], ids=["open", "padded"])
@pytest.mark.parametrize("length", [1, 127, 128, 129, 700])
def test_the_blocks_to_visit_are_those_that_pytorch_finds_in_the_matrix(
    length: int, masked: bool, causal: bool
) -> None:
    device = torch.device("cpu")
    mask = torch.arange(length).expand(2, -1) >= torch.tensor([[0], [2]]) if masked else None
    found = visible_blocks(length, causal, mask, device)
    if found is None:
        assert not causal
        assert not masked
        return
    wanted = torch_flex.create_block_mask(found.mask_mod, 2, None, length, length, device="cpu")
    visited = found.to_dense().expand(2, -1, -1, -1)
    assert (visited >= wanted.to_dense()).all(), "a block that holds a visible key is left out"
    side = visited.shape[-1]
    assert visited.sum() == 2 * (side * (side + 1) // 2 if causal else side * side)
    if found.full_kv_num_blocks is not None:
        assert wanted.full_kv_num_blocks is not None
        assert torch.equal(found.full_kv_num_blocks.expand(2, -1, -1), wanted.full_kv_num_blocks)


def test_the_cpu_never_takes_flex() -> None:
    bias, _ = _bias(Subject("t5", 1, True), 5)
    q = torch.randn(2, 4, 4096, 16, dtype=torch.bfloat16)
    assert kernels.choose_kernel(bias, q, q) == "blocked"

"""Flex attention computes what blocks of queries do: here without being compiled, on CUDA compiled."""

from __future__ import annotations

import importlib

import pytest
import torch
import torch.nn.functional as F
from references.flex_comparison import SCORED, bias_of, compare
from specimens.encoding_subjects import title
from torch import Tensor
from torch.nn.attention import flex_attention as torch_flex

from pebench.attention import flex, kernels
from pebench.attention.flex import visible_blocks
from pebench.attention_mask import AttentionMask
from pebench.conformance import Subject

# The compiler looks at the gradients of all that a bias has captured, and is warned of those in between.
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")


def test_the_biases_by_position_alone_have_this_form() -> None:
    found = {subject.name for subject in SCORED}
    assert found == {"t5", "kerple", "alibi", "lookhere", "swin", "log-cpb"}


@pytest.fixture
def uncompiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Flex attention as PyTorch runs it without a compiled kernel, with the whole matrix; gradients, which it
    has on CUDA alone, included."""
    module = importlib.import_module("torch.nn.attention.flex_attention")
    monkeypatch.setattr(module, "_validate_device", lambda *_: None)
    monkeypatch.setattr(module, "_warn_once", lambda *_, **__: None)
    monkeypatch.setattr(flex, "compiled", torch_flex.flex_attention)


@pytest.mark.usefixtures("uncompiled")
@pytest.mark.parametrize("masked", [False, True], ids=["open", "padded"])
@pytest.mark.parametrize("subject", SCORED, ids=title)
def test_flex_agrees_with_blocks_in_outputs_and_gradients(subject: Subject, masked: bool) -> None:
    mask = torch.arange(150).expand(2, -1) >= torch.tensor([[0], [130]]) if masked else None
    compare(subject, 150, mask, torch.float32, "cpu")


@pytest.mark.usefixtures("uncompiled")
def test_flex_caps_logits_before_the_bias_as_blocks_do() -> None:
    compare(Subject("t5", 1, True), 150, None, torch.float32, "cpu", softcap=0.5)


@pytest.mark.parametrize("causal", [True, False], ids=["causal", "bidirectional"])
@pytest.mark.parametrize("masked", [False, True], ids=["open", "padded"])
@pytest.mark.parametrize("length", [1, 127, 128, 129, 700])
def test_the_blocks_to_visit_are_those_that_pytorch_finds_in_the_matrix(
    length: int, masked: bool, causal: bool
) -> None:
    device = torch.device("cpu")
    mask = torch.arange(length).expand(2, -1) >= torch.tensor([[0], [2]]) if masked else None
    found = visible_blocks(AttentionMask(length, length, causal, device, mask))
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
    bias, _ = bias_of(Subject("t5", 1, True), 5)
    q = torch.randn(2, 4, 4096, 16, dtype=torch.bfloat16)
    assert kernels.choose_kernel(bias, q, q, AttentionMask(4096, 4096, True, q.device)) == "blocked"


@pytest.mark.filterwarnings("ignore:Dynamo detected a call to a `functools.lru_cache`")
@torch.no_grad()
def test_it_leaves_the_graph_around_it_whole() -> None:
    """A filter of warnings, set where a compiler traces, cut each compiled step at each layer."""

    def step(q: Tensor, k: Tensor, v: Tensor, curve: Tensor) -> Tensor:
        from pebench.attention.flex import attend_by_score

        def score(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
            return curve[head, query - key + 127]

        return attend_by_score(q, k, v, score, mask=AttentionMask(128, 128, True, q.device), scale=0.25) + 1

    q, k, v = (torch.randn(1, 2, 128, 16) for _ in range(3))
    whole = torch.compile(step, backend="eager", fullgraph=True, dynamic=False)
    curve = torch.randn(2, 255)
    places = torch.arange(128)
    bias = curve[:, places[:, None] - places + 127].masked_fill(places[:, None] < places, float("-inf"))
    plain = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=0.25)
    torch.testing.assert_close(whole(q, k, v, curve), plain + 1, atol=1e-4, rtol=1e-4)

"""Each kernel against attention in plain float64, for every kind of bias, mask and shape."""

from __future__ import annotations

import pytest
import torch
from references.attention_reference import attended, reference
from torch import Tensor

from pebench.attention import keeping_weights, kernels
from pebench.attention_mask import AttentionMask
from pebench.encoding_config import build_encoding
from pebench.encodings.alibi import slopes
from pebench.formulas.rotation import rotate_pairs
from pebench.position_encoding import (
    Bias,
    Block,
    Dense,
    Extrapolation,
    Factored,
    Geometry,
    grid,
    layer_inputs,
    tabulate,
)

SHAPES = [(300, 300), (1, 300), (40, 300), (5, 5)]
"""Queries and keys: a full pass, a decoded token, a chunk beside a cache, less than a block."""


def _inputs(n: int, length: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(n + length)
    sizes = (n, length, length)
    q, k, v = (torch.randn(2, 4, size, 16, generator=generator).to(dtype) for size in sizes)
    return q, k, v


def _biases(n: int, length: int) -> dict[str, tuple[Bias | None, Tensor | None]]:
    generator = torch.Generator().manual_seed(1)
    dense = torch.randn(2, 4, n, length, generator=generator)
    query = torch.randn(1, 4, n, 3, generator=generator)
    key = torch.randn(1, 4, length, 3, generator=generator)
    position = slopes(4)[:, None, None] * torch.arange(length).float()[None, :, None]
    return {
        "none": (None, None),
        "dense": (Dense(lambda block: dense[:, :, block.rows, block.keys]), dense),
        "product": (Factored(key=key, query=query), query @ key.transpose(-1, -2)),
        "key": (Factored(key=position[None]), position[None].transpose(-1, -2)),
    }


@pytest.mark.parametrize("masked", [False, True], ids=["open", "padded"])
@pytest.mark.parametrize("causal", [True, False], ids=["causal", "bidirectional"])
@pytest.mark.parametrize("kind", ["none", "dense", "product", "key"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_agrees_with_float64(shape: tuple[int, int], kind: str, causal: bool, masked: bool) -> None:
    q, k, v = _inputs(*shape)
    bias, values = _biases(*shape)[kind]
    mask = torch.arange(shape[1]).expand(2, -1) >= torch.tensor([[0], [3]]) if masked else None
    found = attended(q, k, v, bias, causal=causal, key_mask=mask)
    wanted = reference(q, k, v, values, causal=causal, key_mask=mask)
    torch.testing.assert_close(found.double(), wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", ["none", "dense", "product", "key"])
def test_logits_are_capped_before_the_bias(kind: str) -> None:
    q, k, v = (8 * x for x in _inputs(40, 300))
    bias, values = _biases(40, 300)[kind]
    mask = AttentionMask(40, 300, True, q.device)
    found = kernels.attend(q, k, v, bias, mask=mask, scale=0.25, softcap=5.0)
    capped = 5 * (0.25 * q.double() @ k.double().mT / 5).tanh()
    wanted = reference(0 * q, k, v, capped if values is None else capped + values, causal=True)
    assert float(capped.abs().max()) > 4.9
    torch.testing.assert_close(found.values.double(), wanted, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("length", [512, 2048])
def test_alibi_keeps_float32_precision_at_length(length: int) -> None:
    encoding = build_encoding("alibi", {}, Geometry(64, 4, 1, (128,)))
    q, k, v = _inputs(length, length)
    table = tabulate(encoding, grid((length,)), Extrapolation((length,)))
    bias = encoding.bias(layer_inputs(encoding, q, k, torch.empty(0), table, 0))
    assert isinstance(bias, Factored)
    distance = torch.arange(length)[:, None] - torch.arange(length)[None]
    wanted = reference(q, k, v, -slopes(4).double()[:, None, None] * distance, causal=True)
    plain = (attended(q, k, v, causal=True) - reference(q, k, v, causal=True)).abs().max()
    error = (attended(q, k, v, bias, causal=True) - wanted).abs().max()
    assert error < 1e-5
    assert error < 30 * plain


def test_alibi_in_bfloat16_is_as_exact_as_attention_without_it() -> None:
    """The kernel that a GPU runs in half precision, held to the error of plain attention in half
    precision."""
    length = 2048
    q, k, v = _inputs(length, length, torch.bfloat16)
    mask = AttentionMask(length, length, True, q.device, None)
    position = slopes(4)[:, None, None] * torch.arange(length).float()[None, :, None]
    factored = kernels._factored(q, k, v, mask, Factored(key=position[None]), 16**-0.5)
    distance = torch.arange(length)[:, None] - torch.arange(length)[None]
    wanted = reference(q, k, v, -slopes(4).double()[:, None, None] * distance, causal=True)
    plain = kernels._fused(q, k, v, mask, 16**-0.5) - reference(q, k, v, causal=True)
    assert (factored - wanted).abs().max() < 2 * plain.abs().max()
    one_column = kernels._widen(k, position[None] * 4.0)
    naive = kernels._fused(
        kernels._widen(q, q.new_ones(1)), one_column, kernels._pad(v, one_column), mask, 16**-0.5
    )
    assert (naive[..., :16] - wanted).abs().max() > 20 * plain.abs().max(), (
        "one column would do: drop the terms"
    )


@torch.no_grad()
def test_positions_times_rates_in_bfloat16_are_as_exact_as_attention_without_them() -> None:
    """A bias (j − i)·r_j of two features that are large and cancel."""
    length = 2048
    q, k, v = _inputs(length, length, torch.bfloat16)
    mask, place = AttentionMask(length, length, True, q.device, None), torch.arange(length) - length // 2
    rate = torch.rand(2, 4, length, generator=torch.Generator().manual_seed(3)) * 0.1
    query = torch.stack((place.float(), torch.ones(length)), dim=-1)[None, None]
    key = torch.stack((-rate, place * rate), dim=-1)
    factored = kernels._factored(q, k, v, mask, Factored(key, query), 16**-0.5)
    bias = (place[None] - place[:, None]) * rate[:, :, None].double()
    wanted = reference(q, k, v, bias, causal=True)
    plain = kernels._fused(q, k, v, mask, 16**-0.5) - reference(q, k, v, causal=True)
    assert (factored - wanted).abs().max() < 2 * plain.abs().max()


@pytest.mark.parametrize("rank", [1, 3])
def test_products_of_terms_of_half_precision_have_the_gradients_of_products_of_float32(rank: int) -> None:
    query, key = (torch.randn(2, 3, 20, rank, requires_grad=True) for _ in range(2))
    weights = torch.randn(2, 3, 20, 20)
    terms, their_terms = kernels._exact_products(query, key)
    products = terms.float() @ their_terms.float().mT
    torch.testing.assert_close(products, query @ key.mT, atol=1e-6, rtol=1e-6)
    found, wanted = (
        torch.autograd.grad((x * weights).sum(), (query, key)) for x in (products, query @ key.mT)
    )
    # Gradients pass through bfloat16, as those of queries and keys do.
    torch.testing.assert_close(found, wanted, atol=0.1, rtol=0.02)


@pytest.mark.parametrize("kind", ["dense", "product", "key"])
def test_gradients_agree_with_float64(kind: str) -> None:
    leaves = [torch.randn(1, 2, 20, size, requires_grad=True) for size in (8, 8, 8, 3, 3)]
    q, k, v, query, key = leaves

    def bias() -> tuple[Bias, Tensor]:
        if kind == "product":
            return Factored(key=key, query=query), query @ key.transpose(-1, -2)
        if kind == "key":
            return Factored(key=key), key.sum(-1)[:, :, None]
        values = (query[..., :1] - key[..., :1].transpose(-1, -2)).tanh() + query.sum() + key.sum()
        return Dense(lambda block: values[:, :, block.rows, block.keys]), values

    weights = torch.randn(1, 2, 20, 8)
    found = torch.autograd.grad(
        (attended(q, k, v, bias()[0], causal=True) * weights).sum(), leaves, allow_unused=True
    )
    wanted = torch.autograd.grad(
        (reference(q, k, v, bias()[1], causal=True) * weights).sum(), leaves, allow_unused=True
    )
    for one, other in zip(found, wanted, strict=True):
        if other is not None and one is not None:
            torch.testing.assert_close(one, other.to(one), atol=2e-5, rtol=1e-4)


def test_a_dense_bias_is_asked_for_blocks_and_never_for_keys_nobody_sees() -> None:
    q, k, v = _inputs(300, 300)
    asked: list[Block] = []

    def values(block: Block) -> Tensor:
        asked.append(block)
        return torch.zeros(1, 1, block.rows.stop - block.rows.start, block.keys.stop)

    attended(q, k, v, Dense(values), causal=True)
    assert [(block.rows.start, block.keys.stop) for block in asked] == [(0, 128), (128, 256), (256, 300)]


def test_long_backward_passes_recompute_their_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "RECOMPUTE_ABOVE", 64)
    q, k, v = _inputs(200, 200)
    q.requires_grad_()
    dense = torch.randn(1, 4, 200, 200)
    calls = []

    def values(block: Block) -> Tensor:
        calls.append(block.rows.start)
        return dense[:, :, block.rows, block.keys]

    out = attended(q, k, v, Dense(values), causal=True)
    (gradient,) = torch.autograd.grad(out.sum(), q)
    assert calls == [0, 128, 128, 0]
    (wanted,) = torch.autograd.grad(reference(q, k, v, dense, causal=True).sum(), q)
    torch.testing.assert_close(gradient, wanted.float(), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("blocks", [1, 4])
def test_memory_of_a_factored_bias_grows_with_length_not_its_square(
    blocks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No tensor of queries × keys is allocated: the largest is far below what one head's matrix would
    take."""
    monkeypatch.setattr(kernels, "CENTRED_BLOCKS", {"cpu": blocks})
    length = 2048
    q, k, v = (torch.randn(1, 1, length, 8) for _ in range(3))
    position = torch.arange(length).float()[None, None, :, None]
    largest = 0

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, arguments=(), keywords=None):  # type: ignore[no-untyped-def]
            nonlocal largest
            out = function(*arguments, **(keywords or {}))
            for tensor in out if isinstance(out, tuple | list) else [out]:
                if isinstance(tensor, Tensor):
                    largest = max(largest, tensor.numel())
            return out

    with torch.no_grad(), Watch():  # type: ignore[no-untyped-call]
        attended(q, k, v, Factored(key=position), causal=True)
    assert largest <= kernels.CENTRED_ROWS * blocks * length < length * length


@pytest.mark.parametrize("masked", [False, True], ids=["open", "padded"])
@pytest.mark.parametrize(
    ("queries", "keys", "causal"), [(900, 900, True), (601, 700, True), (700, 700, False)], ids=str
)
def test_blocks_side_by_side_are_those_one_after_another(
    queries: int, keys: int, causal: bool, masked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    q, k, v = (torch.randn(2, 4, count, 8, requires_grad=True) for count in (queries, keys, keys))
    slopes = torch.tensor([0.1, 0.03, 0.01, 0.001])
    bias = (slopes[:, None] * torch.arange(keys))[None, :, :, None].requires_grad_()
    key_mask = torch.rand(2, keys) < 0.7 if masked else None
    found = []
    for blocks in (1, 3):
        monkeypatch.setattr(kernels, "CENTRED_BLOCKS", {"cpu": blocks})
        out = attended(q, k, v, Factored(key=bias), causal=causal, key_mask=key_mask)
        found.append((out, *torch.autograd.grad(out.square().sum(), (q, k, v, bias))))
    for alone, together in zip(*found, strict=True):
        torch.testing.assert_close(together, alone, atol=2e-4, rtol=1e-4)


# The compiler itself still uses what it is warned of.
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")
@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
def test_terms_of_half_precision_add_up_to_float32_to_the_last_bit(compiled: bool) -> None:
    """Compilers leave out conversions to half precision and back."""
    split = torch.compile(kernels._exact_terms) if compiled else kernels._exact_terms
    features = (torch.rand(2, 3, 500, 1) * -3).cumsum(2).requires_grad_()
    terms = split(features, torch.bfloat16)
    assert terms.dtype == torch.bfloat16
    assert torch.equal(terms.double().sum(-1, keepdim=True), features.double())
    (gradient,) = torch.autograd.grad(terms.float().sum(), features)
    assert torch.equal(gradient, torch.ones_like(features))


def test_pairs_turn_alike_compiled_and_not() -> None:
    angles = torch.randn(1, 1, 6, 4)
    x = torch.randn(2, 3, 6, 8)
    results = []
    for turn in (rotate_pairs, torch.compile(rotate_pairs, backend="eager")):
        leaf = x.clone().requires_grad_()
        turned = turn(leaf, angles.cos(), angles.sin())
        turned.square().mul(torch.arange(8)).sum().backward()
        results.append((turned.detach(), leaf.grad))
    for eager, compiled in zip(*results, strict=True):
        torch.testing.assert_close(eager, compiled)


@pytest.mark.parametrize("length", [5, 128, 300])
def test_weights_that_are_kept_change_nothing_gradients_included(length: int) -> None:
    draw = torch.Generator().manual_seed(0)
    q, k, v, weights = (
        torch.randn(2, 3, length, width, generator=draw, dtype=torch.float64) for width in (10, 10, 6, 6)
    )
    outcomes = []
    for way in (keeping_weights.attend_keeping_weights, _plain_causal):
        leaves = [part.clone().requires_grad_() for part in (q, k, v)]
        out = way(leaves[0], leaves[1], leaves[2], 0.3)
        (out * weights).sum().backward()
        outcomes.append([out.detach(), *(leaf.grad for leaf in leaves)])
    torch.testing.assert_close(*outcomes, atol=1e-12, rtol=1e-10)


def _plain_causal(q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
    logits = q @ k.mT * scale
    later = torch.ones(q.shape[2], q.shape[2], dtype=torch.bool).triu(1)
    out: Tensor = logits.masked_fill(later, float("-inf")).softmax(-1) @ v
    return out

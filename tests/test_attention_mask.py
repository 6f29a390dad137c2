"""Masks of causality, padding, windows and chunks against their definition, pair by pair."""

from __future__ import annotations

import pytest
import torch
import torch.nn.attention.flex_attention as torch_flex
from hypothesis import given
from hypothesis import strategies as st
from references.attention_reference import reference
from torch import Tensor

from pebench.attention.flex import visible_blocks
from pebench.attention.kernels import attend
from pebench.attention_mask import AttentionMask
from pebench.position_encoding import Bias, Dense, Factored

CPU = torch.device("cpu")


@st.composite
def masks(draw: st.DrawFn) -> AttentionMask:
    keys = draw(st.integers(1, 40))
    queries = draw(st.integers(1, keys))
    size = st.one_of(st.none(), st.integers(1, 45))
    padding = draw(st.one_of(st.none(), st.lists(st.integers(0, keys), min_size=1, max_size=3)))
    key_mask = None
    if padding is not None:
        key_mask = torch.arange(keys) >= torch.tensor(padding)[:, None]
    return AttentionMask(queries, keys, draw(st.booleans()), CPU, key_mask, draw(size), draw(size))


def is_seen(mask: AttentionMask, row: int, query: int, key: int) -> bool:
    """By the definition: whether the query at place `query` of text `row` sees the key."""
    padding = 0 if mask.key_mask is None else int((~mask.key_mask[row]).sum())
    if key == query:
        return True
    if (mask.causal and key > query) or key < padding:
        return False
    if mask.window is not None and abs(query - key) >= mask.window:
        return False
    return mask.chunk is None or (query - padding) // mask.chunk == (key - padding) // mask.chunk


@given(masks())
def test_a_mask_is_its_definition_pair_by_pair(mask: AttentionMask) -> None:
    texts = 1 if mask.key_mask is None else len(mask.key_mask)
    whole = slice(0, mask.queries), slice(0, mask.keys)
    wanted = torch.tensor(
        [
            [[is_seen(mask, row, mask.first + i, j) for j in range(mask.keys)] for i in range(mask.queries)]
            for row in range(texts)
        ]
    )
    visible = mask.visible(*whole)[:, 0]
    assert torch.equal(visible.expand_as(wanted), wanted)
    places = torch.arange(mask.first, mask.keys)
    real = torch.ones(1, mask.queries, dtype=torch.bool)
    if mask.key_mask is not None:
        real = mask.key_mask[:, places]
    counted = wanted.sum(-1)
    assert torch.equal(
        mask.keys_seen().expand_as(counted)[real.expand_as(counted)], counted[real.expand_as(counted)]
    )
    assert bool((mask.keys_seen() >= 1).all())
    for rows, keys in mask.blocks(7):
        assert torch.equal(mask.visible(rows, keys)[:, 0].expand(texts, -1, -1), wanted[:, rows, keys])
        outside = wanted[:, rows].clone()
        outside[:, :, keys] = False
        assert not bool(outside.any()), "a block leaves out a key that is seen"
        if mask.is_open(rows, keys):
            assert bool(wanted[:, rows, keys].all())
        if mask.is_plain_causal(rows, keys):
            size = rows.stop - rows.start
            assert torch.equal(wanted[:, rows, keys], torch.ones(texts, size, size, dtype=torch.bool).tril())


def test_the_prefix_counts_among_the_keys_but_is_asked_of_nothing() -> None:
    mask = AttentionMask(5, 5, False, CPU, prefix=2)
    assert mask.keys_seen().tolist() == [[5, 5, 5]]


def _inputs(n: int, length: int) -> tuple[Tensor, Tensor, Tensor]:
    draws = torch.Generator().manual_seed(n)
    q, k, v = (torch.randn(2, 4, size, 16, generator=draws) for size in (n, length, length))
    return q, k, v


@pytest.mark.parametrize("kind", ["none", "dense", "product", "key"])
@pytest.mark.parametrize("limits", [(50, None), (None, 96), (300, 128), (1, None)], ids=str)
@pytest.mark.parametrize("padded", [False, True], ids=["open", "padded"])
@pytest.mark.parametrize("shape", [(300, 300), (1, 300), (40, 300)], ids=str)
@pytest.mark.parametrize("causal", [True, False], ids=["causal", "bidirectional"])
def test_windows_and_chunks_agree_with_float64_in_every_kernel(
    kind: str, limits: tuple[int | None, int | None], padded: bool, shape: tuple[int, int], causal: bool
) -> None:
    (n, length), (q, k, v) = shape, _inputs(*shape)
    draws = torch.Generator().manual_seed(1)
    dense = torch.randn(2, 4, n, length, generator=draws)
    query, key = torch.randn(1, 4, n, 3, generator=draws), torch.randn(1, 4, length, 3, generator=draws)
    biases: dict[str, tuple[Bias | None, Tensor | None]] = {
        "none": (None, None),
        "dense": (Dense(lambda block: dense[:, :, block.rows, block.keys]), dense),
        "product": (Factored(key=key, query=query), query @ key.transpose(-1, -2)),
        "key": (Factored(key=key), key.sum(-1)[:, :, None]),
    }
    bias, values = biases[kind]
    key_mask = torch.arange(length) >= torch.tensor([[0], [7]]) if padded else None
    mask = AttentionMask(n, length, causal, CPU, key_mask, *limits)
    found = attend(q, k, v, bias, mask=mask, scale=0.25)
    hidden = torch.where(mask.visible(slice(0, n), slice(0, length)), 0.0, float("-inf"))
    wanted = reference(q, k, v, hidden if values is None else values + hidden, causal=False)
    torch.testing.assert_close(found.values.double(), wanted, atol=2e-5, rtol=1e-5)


def test_a_window_asks_a_bias_for_no_key_that_nobody_sees() -> None:
    q, k, v = _inputs(1000, 1000)
    asked = []

    def values(block: object) -> Tensor:
        asked.append(block)
        return torch.zeros(1, 1, 1, 1)

    attend(q, k, v, Dense(values), mask=AttentionMask(1000, 1000, True, CPU, window=100), scale=0.25)
    assert max(block.keys.stop - block.keys.start for block in asked) <= 128 + 99  # type: ignore[attr-defined]


@pytest.mark.parametrize("causal", [True, False], ids=["causal", "bidirectional"])
@pytest.mark.parametrize("limits", [(1, None), (130, None), (None, 256), (None, 100), (200, 300)], ids=str)
@pytest.mark.parametrize("length", [127, 128, 700])
def test_flex_visits_every_block_of_a_window_and_few_others(
    length: int, limits: tuple[int | None, int | None], causal: bool
) -> None:
    found = visible_blocks(AttentionMask(length, length, causal, CPU, None, *limits))
    assert found is not None
    wanted = torch_flex.create_block_mask(found.mask_mod, 1, None, length, length, device="cpu")
    visited, needed = found.to_dense().bool(), wanted.to_dense().bool()
    assert not bool((needed & ~visited).any()), "a block that holds a visible key is left out"
    assert int(visited.sum()) <= int(needed.sum()) + len(visited[0, 0]), "many blocks are visited in vain"

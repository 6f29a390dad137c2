"""Tokens without a position: encodings leave them alone, in every kind of bias and in every block."""

from __future__ import annotations

import pytest
import torch
from references.attention_reference import reference
from torch import Tensor

from pebench.attention import prefix_tokens
from pebench.attention.encoded_positions import EncodedPositions, encoded_positions
from pebench.encoding_config import build_encoding
from pebench.plugins.registry import encodings
from pebench.position_encoding import (
    AttentionInputs,
    Bias,
    Block,
    Dense,
    Extrapolation,
    Factored,
    Geometry,
    PositionEncoding,
    grid,
    layer_inputs,
    tabulate,
)

HEADS, WIDTH, PREFIX, EXTENT = 4, 64, 3, (10, 14)
COUNT = 140
IN_2D = [name for name in encodings.origins() if 2 in encodings.load(name).axes]
TABLED = [
    name
    for name in encodings.origins()
    if encodings.load(name).prefix_table is not PositionEncoding.prefix_table
]
"""Those that have something to say of tokens without a position."""


def tokens(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def matrix(bias: Bias | None, count: int) -> Tensor:
    """The whole bias of a number of tokens among each other."""
    whole = Block(slice(0, count), slice(0, count), torch.ones(1, 1, count, count, dtype=torch.bool))
    match bias:
        case None:
            return torch.zeros(1, 1, count, count)
        case Dense():
            values: Tensor = bias.values(whole).expand(-1, -1, count, count)
            return values
        case Factored():
            query = torch.ones_like(bias.key) if bias.query is None else bias.query
            product: Tensor = query @ bias.key.transpose(-1, -2)
            return product


class KeyOnly(PositionEncoding):
    """A bias that depends on the key alone."""

    def bias(self, x: AttentionInputs) -> Bias:
        return Factored(key=x.k_table[:, None].float().sin())


class Scored(PositionEncoding):
    """A bias that can be given number by number, and looks at the hidden states."""

    def bias(self, x: AttentionInputs) -> Bias:
        row: Tensor = x.q_table[0, :, 0].float()
        column = x.hidden[..., 0]

        def values(block: Block) -> Tensor:
            product: Tensor = row[block.rows, None] * column[:, None, None, block.keys]
            return product.expand(-1, HEADS, -1, -1)

        def score(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
            return row[query] * column[batch, key]

        return Dense(values, score)


def geometry(prefix: int = PREFIX) -> Geometry:
    return Geometry(WIDTH, HEADS, 2, EXTENT, causal=False, prefix_tokens=prefix)


def encoding_of(name: str) -> PositionEncoding:
    own = {"key-only": KeyOnly, "scored": Scored}
    encoding = own[name](geometry()) if name in own else build_encoding(name, {}, geometry())
    return encoding.eval()


def where(encoding: PositionEncoding) -> EncodedPositions:
    served = Extrapolation(EXTENT, encoding.extrapolations[0])
    return encoded_positions(encoding, tabulate(encoding, grid(EXTENT), served))


def layer(encoding: PositionEncoding, q: Tensor, k: Tensor, hidden: Tensor) -> AttentionInputs:
    return layer_inputs(encoding, q, k, hidden, where(encoding).table, 1)


@pytest.mark.parametrize("name", [name for name in [*IN_2D, "key-only", "scored"] if name not in TABLED])
@torch.no_grad()
def test_queries_keys_and_logits_of_tokens_without_a_position_stay_as_they_were(name: str) -> None:
    encoding, count = encoding_of(name), PREFIX + COUNT
    here = where(encoding)
    q, k, v = (tokens(2, HEADS, count, WIDTH // HEADS, seed=seed) for seed in range(3))
    hidden = tokens(2, count, WIDTH, seed=3)
    turned = prefix_tokens.rotate(encoding, layer(encoding, q, k, hidden))
    for before, after in zip((q, k), turned, strict=True):
        assert torch.equal(after[:, :, :PREFIX], before[:, :, :PREFIX])
    out = here.attend(q, k, v, hidden, 1, causal=False).values

    inner = layer(encoding, q[:, :, PREFIX:], k[:, :, PREFIX:], hidden[:, PREFIX:])
    placed = encoding.rotate(inner)
    bias = matrix(encoding.bias(inner._replace(q=placed[0], k=placed[1])), COUNT)
    outer = torch.zeros(len(bias), bias.shape[1], count, count)
    outer[:, :, PREFIX:, PREFIX:] = bias
    alone, other = (torch.cat((x[:, :, :PREFIX], y), 2) for x, y in zip((q, k), placed, strict=True))
    # Keys are counted with those that have no position.
    factor = encoding.temperature(
        inner._replace(mask=inner.mask._replace(queries=count, keys=count, prefix=PREFIX))
    )
    if factor is not None:
        alone[:, :, PREFIX:] *= factor[..., None]
    wanted = reference(alone, other, v, outer, causal=False)
    torch.testing.assert_close(out.double(), wanted, atol=2e-5, rtol=0)

    added = here.embed()
    if added is not None:
        assert not bool(added[:, :PREFIX].any())
        torch.testing.assert_close(added[:, PREFIX:], encoding.embed(here.table))


@torch.no_grad()
def test_a_bias_given_number_by_number_is_the_same_as_by_blocks() -> None:
    encoding, count = encoding_of("scored"), PREFIX + COUNT
    q, hidden = tokens(2, HEADS, count, WIDTH // HEADS), tokens(2, count, WIDTH, seed=3)
    bias = prefix_tokens.bias(encoding, layer(encoding, q, q, hidden))
    assert isinstance(bias, Dense)
    assert bias.score is not None
    score = torch.vmap(torch.vmap(bias.score, (None, None, None, 0)), (None, None, 0, None))
    numbers = score(torch.tensor(1), torch.tensor(2), torch.arange(count), torch.arange(count))
    torch.testing.assert_close(numbers, matrix(bias, count)[1, 2])


@torch.no_grad()
def test_an_encoding_may_have_a_table_of_its_own_for_such_tokens() -> None:
    encoding = encoding_of("seqpe")
    table = where(encoding).table
    assert table.vectors.shape == (1, PREFIX + COUNT, WIDTH)
    assert torch.equal(table.vectors[0, :PREFIX], encoding.get_parameter("unplaced_vectors"))
    q = tokens(2, HEADS, PREFIX + COUNT, WIDTH // HEADS)
    turned, _ = prefix_tokens.rotate(encoding, layer(encoding, q, q, tokens(2, PREFIX + COUNT, WIDTH)))
    assert not torch.allclose(turned[:, :, :PREFIX], q[:, :, :PREFIX])

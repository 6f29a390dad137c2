"""With equal weights a decoder's scores are those of the models of transformers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from models_of_transformers import EXTENT, PAIRS, VOCABULARY
from torch import Tensor, nn

from pebench.attention.cache import Cache
from pebench.models.context import Context
from pebench.models.decoder import Decoder
from pebench.position_encoding import Extrapolation, grid, tabulate

pytest.importorskip("transformers")

REACH = Extrapolation((EXTENT,))


@pytest.fixture(scope="module", params=PAIRS)
def pair(request: pytest.FixtureRequest) -> tuple[nn.Module, Decoder]:
    return PAIRS[request.param].build()


@pytest.fixture(autouse=True)
def _without_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


def _tokens(rows: int, count: int) -> Tensor:
    return torch.randint(VOCABULARY, (rows, count), generator=torch.Generator().manual_seed(count))


def _same(found: Tensor, wanted: Tensor) -> None:
    assert float(wanted.std()) > 0.05
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("count", [1, 2, 3, 8, 17, EXTENT])
def test_at_every_length(pair: tuple[nn.Module, Decoder], count: int) -> None:
    theirs, ours = pair
    tokens = _tokens(2, count)
    hidden = ours(tokens, tabulate(ours.encoding, grid((count,)), REACH))
    _same(ours.logits(hidden), theirs(tokens).logits)


def test_with_padding_on_the_left(pair: tuple[nn.Module, Decoder]) -> None:
    theirs, ours = pair
    texts = [_tokens(1, count)[0].tolist() for count in (20, 13)]
    context = Context(ours, texts, REACH)
    following = context.go_on(_tokens(2, 4))
    for row, text in enumerate(texts):
        whole = torch.tensor([[*text, *_tokens(2, 4)[row].tolist()]])
        _same(ours.logits(following[row]), theirs(whole).logits[0, len(text) :])
    padded = torch.tensor([texts[0], [0] * 7 + texts[1]])
    mask = torch.ones(2, 20, dtype=torch.long)
    mask[1, :7] = 0
    places = (mask.cumsum(1) - 1).clamp(min=0)
    wanted = theirs(padded, attention_mask=mask, position_ids=places).logits
    table = tabulate(ours.encoding, places[..., None], REACH)
    found = ours.logits(ours(padded, table, mask.bool()))
    _same(found[mask.bool()], wanted[mask.bool()])


def test_in_decoding_through_the_cache(pair: tuple[nn.Module, Decoder]) -> None:
    theirs, ours = pair
    tokens = _tokens(2, 30)
    table = tabulate(ours.encoding, grid((30,)), REACH)
    cache, parts = Cache(ours.geometry.layers), []
    past = None
    for start, stop in [(0, 12), (12, 17), *((place, place + 1) for place in range(17, 30))]:
        new = tokens[:, start:stop]
        places = torch.arange(start, stop)[None, :, None]
        parts.append(ours.logits(ours(new, tabulate(ours.encoding, places, REACH), None, cache)))
        answer = theirs(new, cache=past, use_cache=True)
        past = answer.cache
        _same(parts[-1], answer.logits)
    _same(torch.cat(parts, dim=1), ours.logits(ours(tokens, table)))

"""Greedy decoding: the cache, batches and padding change nothing; texts end where they should."""

from __future__ import annotations

import pytest
import torch
from references.plain_decoding import decode_plainly

from pebench.conformance import VOCABULARY, Subject
from pebench.models.decoder import Decoder
from pebench.models.generation import Stop, generate
from pebench.plugins.registry import encodings
from pebench.position_encoding import Extrapolation, grid, tabulate
from pebench.randomness import generator

ENCODINGS = [name for name in encodings.origins() if 1 in encodings.load(name).axes]
LENGTHS = (9, 14, 3, 14, 1, 20)
NEW = 16
REACH = (24 * 2,)
MARGIN = 2e-4
"""Between the best token and the next, in logits: far above what the order of sums can change."""


def _prompts() -> list[list[int]]:
    draws = generator(3, "prompts")
    return [torch.randint(VOCABULARY, (length,), generator=draws).tolist() for length in LENGTHS]


def _reach(name: str) -> Extrapolation:
    return Extrapolation(REACH, encodings.load(name).extrapolations[0])


@torch.no_grad()
def _margins(model: Decoder, text: list[int], new: int, reach: Extrapolation) -> torch.Tensor:
    """How much better than the next best each new token was, from one pass over the whole text."""
    tokens = torch.tensor([text])
    hidden = model(tokens, tabulate(model.encoding, grid((len(text),)), reach))
    best = model.logits(hidden)[0, -new - 1 : -1].topk(2).values
    return best[:, 0] - best[:, 1]


@pytest.mark.parametrize("name", ENCODINGS)
def test_decoding_through_the_cache_gives_token_for_token_what_decoding_without_it_gives(name: str) -> None:
    model, prompts, reach = Subject(name, 1, True).model(), _prompts(), _reach(name)
    cached = generate(model, prompts, reach, NEW)
    whole = decode_plainly(model, prompts, reach, NEW)
    clear = 0
    for prompt, found, wanted in zip(prompts, cached, whole, strict=True):
        assert len(wanted) == NEW
        # After a tie that rounding decides, both texts are right and may differ.
        margins = _margins(model, prompt + wanted, NEW, reach) > MARGIN
        sure = NEW if bool(margins.all()) else int(margins.int().argmin())
        assert found[:sure] == wanted[:sure]
        clear += sure
    assert clear > 0.8 * NEW * len(prompts), "too many ties for the comparison to say anything"
    assert len({tuple(text) for text in cached}) > 1


@pytest.mark.parametrize("tokens_at_once", [1, 40, 75, 1000])
def test_the_size_of_batches_changes_nothing(tokens_at_once: int) -> None:
    model, prompts = Subject("rope", 1, True).model(), _prompts()
    alone = [generate(model, [prompt], _reach("rope"), 6)[0] for prompt in prompts]
    assert generate(model, prompts, _reach("rope"), 6, tokens_at_once=tokens_at_once) == alone


def test_each_token_is_the_most_likely_one() -> None:
    model, reach = Subject("alibi", 1, True).model(), _reach("alibi")
    prompt = _prompts()[0]
    text = prompt + generate(model, [prompt], reach, 5)[0]
    with torch.no_grad():
        hidden = model(torch.tensor([text]), tabulate(model.encoding, grid((len(text),)), reach))
        best = model.logits(hidden)[0].argmax(-1)
    assert text[len(prompt) :] == best[len(prompt) - 1 : -1].tolist()


def test_a_stop_token_ends_its_own_text_alone_and_is_left_out() -> None:
    model, prompts = Subject("rope", 1, True).model(), _prompts()
    free = generate(model, prompts, _reach("rope"), NEW)
    last = free[0][4]
    stopped = generate(model, prompts, _reach("rope"), NEW, Stop(frozenset({last})))
    for before, after in zip(free, stopped, strict=True):
        assert after == (before[: before.index(last)] if last in before else before)
    assert len(stopped[0]) < NEW


def test_a_stop_string_may_reach_across_tokens() -> None:
    def decode(ids: object) -> str:
        return "".join(chr(97 + i) for i in ids)  # type: ignore[attr-defined]

    model, prompt = Subject("rope", 1, True).model(), _prompts()[0]
    free = generate(model, [prompt], _reach("rope"), NEW)[0]
    string = decode(free[2:4])
    stop = Stop(strings=("{never}", string), decode=decode)
    found = generate(model, [prompt], _reach("rope"), NEW, stop)[0]
    text = decode(free)
    assert decode(found) == text[: text.index(string) + 2]
    assert stop.cut(decode(found)) == text[: text.index(string)]


def test_a_prompt_that_does_not_fit_is_refused() -> None:
    model = Subject("none", 1, True).model()
    with pytest.raises(ValueError, match="prompt 1 has 40 tokens, and with 9 new ones"):
        generate(model, [[1], [2] * 40], _reach("none"), 9)
    with pytest.raises(ValueError, match="prompt 0 is empty"):
        generate(model, [[]], _reach("none"), 9)

"""Answers that are written and scored from one reading of the prompt are those of separate readings."""

from __future__ import annotations

import pytest
import torch

from pebench.conformance import VOCABULARY, Subject
from pebench.models.answers import Example, answer_prompts, score_answers
from pebench.models.generation import Stop, generate
from pebench.plugins.registry import encodings
from pebench.position_encoding import Extrapolation
from pebench.randomness import generator

ENCODINGS = [name for name in encodings.origins() if 1 in encodings.load(name).axes]
EXTENT = 48


def _examples() -> list[Example]:
    """Prompts of several lengths, one of which leaves no more room than is needed, and answers of 1 to 5."""
    draws = generator(5, "examples")

    def text(length: int) -> list[int]:
        return torch.randint(VOCABULARY, (length,), generator=draws).tolist()

    return [Example(text(length), text(1 + n % 5)) for n, length in enumerate((9, 14, 3, 14, 42, 1, 20))]


@pytest.mark.parametrize("name", ENCODINGS)
@pytest.mark.parametrize("tokens_at_once", [50, 10_000])
def test_one_reading_gives_what_two_give(
    name: str, tokens_at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pebench.models.answers.TOKENS_AT_ONCE", tokens_at_once)
    model, examples = Subject(name, 1, True).model(), _examples()
    reach = Extrapolation((EXTENT,), encodings.load(name).extrapolations[0])
    prompts = [example.prompt for example in examples]
    stop = Stop(frozenset({generate(model, prompts, reach, 6)[0][3]}))
    found = answer_prompts(model, examples, reach, 6, stop)
    written = generate(model, prompts, reach, 6, stop, tokens_at_once=tokens_at_once)
    assert [one.written for one in found] == written
    assert len({len(tokens) for tokens in written}) > 1, "the token that ends texts ends some of them"
    scored = score_answers(model, examples, reach)
    nats = [-one.likelihood.log for one in found]
    assert nats == pytest.approx([one.nats for one in scored], rel=1e-5, abs=1e-4)
    assert [one.likelihood.greedy for one in found] == [one.right == one.tokens for one in scored]


def test_an_answer_that_does_not_fit_is_refused() -> None:
    model = Subject("none", 1, True).model()
    with pytest.raises(ValueError, match="prompt 0 has 45 tokens, and with 4 new ones it does not fit"):
        answer_prompts(model, [Example([1] * 45, [1] * 5)], Extrapolation((EXTENT,)), 2, Stop())

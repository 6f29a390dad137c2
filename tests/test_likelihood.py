"""Likelihoods in batches, and from contexts read once, are those of each text read alone."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pebench.encoding_config import build_encoding, serving
from pebench.models import likelihood
from pebench.models.decoder import LOGITS_AT_ONCE, Decoder
from pebench.models.host import Host
from pebench.models.likelihood import Continuation, Likelihood, likelihoods
from pebench.position_encoding import Extrapolation, Geometry, grid, tabulate

CAUSAL = serving(1, causal=True)
REACH = Extrapolation((32,))


def decoder(encoding: str, vocabulary: int = 13) -> Decoder:
    """A small decoder whose weights are large enough for its likelihoods to differ."""
    geometry = Geometry(width=16, heads=2, layers=2, extent=(16,))
    model = Decoder(geometry, vocabulary, build_encoding(encoding, {}, geometry), Host(), seed=1).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(4)
    return model


def requests() -> list[Continuation]:
    """Contexts of many lengths, some shared; continuations of one token and of many."""
    draw = torch.Generator().manual_seed(5)

    def text(length: int) -> tuple[int, ...]:
        return tuple(torch.randint(13, (length,), generator=draw).tolist())

    shared = [text(9), text(12), text(12)]
    found = [Continuation(shared[n % 3], text(1 + n % 4)) for n in range(12)]
    # One context alone fills what is served, so that padding behind it would go beyond.
    found += [Continuation(context, text(1)) for context in [text(32)] for _ in range(3)]
    found += [Continuation(text(1 + n), text(1 + (5 * n) % 7)) for n in range(9)]
    return [found[place] for place in torch.randperm(len(found), generator=draw).tolist()]


def alone(model: Decoder, continuation: Continuation) -> tuple[float, bool]:
    """The plainest way to compute it."""
    whole = torch.tensor([*continuation.context, *continuation.tokens])
    with torch.no_grad():
        table = tabulate(model.encoding, grid((len(whole) - 1,)), REACH)
        logits: Tensor = model.logits(model(whole[None, :-1], table))[0, len(continuation.context) - 1 :]
    wanted = whole[len(continuation.context) :]
    logs = logits.double().log_softmax(-1)[torch.arange(len(wanted)), wanted]
    return float(logs.sum()), bool((logits.argmax(-1) == wanted).all())


def collected(model: Decoder, asked: list[Continuation], **bounds: int) -> list[Likelihood]:
    """The scores in the order of the requests."""
    found = list(likelihoods(model, asked, REACH, **bounds))
    assert sorted(number for number, _ in found) == list(range(len(asked)))
    return [score for _, score in sorted(found, key=lambda pair: pair[0])]


@pytest.mark.parametrize("encoding", CAUSAL)
def test_batches_score_as_each_text_alone(encoding: str) -> None:
    model, asked = decoder(encoding), requests()
    wanted = [alone(model, continuation) for continuation in asked]
    # RePo turns by angles that grow with the content, and rounding with them.
    tolerance = 1e-3 if encoding == "repo" else 1e-4
    bounds: tuple[dict[str, int], ...] = (
        {},
        {"tokens_at_once": 40},
        {"rows_at_once": 1},
        {"rows_at_once": 3},
    )
    for bound in bounds:
        found = collected(model, asked, **bound)
        assert [s.log for s in found] == pytest.approx([log for log, _ in wanted], abs=tolerance), bound
        assert [s.greedy for s in found] == [greedy for _, greedy in wanted], bound


def test_the_most_likely_continuation_is_greedy() -> None:
    model = decoder("rope")
    context = (3, 1, 4)
    first = max(range(13), key=lambda token: alone(model, Continuation(context, (token,)))[0])
    assert [s.greedy for s in collected(model, [Continuation(context, (n,)) for n in range(13)])] == [
        token == first for token in range(13)
    ]


def test_a_shared_context_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model = decoder("alibi")
    read: list[int] = []
    model.register_forward_pre_hook(lambda _, given: read.append(given[0].numel()))
    asked = [Continuation(tuple(range(10)), (n, n)) for n in range(8)]
    collected(model, asked)
    assert read == [10, 8]
    read.clear()
    monkeypatch.setattr(likelihood, "_by_context", lambda asked: ([], list(range(len(asked)))))
    collected(model, asked)
    assert read == [8 * 11]


def test_large_vocabularies_are_scored_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    model, asked = decoder("none"), requests()
    whole = collected(model, asked)
    monkeypatch.setitem(LOGITS_AT_ONCE, "cpu", 2 * 13)
    in_parts = collected(model, asked)
    assert [score.log for score in in_parts] == pytest.approx([score.log for score in whole], abs=1e-5)


@pytest.mark.parametrize("request_", [Continuation((), (1,)), Continuation((1,), ())])
def test_nothing_cannot_be_scored(request_: Continuation) -> None:
    with pytest.raises(ValueError, match="need one token each"):
        list(likelihoods(decoder("none"), [request_], REACH))

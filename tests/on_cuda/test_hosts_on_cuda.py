"""A modern host on CUDA is the one on the CPU: shared keys, windows, soft caps, decoding, half precision."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from pebench.attention.cache import Cache
from pebench.conformance import Subject, run_forward, subjects
from pebench.models.host import Host
from pebench.position_encoding import tabulate

if not torch.cuda.is_available():
    pytest.skip("there is no CUDA device", allow_module_level=True)

pytestmark = pytest.mark.cuda

HOSTS = {
    "shared": Host(block="llama", key_value_heads=2, qk_norm=True, tied=False),
    "windows": Host(block="llama", key_value_heads=2, windows=(None, 5)),
    "soft caps": Host(block="llama", attention_softcap=3.0, logit_softcap=10.0),
}
ENCODINGS = ("none", "rope", "alibi", "fire", "carope")


def _subject(name: str, host: str, device: str) -> Subject:
    return replace(next(subjects(name)), host=HOSTS[host], head_dim=32, device=device)


def _scores(subject: Subject) -> Tensor:
    model = subject.model()
    return model.logits(run_forward(model, subject.tokens(24), subject.grid(), subject.reach()))


@torch.no_grad()
@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("name", ENCODINGS)
def test_scores_are_those_on_the_cpu(name: str, host: str) -> None:
    found, wanted = (_scores(_subject(name, host, device)) for device in ("cuda", "cpu"))
    scale = float(wanted.abs().max())
    torch.testing.assert_close(found.cpu() / scale, wanted / scale, atol=1e-4, rtol=0)
    with torch.autocast("cuda", torch.bfloat16):
        half = _scores(_subject(name, host, "cuda")).float().cpu()
    difference = (half - wanted).square().mean().sqrt() / wanted.square().mean().sqrt()
    assert float(difference) < 0.25


@torch.no_grad()
@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("name", ENCODINGS)
def test_decoding_through_the_cache_equals_the_whole_pass(name: str, host: str) -> None:
    subject = _subject(name, host, "cuda")
    model, tokens, positions, reach = subject.model(), subject.tokens(24), subject.grid(), subject.reach()
    cache, parts = Cache(model.geometry.layers), []
    for start, stop in [(0, 15), (15, 16), (16, 24)]:
        table = tabulate(model.encoding, positions[:, start:stop], reach)
        parts.append(model(tokens[:, start:stop], table, None, cache))
    whole = run_forward(model, tokens, positions, reach)
    torch.testing.assert_close(torch.cat(parts, 1), whole, atol=1e-3, rtol=1e-3)

"""Losses and likelihoods of many tokens cost the memory of a chunk of logits, not of all of them."""

from __future__ import annotations

import subprocess
import sys

TOKENS, VOCABULARY = 2048, 49_152

ALL = TOKENS * VOCABULARY * 4 / 2**20
"""MiB of all logits: 384."""

PROGRAM = f"""
import resource
import sys

import torch

from pebench.encoding_config import build_encoding
from pebench.models.decoder import Decoder
from pebench.models.host import Host
from pebench.models.likelihood import Continuation, likelihoods
from pebench.position_encoding import Extrapolation, Geometry

geometry = Geometry(8, 1, 1, (16,))
model = Decoder(geometry, {VOCABULARY}, build_encoding("none", {{}}, geometry), Host(), 0).eval()


def score(tokens):
    states, targets = torch.randn(1, tokens, 8), torch.zeros(1, tokens, dtype=torch.long)
    if sys.argv[1] == "losses":
        model.losses(states, targets)
    else:
        list(likelihoods(model, [Continuation((1,), (2,) * tokens)], Extrapolation((tokens,))))


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


torch.set_num_threads(1)
with torch.no_grad():
    score(180)
    before = peak()
    score({TOKENS})
print(peak() - before)
"""


def test_losses_and_likelihoods_take_the_memory_of_a_chunk() -> None:
    for what in ("losses", "likelihoods"):
        asked = [sys.executable, "-c", PROGRAM, what]
        found = subprocess.run(asked, capture_output=True, text=True, check=True)
        grown = float(found.stdout)
        assert grown < 0.4 * ALL, f"{what}: {grown:.0f} MiB more than before, of {ALL:.0f}"

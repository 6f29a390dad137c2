"""A bias that is dense costs the memory of one block of queries, not of all queries by all keys."""

from __future__ import annotations

import subprocess
import sys

TOKENS = 4096

MATRIX = 4 * TOKENS**2 * 4 / 2**20
"""MiB of one float32 number for each head, query and key: 256."""

PROGRAM = f"""
import resource
import sys

import torch

from pebench.models.decoder import Decoder
from pebench.models.host import Host
from pebench.position_encoding import Geometry, Extrapolation, grid, tabulate
from pebench.encoding_config import build_encoding


def evaluate(name, options, extent):
    geometry = Geometry(64, 4, 1, (16,) * len(extent), causal=len(extent) == 1)
    encoding = build_encoding(name, options, geometry)
    model = Decoder(geometry, 256, encoding, Host(), 0).eval()
    positions = grid(extent)
    tokens = torch.zeros(1, positions.shape[1], dtype=torch.long)
    model(tokens, tabulate(encoding, positions, Extrapolation(extent, encoding.extrapolations[0])))
    assert model.kernels() == ["blocked"]


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


torch.set_num_threads(1)
with torch.no_grad():
    evaluate("t5", {{}}, (64,))
    before = peak()
    for name in ("t5", "kerple", "fire"):
        evaluate(name, {{}}, ({TOKENS},))
    for name in ("alibi", "lookhere", "pape", "swin", "log-cpb"):
        evaluate(name, {{}}, ({int(TOKENS**0.5)},) * 2)
print(peak() - before)
"""


def test_dense_biases_are_evaluated_within_the_memory_of_a_block() -> None:
    found = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    grown = float(found.stdout)
    assert grown < 0.6 * MATRIX, f"{grown:.0f} MiB more than before"

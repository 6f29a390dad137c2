"""Random numbers as a function of names, so that no draw depends on what was drawn before it."""

from __future__ import annotations

import hashlib

import torch


def derive(seed: int, *names: object) -> int:
    """A 63-bit seed for the purpose that `names` spell out; equal arguments give equal seeds everywhere."""
    text = "\x1f".join(str(part) for part in (seed, *names))
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def generator(seed: int, *names: object) -> torch.Generator:
    """A CPU generator seeded for the purpose that `names` spell out."""
    return torch.Generator().manual_seed(derive(seed, *names))

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


def seed_device(seed: int, device: torch.device) -> None:
    """Seeds PyTorch's own generators of the CPU and of a device.

    `torch.manual_seed` does so for every kind of accelerator that it knows, and writes down the whole stack
    of calls for each that is not there: too much for every step of training, or for every picture.
    """
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)

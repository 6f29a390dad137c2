"""Small models in the format of transformers, with random weights that matter, saved with a tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from pebench.torchvision_operators import declare_missing

ENDS = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": None}

TEXT = "The raven sat on the bough, and the fox below it praised its voice. " * 30


def library() -> Any:
    """transformers, which imports torchvision."""
    declare_missing()
    import transformers

    return transformers


def save_tokenizer(folder: Path, size: int = 300) -> int:
    """A byte-level BPE of a short text; returns how many tokens it has."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    inner.train_from_iterator([TEXT], trainer)
    folder.mkdir(parents=True, exist_ok=True)
    inner.save(str(folder / "tokenizer.json"))
    return int(inner.get_vocab_size())


def build(name: str, **settings: Any) -> Any:
    """A small model of a class of transformers, in evaluation mode."""
    transformers = library()
    kind = getattr(transformers, f"{name}ForCausalLM", None) or getattr(transformers, f"{name}LMHeadModel")
    torch.manual_seed(0)
    network = kind(getattr(transformers, f"{name}Config")(**{"vocab_size": 320, **ENDS, **settings}))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for label, parameter in network.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator) * 0.15
            parameter.copy_(1 + noise if "norm" in label and label.endswith("weight") else noise)
    return network.eval()


def save(network: Any, folder: Path) -> Path:
    """Writes a model with its tokenizer."""
    network.save_pretrained(folder)
    save_tokenizer(folder)
    return folder

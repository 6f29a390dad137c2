"""Models of transformers give their own logits here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pretrained_folders as folders
import pytest
import torch
from torch import Tensor

from pebench.encoding_config import build_encoding
from pebench.models.decoder import Decoder, DecoderOptions
from pebench.position_encoding import Extrapolation, grid, tabulate
from pebench.pretrained.hf_model import HfModel, hf_model
from pebench.resolve import extrapolation

MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt2": ("GPT2", {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 48}),
}


def ours(model: HfModel) -> Decoder:
    options = {k: v for k, v in model.options.items() if k in DecoderOptions.model_fields}
    encoding = build_encoding(model.encoding.name, model.encoding.options, model.geometry)
    if model.extrapolation is not None:
        way = extrapolation(type(encoding), model.extrapolation)
        encoding.trained_with = way._replace(extent=model.geometry.extent)
    decoder = Decoder(model.geometry, model.config.vocab_size, encoding, 0.0, 0).eval()
    decoder.load_state_dict(model.weights())
    return decoder


def logits(decoder: Decoder, tokens: Tensor) -> Tensor:
    reach = decoder.encoding.trained_with._replace(extent=(max(tokens.shape[1], *decoder.geometry.extent),))
    table = tabulate(decoder.encoding, grid((tokens.shape[1],)), reach)
    found: Tensor = decoder.logits(decoder(tokens, table))
    return found


@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_logits_are_those_of_transformers(name: str, tmp_path: Path) -> None:
    kind, settings = MODELS[name]
    network = folders.build(kind, **settings)
    decoder = ours(hf_model(f"hf:{folders.save(network, tmp_path / name)}"))
    for length in (1, 7, 48):
        tokens = torch.randint(320, (2, length), generator=torch.Generator().manual_seed(length))
        torch.testing.assert_close(logits(decoder, tokens), network(tokens).logits, atol=1e-5, rtol=1e-5)

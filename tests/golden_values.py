"""Values of published implementations, which `tests/golden` keeps."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch

from pebench.encodings.seqpe.encoder import DigitEncoder

GOLDEN = Path(__file__).parent / "golden"


def load(name: str) -> dict[str, np.ndarray]:
    """The arrays of one file, by name."""
    with np.load(GOLDEN / f"{name}.npz") as arrays:
        return {key: arrays[key] for key in arrays.files}


def published_encoder(golden: dict[str, np.ndarray]) -> DigitEncoder:
    """SeqPE's encoder with the published weights."""
    config = json.loads(str(golden["config"]))
    encoder = DigitEncoder(
        axes=config["data_dim"],
        base=10,
        digits=config["digits"],
        width=config["d"],
        heads=config["h"],
        layers=config["layers"],
        out=config["out"],
        dropout=0.0,
        bidirectional=False,
        mask_padding=config["mask_padding"],
    )
    weights = {
        k.removeprefix("param."): torch.from_numpy(v) for k, v in golden.items() if k.startswith("param.")
    }
    encoder.load_state_dict(encoder_weights(weights, config["data_dim"], config["layers"]))
    return encoder


def encoder_weights(weights: dict[str, torch.Tensor], axes: int, layers: int) -> dict[str, torch.Tensor]:
    """Those of a published encoder by the names that they have here."""
    state = {
        "readout": weights["cls_token_embed"].flatten(),
        "value.weight": weights["token_of_seqpe_embed.weight"],
        "place.weight": weights["pos_of_seqpe_embed.weight"],
    }
    if axes > 1:
        state["axis"] = weights["dim_token_embed"].flatten(1)
    names = {"layernorm": "final_norm", "out_proj": "out"}
    for layer in range(layers):
        theirs, ours = f"transformers.{layer}", f"blocks.{layer}"
        names[f"{theirs}.layernorm_1"] = f"{ours}.attention_norm"
        names[f"{theirs}.layernorm_2"] = f"{ours}.perceptron_norm"
        matrices = {
            "attn.c_attn": "input",
            "attn.c_proj": "output",
            "mlp.c_fc": "expand",
            "mlp.c_proj": "contract",
        }
        for their_part, our_part in matrices.items():
            names[f"{theirs}.{their_part}"] = f"{ours}.{our_part}"
    for theirs, ours in names.items():
        matrix = weights[f"{theirs}.weight"]
        # Their convolution-like layers keep weights input first.
        state[f"{ours}.weight"] = matrix.T if ".c_" in theirs else matrix
        state[f"{ours}.bias"] = weights[f"{theirs}.bias"]
    return state

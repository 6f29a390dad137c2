"""Values of published implementations, which `tests/golden` keeps."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch

from pebench.encodings.seqpe.encoder import DigitEncoder

GOLDEN = Path(__file__).parents[1] / "golden"

HELD: dict[str, tuple[str, ...]] = {
    "classic": ("alibi", "sinusoidal"),
    "comrope_ap": ("comrope",),
    "comrope_ap_3d": ("comrope",),
    "comrope_ld": ("comrope",),
    "dinov3": ("dinov3",),
    "dinov3_augmented": ("dinov3",),
    "dinov3_large": ("dinov3",),
    "dinov3_min": ("dinov3",),
    "dinov3_periods": ("dinov3",),
    "golden_gate_1d": ("golden-gate",),
    "golden_gate_2d": ("golden-gate",),
    "golden_gate_3d": ("golden-gate",),
    "grape_a_key": ("grape-a",),
    "grape_a_query_key": ("grape-a",),
    "grape_ap": ("grape-ap",),
    "grape_ap_tied_key": ("grape-ap",),
    "grape_m": ("grape-m",),
    "hybrid_gemma3": ("rope", "window"),
    "hybrid_llama4": ("chunk", "rope", "temperature-tuning"),
    "hybrid_smollm3": ("rope",),
    "hybrid_smollm3_window": ("rope", "window"),
    "log_cpb_cr": ("log-cpb",),
    "log_cpb_swin": ("log-cpb",),
    "mrope_chunked": ("m-rope",),
    "mrope_interleaved": ("m-rope",),
    "pape_1d": ("pape",),
    "pape_2d": ("pape",),
    "pape_ri_2d": ("pape-ri",),
    "path": ("path",),
    "path_fox": ("path-fox",),
    "path_fox_layer": ("path-fox",),
    "path_layer": ("path",),
    "pope": ("pope",),
    "pope_axial": ("pope",),
    "pope_long": ("pope",),
    "relative_table": ("swin",),
    "relative_table_class_token": ("swin",),
    "relative_table_resized": ("swin",),
    "repo": ("repo",),
    "rope_frequency_maps": ("rope",),
    "rope_rotated": ("rope",),
    "rotary": ("rope", "rope-axial", "rope-mixed"),
    "selective_rope": ("selective-rope",),
    "selective_rope_gate_bias": ("selective-rope",),
    "selective_rope_no_convolution": ("selective-rope",),
    "seqpe_1d_causal": ("seqpe",),
    "seqpe_2d_causal": ("seqpe",),
    "seqpe_objectives": ("seqpe",),
    "seqpe_trajectory": ("seqpe",),
    "spiral": ("spiral",),
    "spiral_different": ("spiral",),
    "ssmax_alibi": ("ssmax",),
    "ssmax_none": ("ssmax",),
    "ssmax_rope": ("ssmax",),
    "stick_breaking": ("stick-breaking",),
    "temperature_ministral3": ("temperature-tuning",),
    "wall": ("wall",),
}
"""The encodings that each file holds to published values."""


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

"""SeqPE in training as the published code trains it: the losses of 200 updates, with its numbers.

`tests/golden/seqpe_trajectory.npz` was made by running the published encoder, criteria and GPT-2
(github.com/ghrua/seqpe at 4c4b908: `SequentialPE`, both criteria, `GPT2LMHeadModel`, unchanged; eager
attention, scalar, one projection for all layers) with dropout off, on tokens of an artificial language, with
positions and comparisons drawn by SeqPE here, in the order of `train.py`: AdamW with betas (0.9, 0.999) and
no decay, model and encoder clipped at 5.0 each. Two layers of width 32; a quarter of all is shifted to 4
windows. All of it is in float64 but the initial weights, which are rounded to float32. Three things are not
theirs: the encoder's causal mask is in float64, as in float32 it would give NaN; the rate follows the
schedule here, which in the first update is not zero; and the projection is clipped with the encoder, not with
the model. The largest relative deviation of a loss, of all three and all updates, was 4e-8.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from references.golden_values import encoder_weights, load
from torch import Tensor, nn

from pebench.encoding_config import build_encoding
from pebench.encodings.seqpe import SeqPE
from pebench.encodings.seqpe.comparisons import Comparisons
from pebench.models.decoder import Decoder
from pebench.models.host import Host
from pebench.plugins.registry import tasks
from pebench.position_encoding import Geometry, StepRNG, grid
from pebench.running.checkpoint import State
from pebench.running.optimisation import optimiser
from pebench.running.train import train
from pebench.specification.run_spec import EncodingTraining, Training

EXTENT, VOCABULARY = 16, 48
CPU = torch.device("cpu")


def _model(golden: dict[str, Any]) -> Decoder:
    geometry = Geometry(32, 2, 2, (EXTENT,))
    options = {"positions": 400, "dropout": 0.0, "pivots": 8, "draws": 4, "windows": 4}
    model = Decoder(geometry, VOCABULARY, build_encoding("seqpe", options, geometry), Host(), 0)
    weights = {key: torch.from_numpy(value) for key, value in golden.items() if "." in key}
    encoder = {k.removeprefix("encoder."): v for k, v in weights.items() if k.startswith("encoder.")}
    state = {f"encoding.encoder.{key}": value for key, value in encoder_weights(encoder, 1, 2).items()}
    names = {"ln_f": "final_norm"}
    for layer in range(2):
        parts = {
            "ln_1": "attention_norm",
            "ln_2": "perceptron_norm",
            "attn.c_attn": "attention.input",
            "attn.c_proj": "attention.output",
            "mlp.c_fc": "expand",
            "mlp.c_proj": "contract",
        }
        names |= {f"h.{layer}.{theirs}": f"blocks.{layer}.{ours}" for theirs, ours in parts.items()}
    for theirs, ours in names.items():
        matrix = weights[f"model.transformer.{theirs}.weight"]
        state[f"{ours}.weight"] = matrix.T if ".c_" in theirs else matrix
        state[f"{ours}.bias"] = weights[f"model.transformer.{theirs}.bias"]
    state["token_embedding.weight"] = weights["model.transformer.wte.weight"]
    state["encoding.projections.0.weight"] = weights["model.transformer.pe_qk.weight"]
    state["encoding.projections.0.bias"] = weights["model.transformer.pe_qk.bias"]
    model.load_state_dict(state)
    return model.double()


def _task(golden: dict[str, Any]) -> Any:
    base: type[Any] = tasks.load("language-modeling")

    class Stored(base):  # type: ignore[misc]
        def batch(self, seed: int, split: str, step: int, size: int) -> dict[str, Tensor]:
            return {"tokens": torch.from_numpy(golden["tokens"][step]).long()}

        def geometry(self) -> Geometry:
            return Geometry(32, 2, 2, (EXTENT,))

    return Stored(base.Options(extent=EXTENT, evaluate=(EXTENT,)), base.Model())


def _take_stored_draws(golden: dict[str, Any], encoding: SeqPE, monkeypatch: pytest.MonkeyPatch) -> None:
    stored = {key: torch.from_numpy(golden[key]).long() for key in ("starts", *Comparisons._fields)}

    def positions(extent: tuple[int, ...], examples: int, draw: StepRNG) -> Tensor:
        shifted = golden["shifted"][draw.step]
        return grid(extent) + (stored["starts"][draw.step][:, None, None] if shifted else 0)

    class Stored:
        def of(self, draw: StepRNG) -> Comparisons:
            return Comparisons(*(stored[key][draw.step] for key in Comparisons._fields))

    monkeypatch.setattr(encoding, "training_positions", positions)
    monkeypatch.setattr(encoding, "drawing", Stored())


def _in_float64(model: nn.Module, states: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(model.logits(states), targets, reduction="none")  # type: ignore[operator]


@pytest.mark.parametrize("accumulate", [1, 4])
def test_200_updates_have_the_losses_of_the_published_code(
    accumulate: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    golden = load("seqpe_trajectory")
    model, task = _model(golden), _task(golden)
    assert isinstance(model.encoding, SeqPE)
    _take_stored_draws(golden, model.encoding, monkeypatch)
    monkeypatch.setattr(Decoder, "_losses", _in_float64)
    training = Training(
        steps=200 if accumulate == 1 else 40,
        batch=8,
        accumulate=accumulate,
        learning_rate=2e-3,
        schedule="linear",
        warmup=20,
        final=0.0,
        weight_decay=0.0,
        betas=(0.9, 0.999),
        clip=5.0,
        encoding=EncodingTraining(clip=5.0),
    )
    updates = optimiser(model, model.encoding, training)
    found = list(train(model, task, updates, training, 0, State(), CPU, lambda step: False))
    assert 20 < golden["shifted"].sum() < 60
    assert golden["loss"][-1] < golden["loss"][0] - 0.3
    for step, progress in enumerate(found):
        assert ("distillation" in progress.losses) is not bool(golden["shifted"][step])
        if accumulate > 1 and step >= 20:
            break  # the rate comes down sooner in a shorter training
        for name, value in progress.losses.items():
            assert float(value) == pytest.approx(golden[name][step], rel=1e-6), (name, step)

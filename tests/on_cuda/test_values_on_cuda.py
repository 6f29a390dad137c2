"""On CUDA encodings compute what they compute on the CPU, where their definitions are held."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
import torch
from references.golden_values import load, published_encoder
from specimens.encoding_subjects import SUBJECTS, title
from torch import Tensor

from pebench.conformance import Subject
from pebench.encoding_config import build_encoding
from pebench.encodings.seqpe.objectives import contrastive_loss, distillation_loss
from pebench.position_encoding import (
    Block,
    Dense,
    Extrapolation,
    Factored,
    Geometry,
    PositionEncoding,
    StepRNG,
    grid,
    layer_inputs,
    tabulate,
)

if not torch.cuda.is_available():
    pytest.skip("there is no CUDA device", allow_module_level=True)

pytestmark = pytest.mark.cuda

COUNT = 20


class Acts(NamedTuple):
    """What an encoding does to some queries and keys of layer 1, on the CPU.

    Attributes:
        embedded: (1, N, D). q, k: (2, H, N, d). bias: the values, or the features one after another.
    """

    embedded: Tensor | None
    q: Tensor
    k: Tensor
    bias: Tensor | None


def _golden(name: str) -> dict[str, Tensor]:
    return {key: torch.from_numpy(value).cuda() for key, value in load(name).items() if value.ndim}


def _close(found: Tensor, wanted: Tensor) -> None:
    assert found.device.type == "cuda"
    torch.testing.assert_close(found.double(), wanted.double(), atol=2e-5, rtol=2e-5)


def test_the_golden_table_of_sines() -> None:
    encoding = build_encoding("sinusoidal", {}, Geometry(32, 4, 1, (64,))).cuda()
    _close(
        tabulate(encoding, grid((64,)).cuda(), Extrapolation((64,)))[0],
        _golden("classic")["sinusoidal_64x32"],
    )


def test_the_golden_rotations_of_rope() -> None:
    golden = _golden("rotary")
    encoding = build_encoding("rope", {}, Geometry(16, 2, 1, (64,))).cuda()
    table = tabulate(encoding, golden["positions"][None, :, None], Extrapolation((64,)))
    q, k = encoding.rotate(layer_inputs(encoding, golden["q"], golden["k"], golden["q"], table, 0))
    _close(q, golden["q_rot"])
    _close(k, golden["k_rot"])


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("rope-axial", ("q_axial_theta100", "k_axial_theta100")),
        ("rope-mixed", ("q_mixed_layer1", "k_mixed_layer1")),
    ],
)
@torch.no_grad()
def test_the_golden_rotations_in_two_dimensions(name: str, keys: tuple[str, str]) -> None:
    golden = _golden("rotary")
    encoding = build_encoding(name, {}, Geometry(16, 2, 3, (7, 7))).cuda()
    for parameter in encoding.parameters():
        parameter.copy_(golden["mixed_freqs"].view_as(parameter))
    table = tabulate(encoding, golden["positions_2d"][None], Extrapolation((7, 7)))
    turned = encoding.rotate(layer_inputs(encoding, golden["q_2d"], golden["k_2d"], golden["q_2d"], table, 1))
    for found, key in zip(turned, keys, strict=True):
        _close(found, golden[key])


@pytest.mark.parametrize("share", [False, True], ids=["every string", "shared prefixes"])
@pytest.mark.parametrize("name", ["seqpe_1d_causal", "seqpe_2d_causal"])
def test_the_golden_vectors_of_seqpe(name: str, share: bool) -> None:
    golden = load(name)
    encoder = published_encoder(golden).cuda()
    positions = torch.from_numpy(golden["positions"]).view(len(golden["positions"]), -1)
    _close(encoder(encoder.spell(positions, share=share)), torch.from_numpy(np.asarray(golden["out"])).cuda())


def test_the_golden_objectives_of_seqpe() -> None:
    golden = _golden("seqpe_objectives")
    scalars = load("seqpe_objectives")
    loss = contrastive_loss(golden["pivot"], golden["candidates"], golden["labels"])
    assert float(loss) == pytest.approx(float(scalars["contrastive"]), abs=1e-5)
    teacher = golden["teacher_table"][golden["teacher_indices"]]
    for heads, key in ((1, "distill_single"), (4, "distill_multihead4")):
        loss = distillation_loss(teacher, golden["student"], heads)
        assert float(loss) == pytest.approx(float(scalars[key]), abs=1e-5)


@torch.no_grad()
def _acts(encoding: PositionEncoding, subject: Subject, dtype: torch.dtype, device: str) -> Acts:
    generator = torch.Generator().manual_seed(0)
    q, k = (torch.randn(2, 4, COUNT, 16, generator=generator).to(device, dtype) for _ in range(2))
    hidden = torch.randn(2, COUNT, 64, generator=generator).to(device, dtype)
    positions, reach = subject.scattered(COUNT)
    table = tabulate(encoding, positions.to(device), reach)
    embedded = encoding.embed(table)
    q, k = encoding.rotate(layer_inputs(encoding, q, k, hidden, table, 1))
    bias = encoding.bias(layer_inputs(encoding, q, k, hidden, table, 1))
    match bias:
        case Dense():
            whole = slice(0, COUNT)
            visible = torch.ones(COUNT, COUNT, dtype=torch.bool, device=device).tril()[None, None]
            values: Tensor | None = bias.values(Block(whole, whole, visible))
        case Factored(key=key, query=query):
            values = key if query is None else torch.cat((query.flatten(), key.flatten()))
        case None:
            values = None
    return Acts(*(None if x is None else x.float().cpu() for x in (embedded, q, k, values)))  # type: ignore[arg-type]


def _near(found: Acts, wanted: Acts, tolerance: float) -> None:
    for one, other in zip(found, wanted, strict=True):
        if one is None or other is None:
            assert one is other
            continue
        assert torch.equal(one.isfinite(), other.isfinite())
        one, other = (x.masked_fill(~x.isfinite(), 0.0) for x in (one, other))
        scale = max(1.0, float(other.abs().max()))
        torch.testing.assert_close(one, other, atol=tolerance * scale, rtol=0)


@pytest.mark.parametrize("subject", SUBJECTS, ids=title)
def test_every_act_of_every_encoding_is_what_it_is_on_the_cpu(subject: Subject) -> None:
    encoding = subject.encoding().eval()
    wanted = _acts(encoding, subject, torch.float32, "cpu")
    _near(_acts(encoding.cuda(), subject, torch.float32, "cuda"), wanted, 2e-5)


@pytest.mark.parametrize("subject", SUBJECTS, ids=title)
def test_every_act_on_bfloat16_is_computed_in_float32(subject: Subject) -> None:
    """Of bfloat16 queries and keys it is that of the same values in float32, rounded once."""
    encoding = subject.encoding().eval()
    wanted = _acts(encoding, subject, torch.bfloat16, "cpu")
    found = _acts(encoding.cuda(), subject, torch.bfloat16, "cuda")
    half = torch.finfo(torch.bfloat16).eps
    _near(found._replace(q=wanted.q, k=wanted.k), wanted, 1e-4)
    _near(Acts(None, found.q, found.k, None), Acts(None, wanted.q, wanted.k, None), half)


@pytest.mark.parametrize("subject", [s for s in SUBJECTS if s.name == "seqpe" and not s.options], ids=title)
@torch.no_grad()
def test_seqpes_losses_are_what_they_are_on_the_cpu(subject: Subject) -> None:
    encoding, positions = subject.encoding().eval(), subject.grid()
    losses = []
    for device in ("cpu", "cuda"):
        encoding = encoding.to(device)
        table = tabulate(encoding, positions.to(device), subject.reach())
        losses.append(encoding.auxiliary_losses(positions, table, StepRNG(0, 3)))
    for name, wanted in losses[0].items():
        assert float(losses[1][name]) == pytest.approx(float(wanted), rel=1e-4, abs=1e-6)
    assert losses[0].keys() == losses[1].keys()

"""Values of published implementations, which `tests/golden` keeps, hold to 1e-5."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from references.golden_values import load, published_encoder
from torch import Tensor

from pebench.encoding_config import build_encoding
from pebench.encodings.alibi import slopes
from pebench.encodings.seqpe.encoder import to_digits
from pebench.encodings.seqpe.objectives import contrastive_loss, distillation_loss
from pebench.position_encoding import Extrapolation, Geometry, grid, layer_inputs, tabulate


def _close(found: Tensor, wanted: np.ndarray) -> None:
    torch.testing.assert_close(found.double(), torch.from_numpy(wanted).double(), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("heads", [6, 8, 12])
def test_alibi_slopes(heads: int) -> None:
    _close(slopes(heads), load("classic")[f"alibi_slopes_{heads}"])


def test_sinusoidal_table() -> None:
    encoding = build_encoding("sinusoidal", {}, Geometry(32, 4, 1, (64,)))
    _close(tabulate(encoding, grid((64,)), Extrapolation((64,)))[0], load("classic")["sinusoidal_64x32"])


def test_rope_rotation() -> None:
    golden = load("rotary")
    encoding = build_encoding("rope", {}, Geometry(16, 2, 1, (64,)))
    table = tabulate(encoding, torch.from_numpy(golden["positions"])[None, :, None], Extrapolation((64,)))
    q, k = encoding.rotate(
        layer_inputs(
            encoding,
            torch.from_numpy(golden["q"]),
            torch.from_numpy(golden["k"]),
            torch.from_numpy(golden["q"]),
            table,
            0,
        )
    )
    _close(q, golden["q_rot"])
    _close(k, golden["k_rot"])


@pytest.mark.parametrize("share", [False, True], ids=["every string", "shared prefixes"])
@pytest.mark.parametrize("name", ["seqpe_1d_causal", "seqpe_2d_causal"])
def test_seqpe_encoder(name: str, share: bool) -> None:
    golden = load(name)
    encoder = published_encoder(golden)
    positions = torch.from_numpy(golden["positions"]).view(len(golden["positions"]), -1)
    assert (to_digits(positions, 10, encoder.digits).numpy() == golden["digits"]).all()
    _close(encoder(encoder.spell(positions, share=share)), golden["out"])


@pytest.mark.parametrize("name", ["seqpe_1d_causal", "seqpe_2d_causal"])
def test_seqpe_padding(name: str) -> None:
    golden = load(name)
    encoder = published_encoder(golden)
    encoder.mask_padding = True
    visible = encoder._visible(torch.from_numpy(golden["digits"]))
    assert visible is not None
    # The read-out token sees every digit that is not padding, and itself.
    assert torch.equal(visible[:, 0, -1, :-1], torch.from_numpy(golden["digit_mask"]).bool())
    assert visible[:, 0, -1, -1].all()


def test_seqpe_contrastive_loss() -> None:
    golden = load("seqpe_objectives")
    pivot, candidates, labels = (torch.from_numpy(golden[key]) for key in ("pivot", "candidates", "labels"))
    _close(contrastive_loss(pivot, candidates, labels), golden["contrastive"])


@pytest.mark.parametrize(("heads", "key"), [(1, "distill_single"), (4, "distill_multihead4")])
def test_seqpe_distillation_loss(heads: int, key: str) -> None:
    golden = load("seqpe_objectives")
    teacher = torch.from_numpy(golden["teacher_table"])[torch.from_numpy(golden["teacher_indices"])]
    _close(distillation_loss(teacher, torch.from_numpy(golden["student"]), heads), golden[key])

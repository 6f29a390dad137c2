"""The decoder: fair initial weights, losses in chunks, GPT-2's proportions."""

from __future__ import annotations

import pytest
import torch

from pebench.encoding_config import build_encoding
from pebench.models import decoder
from pebench.models.decoder import Decoder
from pebench.models.host import DecoderOptions, Host
from pebench.plugins.registry import encodings
from pebench.position_encoding import Extrapolation, Geometry, grid, tabulate
from pebench.specification.options import validated

GEOMETRY = Geometry(32, 4, 2, (16,))


def _model(name: str, seed: int = 0) -> Decoder:
    return Decoder(GEOMETRY, 50, build_encoding(name, {}, GEOMETRY, seed), Host(), seed=seed)


def test_every_weight_that_is_not_the_encodings_is_the_same_for_every_encoding() -> None:
    names = [name for name in encodings.origins() if 1 in encodings.load(name).axes]
    states = []
    for name in [*names, *reversed(names)]:
        state = _model(name).state_dict()
        states.append({key: value for key, value in state.items() if not key.startswith("encoding.")})
    for state in states[1:]:
        assert state.keys() == states[0].keys()
        assert all(torch.equal(value, states[0][key]) for key, value in state.items())


def test_another_seed_gives_other_weights() -> None:
    one, other = (_model("none", seed).token_embedding.weight for seed in (0, 1))
    assert not torch.allclose(one, other)


def test_initial_weights_have_gpt2s_deviations() -> None:
    model = Decoder(Geometry(256, 4, 8, (16,)), 500, build_encoding("none", {}, GEOMETRY), Host(), 0)
    block = model.blocks[0]
    assert block.expand.weight.std().item() == pytest.approx(0.02, rel=0.02)
    assert block.contract.weight.std().item() == pytest.approx(0.02 / 4, rel=0.02)
    assert block.attention.output.weight.std().item() == pytest.approx(0.02 / 4, rel=0.02)
    assert not block.expand.bias.any()
    assert (block.attention_norm.weight == 1).all()


def test_gpt2_small_has_gpt2s_number_of_parameters() -> None:
    options = DecoderOptions(size="gpt2-small")
    geometry = options.geometry(1024)
    with torch.device("meta"):
        encoding = build_encoding("learned", {}, geometry)
    parameters = sum(p.numel() for p in encoding.parameters())
    layer = 12 * 768**2 + 13 * 768
    assert parameters + 50257 * 768 + 12 * layer + 2 * 768 == 124_439_808


def test_losses_in_chunks_equal_losses_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model, tokens = _model("rope"), torch.randint(50, (3, 16))
    hidden = (
        model(tokens, tabulate(model.encoding, grid((16,)), Extrapolation((16,)))).detach().requires_grad_()
    )
    whole = model.losses(hidden, tokens)
    (wanted,) = torch.autograd.grad(whole.sum(), hidden)
    monkeypatch.setitem(decoder.LOGITS_AT_ONCE, "cpu", 50 * 7)
    parts = model.losses(hidden, tokens)
    (found,) = torch.autograd.grad(parts.sum(), hidden)
    torch.testing.assert_close(parts, whole)
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize(
    ("vocabulary", "rows", "with_gradients"), [(256, 8192, 32768), (8192, 256, 1024), (49152, 170, 170)]
)
def test_without_gradients_logits_are_read_while_they_are_in_the_cache(
    vocabulary: int, rows: int, with_gradients: int
) -> None:
    model = _model("none")
    model.token_embedding = torch.nn.Embedding(vocabulary, 8, device="meta")
    assert model.rows_at_once("cpu") == with_gradients
    with torch.no_grad():
        assert model.rows_at_once("cpu") == rows


def test_losses_without_gradients_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    model, tokens = _model("rope"), torch.randint(50, (3, 16))
    hidden = model(tokens, tabulate(model.encoding, grid((16,)), Extrapolation((16,))))
    whole = model.losses(hidden, tokens)
    monkeypatch.setattr(decoder, "ROWS_AT_LEAST", 1)
    monkeypatch.setitem(decoder.LOGITS_IN_CACHE, "cpu", 50 * 7)
    with torch.no_grad():
        torch.testing.assert_close(model.losses(hidden, tokens), whole)


def test_sizes_can_be_overridden() -> None:
    options = validated(DecoderOptions, {"size": "tiny", "layers": 2}, "the model")
    assert options.geometry(64) == Geometry(128, 4, 2, (64,))


def test_kernels_are_reported() -> None:
    tokens = torch.randint(50, (1, 16))
    for name, kernel in {"none": "fused", "alibi": "factored", "t5": "blocked", "seqpe": "factored"}.items():
        model = _model(name)
        model(tokens, tabulate(model.encoding, grid((16,)), Extrapolation((16,))))
        assert model.kernels() == [kernel]

"""The kernels for logits that a network over the heads adjusts, in Triton's interpreter.

On CUDA they are tested compiled, in `tests/on_cuda/test_adjusted_on_cuda.py`.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from references.adjusted_comparison import SHORT, SLOPE, Setting, compare, draw
from references.dense_bias import dense_bias
from references.triton_interpreter import QUIET, interpretable, interpreting

from pebench.attention import kernels
from pebench.attention.encoded_positions import encoded_positions
from pebench.encoding_config import build_encoding
from pebench.position_encoding import Block, Extrapolation, Geometry, PositionEncoding, grid, tabulate
from pebench.specification.plugin_ref import split

pytestmark = QUIET


@pytest.fixture
def interpreted() -> Iterator[None]:
    by_head = {"products": (16, 8), "attended": (8, 16), "values": (16, 16)}
    with interpreting("adjusted", by_head | {"adjust": (8, 16), "back": (8, 16)}, side=16):
        yield


@interpretable
@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("setting", SHORT, ids=str)
def test_agrees_with_the_plain_form_in_outputs_and_gradients(setting: Setting) -> None:
    compare(setting, "cpu")


@interpretable
@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("texts", [1, 2, 3])
def test_texts_are_gone_through_in_groups(texts: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from pebench.attention import adjusted

    setting = Setting(5, heads=2, units=4, texts=3)
    monkeypatch.setattr(adjusted, "GROUP_BYTES", texts * 4 * 2 * 5 * 5)
    sizes = [len(range(*group.indices(3))) for group in adjusted._groups(torch.empty(3, 2, 5, 16))]
    assert sizes == {1: [1, 1, 1], 2: [2, 1], 3: [3]}[texts]
    compare(setting, "cpu")


@interpretable
@pytest.mark.usefixtures("interpreted")
def test_compilers_are_told_what_they_compute() -> None:
    """Shapes and strides without values, and the way back, by PyTorch's own examination."""
    from pebench.attention.adjusted import _attend

    leaves, _ = draw(Setting(2, heads=2, units=4), "cpu")
    torch.library.opcheck(_attend, (*leaves, 0.25, SLOPE))


@interpretable
@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("encoding", ["dape", "rope + dape"])
def test_attention_by_them_is_that_of_blocks(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Outputs, and the gradients of all parameters of the encoding."""
    found = []
    for chosen in (True, False):
        monkeypatch.setattr(kernels, "_adjusted_is_faster", lambda *_, chosen=chosen: chosen)
        torch.manual_seed(0)
        own = build_encoding(*split(encoding, "encoding"), Geometry(64, 4, 1, (40,)))
        q, k, v = torch.randn(3, 1, 4, 9, 16)
        here = encoded_positions(own, tabulate(own, grid((9,)), Extrapolation((40,))))
        out = here.attend(q, k, v[..., :8], torch.randn(1, 9, 64), 0, True)  # values narrower than keys
        assert out.kernel == ("adjusted" if chosen else "blocked")
        out.values.square().sum().backward()
        found.append([out.values, *(parameter.grad for parameter in own.parameters())])
    for one, other in zip(*found, strict=True):
        assert one is not None
        assert other is not None
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


def _dape() -> PositionEncoding:
    return build_encoding("dape", {}, Geometry(64, 4, 1, (40,)))


@torch.no_grad()
def test_the_network_by_distance_is_the_bias() -> None:
    x, bias = dense_bias(_dape())
    adjusting = bias.adjusting
    assert adjusting is not None
    hidden, prior = adjusting.tables()
    place, every = torch.arange(20), slice(0, 20)
    distance = place[:, None] - place + 19
    logits = x.q @ x.k.mT * adjusting.scale
    before = torch.einsum("uh,bhij->buij", adjusting.first, logits) + hidden[:, distance]
    units = torch.nn.functional.leaky_relu(before, adjusting.slope)
    found = torch.einsum("hu,buij->bhij", adjusting.last, units) + prior[:, distance]
    wanted = bias.values(Block(every, every, x.mask.visible(every, every)))
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)


def test_positions_with_gaps_have_no_tables_by_distance() -> None:
    _, bias = dense_bias(_dape(), torch.tensor([0, 1, 2, 5, 9])[None, :, None])
    assert bias.adjusting is None

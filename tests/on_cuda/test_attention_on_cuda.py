"""On CUDA the paths of attention agree: fused, factored, in blocks, flex, cached, and plain float64."""

from __future__ import annotations

import pytest
import torch
from references.attention_reference import attended, reference
from references.flex_comparison import SCORED, bias_of, compare
from references.plain_decoding import decode_plainly
from specimens.encoding_subjects import title
from torch import Tensor

from pebench.attention import kernels
from pebench.attention.flex import attend_by_score
from pebench.attention_mask import AttentionMask
from pebench.conformance import VOCABULARY, Subject
from pebench.encoding_config import build_encoding
from pebench.encodings.alibi import slopes
from pebench.models.decoder import Decoder
from pebench.models.generation import generate
from pebench.models.host import Host
from pebench.plugins.registry import encodings
from pebench.position_encoding import Bias, Dense, Extrapolation, Factored, Geometry
from pebench.randomness import generator

if not torch.cuda.is_available():
    pytest.skip("there is no CUDA device", allow_module_level=True)

pytestmark = pytest.mark.cuda

SHAPES = [(300, 300), (1, 300), (40, 300)]
"""Queries and keys: a full pass, a decoded token, a chunk beside a cache."""

TOLERANCE = {torch.float32: 2e-5, torch.bfloat16: 3e-2}


def _inputs(n: int, length: int, dtype: torch.dtype) -> list[Tensor]:
    draws = torch.Generator().manual_seed(n + length)
    sizes = (n, length, length)
    return [torch.randn(2, 4, size, 16, generator=draws).to("cuda", dtype) for size in sizes]


def _bias(kind: str, n: int, length: int) -> tuple[Bias | None, Tensor | None]:
    """A bias, and its values on the CPU."""
    draws = torch.Generator().manual_seed(1)
    match kind:
        case "dense":
            values = torch.randn(2, 4, n, length, generator=draws)
            there = values.cuda()
            return Dense(lambda block: there[:, :, block.rows, block.keys]), values
        case "product":
            query, key = (torch.randn(1, 4, size, 3, generator=draws) for size in (n, length))
            return Factored(key=key.cuda(), query=query.cuda()), query @ key.transpose(-1, -2)
        case "key":
            key = (slopes(4)[:, None, None] * torch.arange(length).float()[None, :, None])[None]
            return Factored(key=key.cuda()), key.transpose(-1, -2)
    return None, None


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("masked", [False, True], ids=["open", "padded"])
@pytest.mark.parametrize("causal", [True, False], ids=["causal", "bidirectional"])
@pytest.mark.parametrize("kind", ["none", "dense", "product", "key"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_agrees_with_float64(
    shape: tuple[int, int], kind: str, causal: bool, masked: bool, dtype: torch.dtype
) -> None:
    q, k, v = _inputs(*shape, dtype)
    bias, values = _bias(kind, *shape)
    mask = torch.arange(shape[1]).expand(2, -1) >= torch.tensor([[0], [3]]) if masked else None
    found = attended(q, k, v, bias, causal=causal, key_mask=None if mask is None else mask.cuda())
    wanted = reference(q.cpu(), k.cpu(), v.cpu(), values, causal=causal, key_mask=mask)
    assert found.dtype == dtype
    torch.testing.assert_close(found.double().cpu(), wanted, atol=TOLERANCE[dtype], rtol=TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_a_long_bias_by_key_is_as_exact_as_the_matrix_in_blocks(dtype: torch.dtype) -> None:
    length = 2048
    q, k, v = _inputs(length, length, dtype)
    bias, values = _bias("key", length, length)
    assert values is not None
    there = values.cuda()
    dense = Dense(lambda block: there[:, :, :, block.keys] - there[0, :, 0, block.rows][None, ..., None])
    factored, blocked = (attended(q, k, v, one, causal=True) for one in (bias, dense))
    wanted = reference(q.cpu(), k.cpu(), v.cpu(), values, causal=True)
    errors = [float((out.double().cpu() - wanted).abs().max()) for out in (factored, blocked)]
    assert errors[0] < 2 * errors[1] + (1e-4 if dtype == torch.float32 else 2e-2)


@pytest.mark.parametrize("kind", ["none", "dense", "product", "key"])
def test_gradients_agree_with_float64(kind: str) -> None:
    outputs = []
    for device in ("cuda", "cpu"):
        q, k, v = (x.to(device).requires_grad_() for x in _inputs(200, 200, torch.float32))
        bias, values = _bias(kind, 200, 200)
        if device == "cuda":
            out = attended(q, k, v, bias, causal=True).double()
        else:
            out = reference(q, k, v, values, causal=True)
        weights = torch.randn(out.shape, generator=torch.Generator().manual_seed(2)).double().to(device)
        outputs.append([x.cpu() for x in torch.autograd.grad((out * weights).sum(), (q, k, v))])
    for found, wanted in zip(*outputs, strict=True):
        torch.testing.assert_close(found, wanted, atol=2e-4, rtol=2e-4)


COMPILED = [
    next(subject for subject in SCORED if subject.name == name) for name in ("t5", "kerple", "lookhere")
] + [subject for subject in SCORED if subject.name == "alibi" and subject.axes == 2]
"""One of each form; all others are held on the CPU, where flex attention need not be compiled."""


@pytest.mark.parametrize("subject", COMPILED, ids=title)
def test_compiled_flex_agrees_with_blocks_in_outputs_and_gradients(subject: Subject) -> None:
    # More than one block of queries.
    compare(subject, 150, None, torch.bfloat16, "cuda")


@pytest.mark.parametrize("precision", [torch.float32, torch.float64], ids=str)
def test_a_long_bias_by_key_is_as_exact_compiled(precision: torch.dtype) -> None:
    """Compilers leave out conversions to half precision and back, which would leave it eight bits."""
    q, k, v = _inputs(1024, 1024, torch.bfloat16)
    draws = torch.Generator().manual_seed(2)
    key = (torch.rand(2, 4, 1024, 1, dtype=precision, generator=draws) * 3).cumsum(2).cuda()

    def with_bias(key: Tensor) -> Tensor:
        return attended(q, k, v, Factored(key=key * 1.0), causal=True)

    found = torch.compile(with_bias, fullgraph=True, dynamic=False)(key)
    wanted = reference(q.cpu(), k.cpu(), v.cpu(), key.cpu().transpose(-1, -2), causal=True)
    tolerance = TOLERANCE[torch.bfloat16]
    torch.testing.assert_close(found.double().cpu(), wanted, atol=tolerance, rtol=tolerance)


def test_compiled_flex_agrees_with_blocks_beside_padding() -> None:
    mask = torch.arange(150, device="cuda").expand(2, -1) >= torch.tensor([[0], [130]], device="cuda")
    compare(COMPILED[0], 150, mask, torch.float32, "cuda")


def test_lengths_and_layers_share_a_few_compiled_kernels() -> None:
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    for count in (128, 200, 256, 333):
        for _layer in range(2):
            bias, _ = bias_of(COMPILED[0], count, "cuda")
            assert bias is not None
            assert bias.score is not None
            q = torch.randn(2, 4, count, 16, device="cuda")
            with torch.no_grad():
                attend_by_score(
                    q, q, q, bias.score, mask=AttentionMask(count, count, True, q.device), scale=0.25
                )
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] <= 3


def test_a_long_bias_by_position_takes_flex(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "FLEX_FROM", {(torch.float32, False): 300})
    kernels_used = []
    for count in (299, 300):
        bias, _ = bias_of(COMPILED[0], count, "cuda")
        q = torch.randn(2, 4, count, 16, device="cuda")
        with torch.no_grad():
            mask = AttentionMask(count, count, True, q.device)
            kernels_used.append(kernels.choose_kernel(bias, q, q, mask))
    assert kernels_used == ["blocked", "flex"]


@pytest.mark.parametrize("name", ["rope", "alibi", "t5", "cope", "fox", "seqpe"])
def test_the_cache_changes_no_text(name: str) -> None:
    geometry = Geometry(64, 4, 3, (24,))
    model = Decoder(geometry, VOCABULARY, build_encoding(name, {}, geometry), Host(), 0).eval().cuda()
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if parameter.ndim >= 2 and not key.startswith("encoding."):
                parameter.mul_(8.0)
    draws = generator(3, "prompts")
    prompts = [torch.randint(VOCABULARY, (length,), generator=draws).tolist() for length in (9, 14, 3, 1)]
    reach = Extrapolation((48,), encodings.load(name).extrapolations[0])
    cached, whole = (decode(model, prompts, reach, 10) for decode in (generate, decode_plainly))
    equal = sum(one == other for one, other in zip(cached, whole, strict=True))
    assert equal >= len(prompts) - 1, "more than one tie"

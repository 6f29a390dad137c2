"""Every encoding in a modern host: shared keys, heads of a width of their own, QK-norm, windows by layer."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from specimens.encoding_subjects import title

import pebench
from pebench.attention.cache import Cache
from pebench.attention.encoded_positions import encoded_positions
from pebench.command_line.main import main
from pebench.conformance import Subject, contracts, run_forward, subjects
from pebench.encoding_config import build_encoding
from pebench.errors import UserError
from pebench.models.decoder import Decoder
from pebench.models.host import SIZES, DecoderOptions, Host
from pebench.plugins.registry import encodings
from pebench.position_encoding import Extrapolation, Geometry, grid, layer_inputs, tabulate
from pebench.specification.options import specified, validated

MODERN = Host(
    block="llama",
    key_value_heads=2,
    qk_norm=True,
    windows=(None, 9),
    logit_softcap=30.0,
    tied=False,
)
HOSTED = [
    replace(next(subjects(name, options)), host=MODERN, head_dim=32)
    for name in encodings.origins()
    for options in [{}, *({"apply": how} for how in ("input", "add", "multiply") if name == "seqpe")]
]
IN_2D = [name for name in encodings.origins() if 2 in encodings.load(name).axes]
CHECKS = [contracts.cached_decoding, contracts.left_padding, contracts.gradients]


@pytest.mark.parametrize("contract", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("subject", HOSTED, ids=title)
def test_keeps_the_contracts(subject: Subject, contract: contracts.Contract) -> None:
    contract(subject)


@torch.no_grad()
@pytest.mark.parametrize("subject", [each for each in HOSTED if each.causal], ids=title)
def test_shared_keys_and_values_are_those_of_each_head(subject: Subject) -> None:
    grouped = subject.model()
    whole = replace(subject, host=MODERN.model_copy(update={"key_value_heads": 4})).model()
    state = grouped.state_dict()
    for name in [name for name in state if name.endswith("attention.input.weight")]:
        q, k, v = state[name].split([128, 64, 64])
        each = [x.unflatten(0, (2, 32)).repeat_interleave(2, dim=0).flatten(0, 1) for x in (k, v)]
        state[name] = torch.cat((q, *each))
    whole.load_state_dict(state)
    arguments = subject.tokens(24), subject.grid(), subject.reach()
    found, wanted = run_forward(grouped, *arguments), run_forward(whole, *arguments)
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("name", [name for name in encodings.origins() if encodings.load(name).shared_keys])
def test_an_encoding_that_takes_shared_keys_turns_all_heads_alike(name: str) -> None:
    subject = next(subjects(name))
    encoding, k = subject.encoding(), torch.randn(2, 2, 24, 16)
    assert set(encoding.acts) <= {"R"}
    table, hidden = tabulate(encoding, subject.grid(), subject.reach()), torch.empty(0)
    q, each = k.repeat_interleave(2, dim=1), k.repeat_interleave(2, dim=1)
    _, shared = encoding.rotate(layer_inputs(encoding, q, k, hidden, table))
    _, whole = encoding.rotate(layer_inputs(encoding, q, each, hidden, table))
    assert torch.equal(shared.repeat_interleave(2, dim=1), whole)


@torch.no_grad()
@pytest.mark.parametrize(("name", "heads"), [("rope", 2), ("learned", 2), ("alibi", 2), ("carope", 4)])
def test_a_cache_holds_shared_keys_once_where_heads_turn_alike(name: str, heads: int) -> None:
    subject = replace(next(subjects(name)), host=MODERN, head_dim=32)
    model, cache = subject.model(), Cache(3)
    model(subject.tokens(24), tabulate(model.encoding, subject.grid(), subject.reach()), None, cache)
    keys, values = cache.layers[0].append(torch.empty(2, heads, 0, 32), torch.empty(2, 2, 0, 32))
    assert (keys.shape, values.shape) == ((2, heads, 24, 32), (2, 2, 24, 32))


@torch.no_grad()
@pytest.mark.parametrize("name", IN_2D)
def test_shared_keys_stand_beside_prefix_tokens(name: str) -> None:
    geometry = Geometry(48, 4, 1, (4, 6), causal=False, prefix_tokens=2, head_dim=16)
    encoding = build_encoding(name, {}, geometry).eval()
    here = encoded_positions(encoding, tabulate(encoding, grid((4, 6)), Extrapolation((4, 6))))
    q, hidden = torch.randn(2, 4, 26, 16), torch.randn(2, 26, 48)
    k, v = torch.randn(2, 2, 2, 26, 16).unbind()
    found = here.attend(q, k, v, hidden, 0, causal=False).values
    whole_k, whole_v = (x.repeat_interleave(2, dim=1) for x in (k, v))
    wanted = here.attend(q, whole_k, whole_v, hidden, 0, causal=False).values
    torch.testing.assert_close(found, wanted)


@torch.no_grad()
def test_windows_of_the_model_are_those_of_the_encoding() -> None:
    geometry = Geometry(32, 4, 4, (24,))
    parts = [{"rope": {}, "times": 1}, {"compose": ["rope", {"window": {"size": 5}}]}]
    alternating = build_encoding("layers", {"parts": parts}, geometry)
    by_encoding = Decoder(geometry, 31, alternating, Host(), seed=0).eval()
    host = Host(windows=(None, 5))
    by_model = Decoder(geometry, 31, build_encoding("rope", {}, geometry), host, seed=0).eval()
    tokens, reach = torch.randint(31, (2, 24)), Extrapolation((24,))
    found, wanted = (run_forward(model, tokens, grid((24,)), reach) for model in (by_model, by_encoding))
    torch.testing.assert_close(found, wanted)
    plain = Decoder(geometry, 31, build_encoding("rope", {}, geometry), Host(), seed=0).eval()
    assert not torch.allclose(found, run_forward(plain, tokens, grid((24,)), reach), atol=1e-4)


def test_the_last_logits_are_capped() -> None:
    geometry = Geometry(32, 4, 1, (8,))
    plain, capped = (
        Decoder(geometry, 31, build_encoding("none", {}, geometry), host, seed=0)
        for host in (Host(), Host(logit_softcap=2.0))
    )
    hidden = torch.randn(3, 32) * 20
    logits = plain.logits(hidden).detach()
    assert float(logits.abs().max()) > 2
    torch.testing.assert_close(capped.logits(hidden), 2 * (logits / 2).tanh())
    torch.testing.assert_close(
        capped.losses(hidden[None], torch.tensor([[1, 2, 3]]))[0],
        torch.nn.functional.cross_entropy(2 * (logits / 2).tanh(), torch.tensor([1, 2, 3]), reduction="none"),
    )


@pytest.mark.parametrize("size", SIZES)
def test_both_blocks_have_as_many_parameters(size: str) -> None:
    counts = []
    for block in ("gpt2", "llama"):
        options = DecoderOptions.model_validate({"size": size, "block": block})
        geometry = options.geometry(128)
        with torch.device("meta"):
            model = Decoder(geometry, 0, build_encoding("rope", {}, geometry), options, seed=0)
        counts.append(sum(parameter.numel() for parameter in model.parameters()))
    assert counts[1] == pytest.approx(counts[0], rel=0.005)


def test_a_specification_leaves_out_what_is_gpt2s() -> None:
    assert set(specified(DecoderOptions())) == {"size", "width", "layers", "heads", "dropout"}
    changed = validated(DecoderOptions, {"block": "llama", "windows": [4, None]}, "the model")
    assert specified(changed) == specified(DecoderOptions()) | {"block": "llama", "windows": [4, None]}


def test_every_option_of_the_model_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "language-modeling", "--json"]) == 0
    options = {row["name"]: row["meaning"] for row in json.loads(capsys.readouterr().out)["model"]}
    assert set(options) == set(DecoderOptions.model_fields)
    assert all(options.values())


def test_heads_that_share_nothing_are_refused() -> None:
    with pytest.raises(UserError, match=r"^the model: 4 heads do not share 3 of keys and values\.$"):
        validated(DecoderOptions, {"key_value_heads": 3}, "the model")


def test_a_run_in_a_modern_host_is_read_again_and_begun_with_alone_by_its_like(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text, runs = str(place / "text.txt"), ["--runs", str(place / "runs")]
    host = {"block": "llama", "key_value_heads": 1, "qk_norm": True, "windows": [8, None], "tied": False}
    settings: dict[str, object] = {
        "model.width": 16,
        "model.heads": 2,
        "model.layers": 2,
        "model.head_dim": 12,
    }
    settings |= {f"model.{name}": json.dumps(value) for name, value in host.items()}
    settings |= {"task.data": text, "task.extent": 16, "task.evaluate": "[16, 32]", "train.steps": 2}
    sets = [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
    begun = ["run", "--encoding", "rope", "--task", "language-modeling", *sets, *runs]
    assert main(begun) == 0
    (folder,) = (place / "runs").glob("rope-*")
    finished = pebench.load(folder.name, place / "runs", device="cpu")
    assert isinstance(finished.model, Decoder)
    attention = finished.model.blocks[1].attention
    assert attention.input.weight.shape == (2 * 12 + 2 * 12, 16)
    assert (attention.window, finished.model.blocks[0].attention.window) == (None, 8)
    assert finished.model.head is not None
    capsys.readouterr()
    retrieval = ["run", "--from", folder.name, "--task", "retrieval", *runs]
    retrieval += ["--set", "task.extent=256", "--set", "task.evaluate=[256]", "--set", "train.steps=0"]
    assert main([*retrieval, "--set", "task.examples=2"]) == 0
    capsys.readouterr()
    assert main([*retrieval, "--set", "model.key_value_heads=2"]) == 2
    assert "has a model of key_value_heads 1, and a run that starts from it cannot have 2." in (
        capsys.readouterr().err
    )


def test_norms_without_a_bias_and_one_of_the_embeddings_are_options() -> None:
    geometry = Geometry(16, 2, 2, (8,))
    plain, other = (
        Decoder(geometry, 11, build_encoding("none", {}, geometry), host, 0).eval()
        for host in (Host(), Host(norm_bias=False, embedding_norm=True))
    )
    assert "final_norm.bias" in plain.state_dict()
    assert plain.embedding_norm is None
    assert not [name for name in other.state_dict() if "norm" in name and name.endswith("bias")]
    tokens = torch.arange(6)[None]
    with torch.no_grad():
        table = tabulate(other.encoding, grid((6,)), Extrapolation((6,)))
        before = other(tokens, table)
        # What the norm of the embeddings undoes is no difference behind it.
        other.token_embedding.weight.mul_(3.0)
        torch.testing.assert_close(other(tokens, table), before, atol=1e-3, rtol=1e-3)
        assert not torch.allclose(plain(tokens, table), before, atol=1e-3)


def test_rms_norms_have_no_bias() -> None:
    with pytest.raises(UserError, match="knows no bias"):
        validated(DecoderOptions, {"block": "llama", "norm_bias": True}, "the model")

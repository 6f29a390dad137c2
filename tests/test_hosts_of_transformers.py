"""Models of transformers, saved and read back, give their own logits here."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from specimens import pretrained_folders as folders
from torch import Tensor

from pebench.attention.cache import Cache
from pebench.models.context import Context
from pebench.models.decoder import Decoder
from pebench.position_encoding import Extrapolation, grid, tabulate
from pebench.pretrained.hf_model import hf_model

pytest.importorskip("transformers")

Pair = tuple[Any, Decoder]


@pytest.fixture(scope="module", params=folders.MODELS)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    kind, settings = folders.MODELS[request.param]
    theirs = folders.build(kind, **settings)
    folder = folders.save(theirs, tmp_path_factory.mktemp("models") / request.param)
    return theirs, folders.decoder_of(hf_model(f"hf:{folder}"))


@pytest.fixture(autouse=True)
def _without_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


def _reach(decoder: Decoder) -> Extrapolation:
    """Of short texts, for which no map of theirs has changed yet."""
    return decoder.encoding.trained_with._replace(extent=(48,))


def _tokens(rows: int, count: int) -> Tensor:
    return torch.randint(folders.VOCABULARY, (rows, count), generator=torch.Generator().manual_seed(count))


def _same(found: Tensor, wanted: Tensor) -> None:
    assert float(wanted.std()) > 0.05
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("count", [1, 2, 3, 8, 17, 48, 96])
def test_at_every_length(pair: Pair, count: int) -> None:
    theirs, ours = pair
    tokens = _tokens(2, count)
    _same(folders.logits(ours, tokens), theirs(tokens).logits)


def test_layers_without_positions_are_a_pattern(tmp_path: Path) -> None:
    kind, settings = folders.MODELS["smollm3"]
    layers = settings | {"num_hidden_layers": 8}
    model = hf_model(f"hf:{folders.save(folders.build(kind, **layers), tmp_path / 'small')}")
    assert model.encoding.label == "3 × rope(base=2000000.0) / none"


LLAMA3 = {"rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
YARN = {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 12, "finetuned": True}
LONGROPE = {"type": "longrope", "short_factor": [1.0, 1.1, 1.2, 1.3], "long_factor": [1.0, 2.0, 4.0, 8.0]}


@pytest.mark.parametrize(
    ("written", "found"),
    [
        pytest.param(
            {"rope_scaling": {"type": kind, "factor": 4.0, "original_max_position_embeddings": 12}},
            {ours: {"factor": 4.0}},
            id=kind,
        )
        for kind, ours in (("linear", "pi"), ("dynamic", "dynamic"))
    ]
    + [
        pytest.param(
            {"rope_scaling": LLAMA3, "original_max_position_embeddings": 12},
            {"llama3": {"factor": 4.0, "original_max_position_embeddings": 12}},
            id="llama3",
        ),
        pytest.param(
            {"rope_scaling": LONGROPE, "original_max_position_embeddings": 12},
            {"longrope": {"factor": 4.0, "original_max_position_embeddings": 12}},
            id="longrope",
        ),
        pytest.param(
            {"rope_scaling": YARN},
            {"yarn": {"factor": 4.0, "original_max_position_embeddings": 12}},
            id="yarn",
        ),
    ],
)
def test_settings_of_rope_count_where_transformers_reads_them(
    tmp_path: Path, written: dict[str, Any], found: dict[str, dict[str, Any]]
) -> None:
    """A length at the top of a configuration is one of the map, and one beside a map without it is none."""
    folder = folders.save(folders.build("Llama", **folders.SIZES), tmp_path / "llama")
    config = json.loads((folder / "config.json").read_bytes())
    del config["rope_parameters"]
    (folder / "config.json").write_text(json.dumps(config | {"rope_theta": 50.0} | written), "utf-8")
    model = hf_model(f"hf:{folder}")
    assert isinstance(model.extrapolation, dict)
    ((name, options),) = model.extrapolation.items()
    ((wanted, subset),) = found.items()
    assert name == wanted
    assert subset.items() <= options.items()
    assert "original_max_position_embeddings" in subset or "original_max_position_embeddings" not in options
    theirs = folders.library().AutoModelForCausalLM.from_pretrained(folder)
    for count in (8, 48, 96):
        tokens = _tokens(1, count)
        _same(folders.logits(folders.decoder_of(model), tokens), theirs(tokens).logits)


def test_with_padding_on_the_left(pair: Pair) -> None:
    theirs, ours = pair
    texts = [_tokens(1, count)[0].tolist() for count in (20, 13)]
    context = Context(ours, texts, _reach(ours))
    following = context.go_on(_tokens(2, 4))
    for row, text in enumerate(texts):
        whole = torch.tensor([[*text, *_tokens(2, 4)[row].tolist()]])
        _same(ours.logits(following[row]), theirs(whole).logits[0, len(text) :])
    padded = torch.tensor([texts[0], [0] * 7 + texts[1]])
    mask = torch.ones(2, 20, dtype=torch.long)
    mask[1, :7] = 0
    places = (mask.cumsum(1) - 1).clamp(min=0)
    wanted = theirs(padded, attention_mask=mask, position_ids=places).logits
    table = tabulate(ours.encoding, places[..., None], _reach(ours))
    found = ours.logits(ours(padded, table, mask.bool()))
    _same(found[mask.bool()], wanted[mask.bool()])


def test_in_decoding_through_the_cache(pair: Pair) -> None:
    theirs, ours = pair
    tokens = _tokens(2, 30)
    table = tabulate(ours.encoding, grid((30,)), _reach(ours))
    cache, parts = Cache(ours.geometry.layers), []
    past = None
    for start, stop in [(0, 12), (12, 17), *((place, place + 1) for place in range(17, 30))]:
        new = tokens[:, start:stop]
        places = torch.arange(start, stop)[None, :, None]
        parts.append(ours.logits(ours(new, tabulate(ours.encoding, places, _reach(ours)), None, cache)))
        answer = theirs(new, cache=past, use_cache=True)
        past = answer.cache
        _same(parts[-1], answer.logits)
    _same(torch.cat(parts, dim=1), ours.logits(ours(tokens, table)))

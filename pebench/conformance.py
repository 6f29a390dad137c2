"""What every encoding must satisfy, as checks that its author and the tests run alike.

Each contract builds a small model around the encoding with weights large enough that a mistake shows, and
raises an AssertionError that says what went wrong.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten

from pebench.attention.cache import Cache
from pebench.errors import UserError
from pebench.models.decoder import Decoder
from pebench.position_encoding import Draw, Geometry, PositionEncoding, Reach, Table, grid, tabulate
from pebench.randomness import generator
from pebench.registry import encodings
from pebench.resolve import build_encoding

VOCABULARY = 31
TOLERANCE = 2e-5
"""Of outputs of the order of one, in float32."""

EXTENTS: dict[int, tuple[int, ...]] = {1: (24,), 2: (4, 6), 3: (2, 3, 4)}
"""Trained extents by number of axes."""


@dataclass(frozen=True)
class Subject:
    """An encoding under examination.

    Attributes:
        name: as the registry knows it. axes: number of position axes. causal: kind of attention.
        options: of the encoding.
    """

    name: str
    axes: int
    causal: bool
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def geometry(self) -> Geometry:
        """A model of three layers and four heads."""
        return Geometry(width=64, heads=4, layers=3, extent=EXTENTS[self.axes], causal=self.causal)

    def encoding(self, layers: int = 3, seed: int = 0) -> PositionEncoding:
        """The encoding, every parameter moved off its initial value: what starts at zero hides mistakes."""
        geometry = Geometry(64, 4, layers, EXTENTS[self.axes], self.causal)
        encoding = build_encoding(self.name, self.options, geometry, seed)
        with torch.no_grad():
            for name, parameter in encoding.named_parameters():
                noise = torch.randn(parameter.shape, generator=generator(seed, "noise", name))
                parameter.add_(noise * 0.2)
        return encoding

    def model(self, layers: int = 3) -> Decoder:
        """A model in evaluation mode whose attention is far from uniform."""
        encoding = self.encoding(layers)
        model = Decoder(encoding.geometry, VOCABULARY, encoding, dropout=0.0, seed=0)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if parameter.ndim >= 2 and not name.startswith("encoding."):
                    parameter.mul_(8.0)
        return model.eval()

    def tokens(self, count: int, rows: int = 2) -> Tensor:
        """(rows, count) tokens."""
        return torch.randint(VOCABULARY, (rows, count), generator=generator(0, "tokens", count))

    def scattered(self, count: int) -> tuple[Tensor, Reach]:
        """(1, N, A) increasing positions with gaps and an offset, and an extent that holds them."""
        steps = torch.randint(1, 4, (1, count, self.axes), generator=generator(0, "gaps", count))
        positions = 3 + steps.cumsum(1)
        extent = tuple(int(size) + 1 for size in positions.amax((0, 1)))
        return positions, Reach(extent, encodings.load(self.name).extrapolations[0])

    def reach(self, times: int = 1) -> Reach:
        """So many times the trained extent, by the encoding's own preference."""
        extent = tuple(size * times for size in EXTENTS[self.axes])
        return Reach(extent, encodings.load(self.name).extrapolations[0])


def subjects(name: str, options: Mapping[str, Any] | None = None) -> Iterator[Subject]:
    """An encoding in every setting it says it can serve."""
    encoding_class = encodings.load(name)
    for axes in encoding_class.axes:
        for causal in (True, False) if axes == 1 else (False,):
            if causal or not encoding_class.causal_only:
                yield Subject(name, axes, causal, options or {})


def run_forward(model: Decoder, tokens: Tensor, positions: Tensor, reach: Reach) -> Tensor:
    """(B, N, D) hidden states."""
    hidden: Tensor = model(tokens, tabulate(model.encoding, positions, reach))
    return hidden


@torch.no_grad()
def causality(subject: Subject) -> None:
    """Later tokens do not change what was computed for earlier ones."""
    if not subject.causal:
        return
    model, positions, reach = subject.model(), grid(EXTENTS[1]), subject.reach()
    tokens = subject.tokens(24)
    changed = tokens.clone()
    changed[:, 15:] = (changed[:, 15:] + 1) % VOCABULARY
    before = run_forward(model, tokens, positions, reach)
    after = run_forward(model, changed, positions, reach)
    assert_close(before[:, :15], after[:, :15], "a token that comes later changes an earlier output")
    assert not torch.allclose(before[:, 15:], after[:, 15:]), "the model does not look at its tokens"


@torch.no_grad()
def cached_decoding(subject: Subject) -> None:
    """Decoding with a cache, in chunks and token by token, equals the full pass, on positions with gaps."""
    if not subject.causal:
        return
    model, tokens = subject.model(), subject.tokens(20)
    positions, reach = subject.scattered(20)
    full = run_forward(model, tokens, positions, reach)
    cache, parts = Cache(3), []
    for start, stop in [(0, 7), (7, 8), (8, 9), (9, 14), (14, 20)]:
        table = tabulate(model.encoding, positions[:, start:stop], reach)
        parts.append(model(tokens[:, start:stop], table, cache=cache))
    assert_close(torch.cat(parts, 1), full, "decoding with a cache differs from the full pass")


@torch.no_grad()
def left_padding(subject: Subject) -> None:
    """Padding on the left changes nothing, in the full pass and in decoding with a cache."""
    if not subject.causal:
        return
    model, tokens = subject.model(), subject.tokens(12)
    positions, reach = grid(EXTENTS[1])[:, :12], subject.reach()
    alone = run_forward(model, tokens, positions, reach)
    padded = torch.cat((torch.zeros_like(tokens[:, :5]), tokens), 1)
    places = torch.cat((torch.zeros_like(positions[:, :5]), positions), 1).expand(2, -1, -1)
    mask = torch.arange(17).expand(2, -1) >= 5
    full = model(padded, tabulate(model.encoding, places, reach), mask)
    assert_close(full[:, 5:], alone, "padding on the left changes the output")
    cache, parts = Cache(3), []
    for start, stop in [(0, 9), (9, 10), (10, 17)]:
        table = tabulate(model.encoding, places[:, start:stop], reach)
        parts.append(model(padded[:, start:stop], table, mask[:, start:stop], cache))
    assert_close(torch.cat(parts, 1)[:, 5:], alone, "padding on the left changes decoding with a cache")


def gradients(subject: Subject) -> None:
    """Every parameter receives a gradient from the task and the encoding's own losses together."""
    model = subject.model().train()
    encoding = model.encoding
    for parameter in model.parameters():
        parameter.grad = None
    tokens = subject.tokens(24)
    positions = grid(EXTENTS[subject.axes])
    table = tabulate(encoding, positions, subject.reach())
    loss = model.losses(model(tokens, table), tokens.roll(-1, 1)).mean()
    for value in encoding.auxiliary_losses(positions, table, Draw(0, 0)).values():
        loss = loss + value
    loss.backward()
    gradients = {name: p.grad for name, p in encoding.named_parameters()}
    without = [name for name, gradient in gradients.items() if gradient is None or not bool(gradient.any())]
    assert not without, f"no gradient reaches {', '.join(without)}"
    broken = [name for name, g in gradients.items() if g is not None and not bool(torch.isfinite(g).all())]
    assert not broken, f"the gradient of {', '.join(broken)} is not a number"


@torch.no_grad()
def order_matters(subject: Subject) -> None:
    """Permuted input gives another output, unless the encoding acts nowhere."""
    count = EXTENTS[subject.axes]
    model = subject.model(layers=1)
    tokens, positions = subject.tokens(len(grid(count)[0])), grid(count)
    order = torch.cat((torch.arange(len(tokens[0]) - 1).flip(0), torch.tensor([len(tokens[0]) - 1])))
    one = run_forward(model, tokens, positions, subject.reach())[:, -1]
    other = run_forward(model, tokens[:, order], positions, subject.reach())[:, -1]
    differs = not torch.allclose(one, other, atol=1e-4)
    if encodings.load(subject.name).acts:
        assert differs, "the order of the tokens makes no difference: the encoding does nothing"
    else:
        assert not differs, "the encoding says that it acts nowhere, but the order of the tokens matters"


@torch.no_grad()
def exact_tables(subject: Subject) -> None:
    """Tables hold float32 or integers, and are the same under bfloat16 autocast."""
    encoding = subject.encoding().eval()
    positions, reach = subject.scattered(40)
    plain = _tensors(encoding.table(positions, reach))
    with torch.autocast("cpu", torch.bfloat16):
        under = _tensors(tabulate(encoding, positions, reach))
    for one, other in zip(plain, under, strict=True):
        assert other.dtype in (torch.float32, torch.float64, torch.int64, torch.int32, torch.bool), (
            f"a table is in {other.dtype}, which cannot hold large positions"
        )
        assert_close(other, one, "autocast changes the table")


@torch.no_grad()
def tables_by_position(subject: Subject) -> None:
    """The table of some positions is the same part of the table of all: dimension 1 is the position."""
    encoding = subject.encoding().eval()
    positions, reach = subject.scattered(12)
    whole = _tensors(encoding.table(positions, reach))
    some = _tensors(encoding.table(positions[:, 5:9], reach))
    rows = _tensors(encoding.table(positions.expand(3, -1, -1), reach))
    for all_of, part, batch in zip(whole, some, rows, strict=True):
        assert all_of.shape[1] == 12, f"dimension 1 of a table is {all_of.shape[1]}, not the 12 positions"
        assert_close(part, all_of[:, 5:9], "a position's entry depends on the positions beside it")
        assert_close(batch, all_of.expand_as(batch), "a batch of positions has another table")


@torch.no_grad()
def beyond_the_trained_extent(subject: Subject) -> None:
    """At four times the trained extent, by every extrapolation it offers, outputs are numbers."""
    model = subject.model(layers=1)
    for method in encodings.load(subject.name).extrapolations:
        reach = Reach(subject.reach(4).extent, method)
        limit = model.encoding.limit()
        if limit is not None and max(reach.extent) > limit:
            continue
        positions = grid(reach.extent)
        out = run_forward(model, subject.tokens(positions.shape[1], rows=1), positions, reach)
        assert bool(torch.isfinite(out).all()), f"'{method}' gives outputs that are not numbers"


def same_seed_same_weights(subject: Subject) -> None:
    """The same seed gives the same weights, whatever was drawn before; building draws from nobody else's
    numbers."""
    torch.manual_seed(1)
    one = subject.encoding(seed=5).state_dict()
    before = torch.random.get_rng_state()
    other = subject.encoding(seed=5).state_dict()
    assert bool((before == torch.random.get_rng_state()).all()), "building it moves the global random state"
    for name, tensor in one.items():
        assert torch.equal(tensor, other[name]), f"{name} differs between two buildings with one seed"


def repeatable_draws(subject: Subject) -> None:
    """Training positions and auxiliary losses are functions of the seed and the step, and positions fit the
    extent."""
    encoding, extent = subject.encoding().eval(), EXTENTS[subject.axes]
    for step in (3, 4):
        draw = Draw(7, step)
        positions = encoding.training_positions(extent, draw)
        assert positions.shape == grid(extent).shape, (
            f"training positions have the shape {tuple(positions.shape)}"
        )
        assert torch.equal(positions, encoding.training_positions(extent, draw)), (
            "training positions do not repeat"
        )
        losses = []
        for _ in range(2):
            with torch.no_grad():
                table = tabulate(encoding, positions, subject.reach())
                losses.append(encoding.auxiliary_losses(positions, table, draw))
        for name in losses[0]:
            assert torch.equal(losses[0][name], losses[1][name]), f"the loss '{name}' does not repeat"


Contract = Callable[[Subject], None]
CONTRACTS: tuple[Contract, ...] = (
    causality,
    cached_decoding,
    left_padding,
    gradients,
    order_matters,
    exact_tables,
    tables_by_position,
    beyond_the_trained_extent,
    same_seed_same_weights,
    repeatable_draws,
)


class Finding(NamedTuple):
    """The outcome of one contract.

    Attributes:
        contract: first line of its docstring. setting: axes and kind of attention.
        fault: what went wrong, None if nothing did.
    """

    contract: str
    setting: str
    fault: str | None


def examine(name: str, options: Mapping[str, Any] | None = None) -> Iterator[Finding]:
    """Runs every contract on an encoding in every setting it serves."""
    for subject in subjects(name, options):
        kind = "causal" if subject.causal else "bidirectional"
        setting = f"{subject.axes}-D, {kind}"
        for contract in CONTRACTS:
            title = (contract.__doc__ or contract.__name__).strip().splitlines()[0]
            yield Finding(title, setting, _fault(contract, subject))


class StepCost(NamedTuple):
    """What an encoding adds to a training step.

    Attributes:
        parameters: of the encoding. seconds: a step, median.
        ratio: median ratio to a step without an encoding, both measured in alternation.
    """

    parameters: int
    seconds: float
    ratio: float


def step_cost(name: str, options: Mapping[str, Any], geometry: Geometry, rounds: int = 7) -> StepCost:
    """Times training steps of a model with an encoding against one without."""
    steps = [_training_step(other, values, geometry) for other, values in ((name, options), ("none", {}))]
    times: list[tuple[float, float]] = []
    for _ in range(rounds + 1):
        times.append((_seconds(steps[0]), _seconds(steps[1])))
    times = times[1:]
    parameters = sum(p.numel() for p in build_encoding(name, options, geometry).parameters())
    return StepCost(parameters, median(one for one, _ in times), median(one / other for one, other in times))


def assert_close(found: Tensor, wanted: Tensor, message: str) -> None:
    """Raises an AssertionError with the message and the largest difference, unless the tensors agree."""
    scale = max(1.0, float(wanted.abs().max())) if wanted.numel() else 1.0
    difference = float((found.double() - wanted.double()).abs().max()) if wanted.numel() else 0.0
    assert difference <= TOLERANCE * scale, f"{message} (by {difference:.1e})"


def _fault(contract: Contract, subject: Subject) -> str | None:
    try:
        contract(subject)
    except AssertionError as error:
        return str(error)
    except UserError as error:
        return str(error)
    except Exception as error:
        return f"{type(error).__name__}: {' '.join(str(error).split())}"
    return None


def _tensors(table: Table) -> list[Tensor]:
    return [leaf for leaf in tree_flatten(table)[0] if isinstance(leaf, Tensor)]


def _training_step(name: str, options: Mapping[str, Any], geometry: Geometry) -> Callable[[], None]:
    encoding = build_encoding(name, options, geometry)
    model: nn.Module = Decoder(geometry, 256, encoding, dropout=0.0, seed=0)
    positions = grid(geometry.extent)
    tokens = torch.randint(256, (8, positions.shape[1]), generator=generator(0, "cost"))
    reach = Reach(geometry.extent, encoding.extrapolations[0])

    def step() -> None:
        table = tabulate(encoding, positions, reach)
        loss = model.losses(model(tokens, table), tokens).mean()  # type: ignore[operator]
        for value in encoding.auxiliary_losses(positions, table, Draw(0, 0)).values():
            loss = loss + value
        loss.backward()
        model.zero_grad()

    return step


def _seconds(step: Callable[[], None]) -> float:
    begin = time.perf_counter()
    step()
    return time.perf_counter() - begin

"""The contract of a position encoding: where it may act, and what attention promises it.

Shapes in this file: B batch, N new tokens, K keys (cached ones included, the new ones last), H heads, d width
of a head, D width of the model, A axes of a position, r features of a factored bias.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

import torch
from pydantic import BaseModel
from torch import Tensor, nn

from pebench import randomness
from pebench.attention_mask import AttentionMask
from pebench.errors import UserError, unknown
from pebench.machine.to_device import send

Table = Any
"""A tensor, a number, a (named) tuple of tables, or None; dimension 1 of its tensors is the token."""

CHANGES = (
    "write `table(self, x: TableInputs)`, `rotate(self, x: AttentionInputs)` and `bias(self, x: "
    "AttentionInputs)`, with x.positions and x.extent there, x.q, x.k, x.hidden, x.q_table, x.k_table, "
    "x.layer and x.state here, and `training_positions(self, extent, examples, rng)`; `Reach` is "
    "`Extrapolation`, `Draw` is `StepRNG`, `unplaced` is `prefix_table`"
)
"""The answer to a plugin that was written against the contract before this one."""


@dataclass(frozen=True)
class Geometry:
    """Sizes of the model around an encoding.

    Attributes:
        width: D, channels of a token.
        heads: H, attention heads of a layer.
        layers: attention layers.
        extent: positions an axis in training: ``(128,)`` for text, ``(rows, columns)`` for images.
        causal: whether a query sees only its own key and those before it.
        prefix_tokens: leading tokens without a position, such as a class token. Attention calls the hooks
            with the other tokens alone, and adds nothing to the logits of these.
        head_dim: d, channels of a head; 0, the default, stands for width / heads.
    """

    width: int
    heads: int
    layers: int
    extent: tuple[int, ...]
    causal: bool = True
    prefix_tokens: int = 0
    head_dim: int = 0

    def __post_init__(self) -> None:
        if not self.head_dim:
            if self.width % self.heads:
                raise ValueError(f"width {self.width} does not divide into {self.heads} heads")
            object.__setattr__(self, "head_dim", self.width // self.heads)
        if not self.extent or min(self.extent) < 1:
            raise ValueError(f"an extent needs at least one position an axis, not {self.extent}")

    @property
    def channels(self) -> int:
        """H·d, channels of all heads: the width, unless heads have one of their own."""
        return self.heads * self.head_dim

    @property
    def axes(self) -> int:
        """A, numbers that make up a position."""
        return len(self.extent)

    def with_layers(self, layers: int) -> Geometry:
        """The same with another number of layers."""
        return replace(self, layers=layers)


class Extrapolation(NamedTuple):
    """An extent that is served, and the way past the trained one.

    Attributes:
        extent: positions an axis that are served; every position lies below it.
        method: one of the encoding's `extrapolations`, with those of its options in parentheses that are not
            defaults: ``yarn(factor=4)``. Most matter only past the trained extent.
        options: of the method, an instance of its model in `extrapolation_options`; None where it has none.
    """

    extent: tuple[int, ...]
    method: str = "extend"
    options: BaseModel | None = None

    @property
    def name(self) -> str:
        """The method without its options."""
        return self.method.partition("(")[0]


class StepRNG(NamedTuple):
    """A training step as a source of randomness: equal (seed, step) draw equal numbers, in any order."""

    seed: int
    step: int

    def generator(self, *names: object) -> torch.Generator:
        """A CPU generator for the purpose that `names` spell out. Name the step where each step should
        differ."""
        return randomness.generator(self.seed, *names)


class TableInputs(NamedTuple):
    """Positions of the tokens of a forward pass, for `PositionEncoding.table`.

    Attributes:
        positions: (B|1, N, A) integers, in any order and with any gaps; real numbers where
            `training_positions` draws such.
        extrapolation: the extent that is served, and the way there.
        device: of the table. The positions are there too, but for encodings with `host_positions`.
        rng: the training step; None in evaluation.
        consecutive: whether they are known to be of one axis, the same in all texts, and each one more than
            the one before it. Nobody looks at positions on a GPU for it.
    """

    positions: Tensor
    extrapolation: Extrapolation
    device: torch.device
    rng: StepRNG | None = None
    consecutive: bool = False

    @property
    def extent(self) -> tuple[int, ...]:
        """Positions an axis that are served."""
        return self.extrapolation.extent


class AttentionInputs(NamedTuple):
    """The state of one attention layer, for the hooks of `PositionEncoding`.

    Attributes:
        q: (B, H, N, d) queries of the new tokens: as projected in `rotate`, as rotated in the later hooks.
        k: keys: (B, H, N, d) of the new tokens in `rotate`, (B, H, K, d) of all in the later hooks.
        hidden: (B, N, D) normed input of the layer, for the new tokens.
        q_table: `table` of the new tokens.
        k_table: `table` of the tokens of `k`.
        layer: number of the layer, from 0.
        state: kept with this layer's cache from call to call, empty at first: an encoding that accumulates
            along the sequence keeps tensors with a batch dimension here.
        mask: which keys each query sees, and how many (`mask.keys_seen()`).
    """

    q: Tensor
    k: Tensor
    hidden: Tensor
    q_table: Table
    k_table: Table
    layer: int
    state: dict[str, Any]
    mask: AttentionMask


class Block(NamedTuple):
    """A part of the attention matrix for which a dense bias is asked.

    Attributes:
        rows: the new queries asked for, out of N.
        keys: the keys that they may see, out of K.
        visible: (B|1, 1, rows, keys) bool, False where attention hides the key from the query.
    """

    rows: slice
    keys: slice
    visible: Tensor


Compile = Callable[[Callable[..., Tensor]], Callable[..., Tensor]]
"""Makes the compiled form of a function."""

Score = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""Bias of one (batch, head, query, key)."""


@dataclass(frozen=True)
class Counting:
    """A bias that looks up one of P numbers of the query, by how many keys it counts up to its own.

    The count of query i and key j is p_ij = Σ_{t=j…i} σ(gate_scale·q_i·k_t), at most P − 1, with q and k of
    `AttentionInputs` where the bias was asked for; between whole numbers the bias is interpolated linearly.

    Attributes:
        products: makes the (B, H, N, P) float32 numbers.
        numbers: P.
        gate_scale: of the products that gates take.
    """

    products: Callable[[], Tensor]
    numbers: int
    gate_scale: float


@dataclass(frozen=True)
class Adjusting:
    """A bias that a network over the heads makes of the logits of a pair, beside a bias by distance.

    For the logits x of all heads, which are scale·q·k with q and k of `AttentionInputs` where the bias was
    asked for, it is last·LeakyReLU(first·x + hidden) + prior.

    Attributes:
        first: (U, H) float32, of the logits in the U units. last: (H, U), of the units in the bias.
        tables: makes `hidden`, (U, 2N − 1), and `prior`, (H, 2N − 1), by the distance i − j from −(N − 1) on,
            float32.
        slope: of the LeakyReLU below zero.
        scale: of q·k in the logits.
    """

    first: Tensor
    last: Tensor
    tables: Callable[[], tuple[Tensor, Tensor]]
    slope: float
    scale: float


@dataclass(frozen=True)
class Dense:
    """A bias given by its values, one block of queries at a time: memory grows with K, not with N·K.

    Attributes:
        values: from a block to (B|1, H|1, rows, keys), added to the scaled logits. −∞ hides a key; every
            query keeps its own.
        score: the same for one pair: from the scalar integer tensors batch, head, query (of N) and key (of K)
            to a scalar. It consists of tensor operations alone, so that a GPU's attention kernel can be
            compiled with it. None where heads or keys are mixed, so that there is no such form.
        shared: whether all texts have the same values, for all H heads, whatever is visible.
        by_distance: (H, 2N − 1) float32, the same by the distance i − j from −(N − 1) on, where nothing else
            matters to it, queries and keys are the same N tokens, and all texts share it; None elsewhere.
        counting: the same as a lookup by counts of keys; None where it is none.
        adjusting: the same as made by a network over the heads, likewise where queries and keys are the same
            N tokens.
    """

    values: Callable[[Block], Tensor]
    score: Score | None = None
    shared: bool = False
    by_distance: Tensor | None = None
    counting: Counting | None = None
    adjusting: Adjusting | None = None


@dataclass(frozen=True)
class Factored:
    """A low-rank bias query·key, which a fused kernel carries as r more channels of queries and keys.

    Attributes:
        key: (B|1, H|1, K, r) float32, or float64 where the numbers are large sums.
        query: (B|1, H|1, N, r) float32; None for a bias Σ_r key that depends on the key alone, which
            attention carries without loss in any precision, however large it is. A bias f(j) − f(i) is of
            that kind, since softmax ignores what is constant along a row; beside tokens without a position,
            whose logits get nothing, it needs both features.
    """

    key: Tensor
    query: Tensor | None = None


Bias = Dense | Factored


_LITERALS = (tuple, list, dict, set, str, int, float, bool, type(None))
"""What a fact of an encoding is made of; anything else is code."""

_PLACES = "IRBCTW"
"""Letters of `PositionEncoding.acts`."""


class PositionEncoding(nn.Module):
    """Base of all encodings. An encoding overrides the hooks that it needs; each default does nothing.

    The constructor's keyword arguments are the encoding's options. Their annotations are enforced before any
    model is built, and a ValueError raised by the constructor reaches the user as its one sentence.

    Attention computes softmax(t·scale·q·k + bias)·v from the rotated q and k, with t of `temperature`.

    Attributes:
        geometry: of the model around it.
        trained_with: the trained extent and the method that training applies, its own default unless
            `train.extrapolation` names another; evaluation applies it where no other is asked for.

    Class attributes, literals so that they can be read without importing the file:
        axes: numbers of position axes that it can serve.
        acts: where it acts: "I" on the embeddings, "R" on queries and keys, "B" on the logits from positions,
            "C" on the logits from content as well, "T" on their temperature, "W" on which keys are seen.
            Empty for none.
        causal_only: whether it makes no sense without causal attention.
        fewest_layers: of a model that it can serve.
        extrapolations: ways past the trained extent, the default first.
        kernels: names of `pebench.attention.kernels.Kernel`, all that may serve it in one setting or another.
        cost: growth of time and memory with what it adds to attention, in the letters of this file.
        claims: names of `pebench.conformance.identities` that hold of it in every setting that it serves.
        host_positions: whether `table` is given positions on the CPU where the caller has them there, because
            it inspects values; on CUDA that would force a synchronisation.
        widens_heads: whether `rotate` gives queries and keys another width.
        shared_keys: whether `rotate` does the same to every head, so that it takes keys of fewer heads,
            (B, G, N, d), where several heads of queries share each.
        head_width_only: whether its hooks take queries and keys of d channels alone, so that it cannot stand
            in a composition behind one that widens them, nor beside one if its bias reads them.
        tf32: whether its products of float32 matrices, and those of their backward pass, may be computed in
            TF32 on CUDA when training is in bfloat16. Never where a factor is a position, an angle or a sum
            of such, of which 10 bits do not remain exact.
        autocast: whether `table` and `auxiliary_losses` are called under autocast when training is in
            bfloat16; what they return is in float32 all the same. Never where `tf32` would not do.
        graph_break: the reason why `torch.compile` cannot take a model around it as one graph; empty where it
            can.
        drawn_with: options of its picture in the gallery, where its defaults show nothing there.
        source: the paper that defines it, with a link.
        version: raised when a change alters results, so that old runs are not taken for new ones.

    Attributes:
        orderless: whether one layer takes the tokens that a query sees as a set, so that causality alone
            gives them an order.
        fits: whether it sets numbers of its own in `fit`, which takes a task that holds examples out.
    """

    orderless: bool = False
    fits: bool = False

    axes: ClassVar[tuple[int, ...]] = (1,)
    acts: ClassVar[str] = ""
    causal_only: ClassVar[bool] = False
    fewest_layers: ClassVar[int] = 1
    extrapolations: ClassVar[tuple[str, ...]] = ("extend",)
    kernels: ClassVar[tuple[str, ...]] = ("fused",)
    cost: ClassVar[str] = ""
    claims: ClassVar[tuple[str, ...]] = ()
    host_positions: ClassVar[bool] = False
    widens_heads: ClassVar[bool] = False
    shared_keys: ClassVar[bool] = False
    head_width_only: ClassVar[bool] = False
    tf32: ClassVar[bool] = False
    autocast: ClassVar[bool] = False
    graph_break: ClassVar[str] = ""
    drawn_with: ClassVar[Mapping[str, Any]] = {}
    source: ClassVar[str] = ""
    version: ClassVar[int] = 1

    def __init_subclass__(cls) -> None:
        """Refuses facts of another type, and hooks of the contract before this one, in a sentence that says
        what to change."""
        super().__init_subclass__()
        for fact, own in vars(cls).items():
            usual = vars(PositionEncoding).get(fact)
            literal = isinstance(own, _LITERALS) and isinstance(usual, tuple | str | int) and fact[0] != "_"
            if literal and type(own) is not type(usual):
                raise TypeError(f"'{fact}' is a {type(usual).__name__}, as {usual!r}, and not {own!r}")
            kind = int if fact == "axes" else str
            if literal and isinstance(own, tuple) and any(type(each) is not kind for each in own):
                raise TypeError(f"'{fact}' holds values of type {kind.__name__} alone, and is {own!r}")
        if strange := set(cls.acts) - set(_PLACES):
            raise TypeError(f"'acts' is made of the letters {_PLACES}, and not of {min(strange)!r}")
        for hook, base in vars(PositionEncoding).items():
            own = vars(cls).get(hook)
            if inspect.isfunction(base) and inspect.isfunction(own) and not hook.startswith("_"):
                wanted, found = (len(inspect.signature(one).parameters) for one in (base, own))
                if found != wanted:
                    raise TypeError(
                        f"the contract has changed, and '{hook}' takes other arguments: {CHANGES}"
                    )

    def __init__(self, geometry: Geometry) -> None:
        super().__init__()
        self.geometry = geometry
        self.trained_with = Extrapolation(geometry.extent, self.extrapolations[0])

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Goes along to another device, and stays in float32 where a model is cast to half precision: what
        weights and buffers here make are positions, angles and logits, as under autocast."""

        def exact(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            halved = tensor.is_floating_point() and moved.dtype.itemsize < tensor.dtype.itemsize
            return tensor.to(moved.device) if halved else moved

        super()._apply(exact, recurse)  # type: ignore[no-untyped-call]
        return self

    @classmethod
    def former_options(cls, version: int, options: Mapping[str, Any]) -> dict[str, Any]:
        """The options under which this version computes what an earlier one did, for runs of that time.

        Args:
            version: that the run was made with.
            options: of the run.
        """
        return dict(options)

    def refitted(self, weights: Mapping[str, Tensor], extent: tuple[int, ...]) -> dict[str, Tensor]:
        """Its weights, made of those of the same encoding that was trained for another extent, where a run
        goes on at its own from such a one; by default they are as they were.

        Args:
            weights: by their names in `state_dict`. extent: that they were trained for.
        """
        return dict(weights)

    @classmethod
    def extrapolation_options(cls, method: str) -> type[BaseModel] | None:
        """The model of a method's options, each with a default; None for a method without options.

        A fixed factor is such an option: ``{yarn: {factor: 4}}`` among a task's `extrapolations` to evaluate
        with it, at `train.extrapolation` to train with it.
        """
        return None

    def compile_training(self, compile_whole: Compile) -> None:
        """Called once before training that is compiled. What `table` and `auxiliary_losses` do is not
        compiled otherwise; an encoding may put a compiled form in place of what it computes there, for
        training alone and where the shapes of all steps are the same."""

    def limit(self) -> int | None:
        """The largest extent of an axis that can be served, None if there is no bound."""
        return None

    def scale(self) -> float:
        """Factor on the logits q·k: 1/√d of the model's heads, whatever width `rotate` gives them."""
        return float(self.geometry.head_dim**-0.5)

    def window(self, layer: int) -> int | None:
        """Number of nearest keys that a query of the layer sees, its own counted; None for all.

        Windows count tokens, not positions, and are for one axis. Kernels skip all blocks beyond them.
        """
        return None

    def chunk(self, layer: int) -> int | None:
        """Length of the runs of tokens within which the queries of the layer see keys; None for one run."""
        return None

    def table(self, x: TableInputs) -> Table:
        """Tabulates positions for the other hooks, once a forward pass for all layers, with autocast off.

        Queries and keys each have a table; the keys' holds the cached tokens too.

        Returns:
            A tensor, a tuple of tables, or None; dimension 1 of each tensor is N. By default the positions.
        """
        return x.positions

    def prefix_table(self) -> Table:
        """Table of the `geometry.prefix_tokens` leading tokens, if the encoding has something to say of them:
        attention then treats them like the others. None leaves them alone."""
        return None

    def embed(self, table: Table) -> Tensor | None:
        """(B|1, N, D), added to the token embeddings."""
        return None

    def rotate(self, x: AttentionInputs) -> tuple[Tensor, Tensor]:
        """Transforms the queries and keys of the new tokens, (B, H, N, d) to (B, H, N, d'); d' may differ."""
        return x.q, x.k

    def temperature(self, x: AttentionInputs) -> Tensor | None:
        """(B|1, H|1, N) float32 factor of each query on its scaled logits, before the bias is added."""
        return None

    def bias(self, x: AttentionInputs) -> Bias | None:
        """Bias of the new queries against all keys, added to the scaled logits."""
        return None

    def fit(self, loss: Callable[[], float], extrapolation: Extrapolation) -> dict[str, float]:
        """Sets numbers of its own before an evaluation, by what a trained model makes of examples that are
        neither trained nor evaluated on; by default there are none.

        Args:
            loss: the mean loss of the model on such examples, of the extent that is to be evaluated, with the
                numbers as they are set.
            extrapolation: the extent that is to be evaluated, and the way there.

        Returns:
            The numbers by name, which are recorded with the evaluation.
        """
        return {}

    def training_positions(self, extent: tuple[int, ...], examples: int, rng: StepRNG) -> Tensor:
        """(1|G, N, A) positions of a training batch, on the CPU: by default every cell of the extent in
        row-major order, for all examples alike.

        With G groups example i stands where group i modulo G does, whatever parts and ranks share the batch;
        the table is made once for each group.

        Args:
            extent: positions an axis.
            examples: of the batch of an update, all ranks together; G is at most as many.
            rng: the step as a source of randomness.
        """
        return grid(extent)

    def auxiliary_losses(self, positions: Tensor, table: Table, rng: StepRNG) -> dict[str, Tensor]:
        """Weighted scalar losses to add to the task's, by name.

        Args:
            positions: (1|G, N, A) the positions of this step, on the CPU.
            table: their table.
            rng: the step as a source of randomness.
        """
        return {}


def tabulate(
    encoding: PositionEncoding,
    positions: Tensor,
    extrapolation: Extrapolation,
    device: torch.device | None = None,
    rng: StepRNG | None = None,
    half: bool = False,
) -> Table:
    """The encoding's table of positions, in float32 whatever autocast is on.

    Args:
        encoding: of the model.
        positions: (B|1, N, A).
        extrapolation: the extent that is served, and the way there.
        device: of the encoding; by default where the positions are.
        rng: the training step; None in evaluation.
        half: whether it may be computed in bfloat16 where the encoding says `autocast`.

    Raises:
        UserError: the encoding has no such way past the trained extent.
    """
    method, offered = extrapolation.name, encoding.extrapolations
    if method not in offered and method != Extrapolation._field_defaults["method"]:
        raise unknown("extrapolation", method, offered, "this encoding")
    if extrapolation.options is None and method != extrapolation.method:
        raise UserError(f"the extrapolation '{extrapolation.method}' names options, and has none with it.")
    device = device or positions.device
    there = positions if encoding.host_positions else send(positions, device)
    with torch.autocast(device.type, torch.bfloat16, enabled=half and encoding.autocast):
        return encoding.table(TableInputs(there, extrapolation, device, rng, _are_consecutive(positions)))


def _are_consecutive(positions: Tensor) -> bool:
    """Whether (B|1, N, A) positions that the host knows are such, see `TableInputs`."""
    if positions.device.type != "cpu" or len(positions) > 1 or positions.shape[2] > 1:
        return False
    return bool((positions[0].diff(dim=0) == 1).all())


def grid(extent: tuple[int, ...]) -> Tensor:
    """(1, N, A) integer positions of every cell of an extent, in row-major order.

    ``grid((2, 2))`` is ``[[[0, 0], [0, 1], [1, 0], [1, 1]]]``: N is the product of the extent.
    """
    axes = torch.meshgrid(*(torch.arange(size) for size in extent), indexing="ij")
    return torch.stack([axis.reshape(-1) for axis in axes], dim=-1)[None]


def layer_inputs(
    encoding: PositionEncoding, q: Tensor, k: Tensor, hidden: Tensor, table: Table, layer: int = 0
) -> AttentionInputs:
    """The inputs of a layer's hooks in a full pass without a cache or padding, for trying an encoding.

    Args:
        encoding: decides causality and window.
        q: (B, H, N, d).
        k: (B, H, N, d).
        hidden: (B, N, D).
        table: of the N tokens.
        layer: number of the layer, from 0.
    """
    count = q.shape[2]
    limits = encoding.window(layer), encoding.chunk(layer)
    mask = AttentionMask(count, count, encoding.geometry.causal, q.device, None, *limits)
    return AttentionInputs(q, k, hidden, table, table, layer, {}, mask)


if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """Answers a plugin of the contract before this one with what is to be changed in it."""
        if name in ("Reach", "Draw"):
            raise ImportError(f"the contract has changed: {CHANGES}")
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")

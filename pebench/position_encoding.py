"""The contract of a position encoding: where it may act, and what attention promises it.

Shapes in this file: B batch, N new positions, K key positions (cached ones included, the new ones last),
H heads, d width of a head, D width of the model, A axes of a position.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from pebench import randomness
from pebench.transfer import send

Table = Any
"""A tensor, a number, a (named) tuple of tables, or None; dimension 1 of its tensors is the position."""


@dataclass(frozen=True)
class Geometry:
    """What an encoding must know of the model around it.

    Attributes:
        width: D, channels of a token.
        heads: H, attention heads of a layer.
        layers: attention layers.
        extent: positions an axis in training: ``(128,)`` for text, ``(rows, columns)`` for images.
        causal: whether a query sees only the keys that stand before it and itself.
        unplaced: leading tokens that stand nowhere, such as a class token. They have no positions: attention
            calls the hooks with the other tokens alone, and adds nothing to the logits of these.
    """

    width: int
    heads: int
    layers: int
    extent: tuple[int, ...]
    causal: bool = True
    unplaced: int = 0

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} does not divide into {self.heads} heads")
        if not self.extent or min(self.extent) < 1:
            raise ValueError(f"an extent needs at least one position an axis, not {self.extent}")

    @property
    def head_dim(self) -> int:
        """d, channels of a head."""
        return self.width // self.heads

    @property
    def axes(self) -> int:
        """A, numbers that make up a position."""
        return len(self.extent)


class Reach(NamedTuple):
    """How far the positions at hand go, and how the encoding is to get there.

    Attributes:
        extent: positions an axis that are being served.
        method: one of the encoding's `extrapolations`; it matters only past the trained extent.
    """

    extent: tuple[int, ...]
    method: str = "extend"


class Draw(NamedTuple):
    """A training step as a source of randomness: equal (seed, step) draw equal numbers, in any order."""

    seed: int
    step: int

    def generator(self, *names: object) -> torch.Generator:
        """A CPU generator for the purpose that `names` spell out. Name the step where each step should
        differ."""
        return randomness.generator(self.seed, *names)


class Block(NamedTuple):
    """The part of the attention matrix for which a dense bias is asked.

    Attributes:
        rows: the new queries asked for, out of N.
        keys: the leading keys they may see, out of K.
        visible: (B|1, 1, rows, keys) bool, False where attention will hide the key from the query.
    """

    rows: slice
    keys: slice
    visible: Tensor


Score = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""The bias of one (batch, head, query, key)."""


@dataclass(frozen=True)
class Dense:
    """A bias given by its values, one block of queries at a time, so that memory grows with K and not with
    N·K.

    Attributes:
        values: from a block to (B|1, H|1, rows, keys), added to the logits q·k/√d. −∞ hides a key; every
            query keeps one key at least that is visible, its own.
        score: the same, one number at a time: from the scalar integer tensors batch, head, query out of N and
            key out of K to a scalar. Written with tensor operations only, so that it can be compiled into the
            attention kernel of a GPU. None where there is no such form, as when heads or keys are mixed.
    """

    values: Callable[[Block], Tensor]
    score: Score | None = None


@dataclass(frozen=True)
class Factored:
    """A bias that is a product of features, which a fused kernel can carry: query · key is added to q·k/√d.

    Attributes:
        key: (B|1, H|1, K, r) float32, or float64 where the numbers are large sums.
        query: (B|1, H|1, N, r) float32, or None for a bias Σ_r key that depends on the key alone. That is all
            a bias f(j) − f(i) needs, since softmax ignores what is constant along a row; and it may be large,
            for attention then carries it without loss in any precision. Beside tokens that stand nowhere,
            whose logits get nothing, it is taken as it stands, so f(j) − f(i) must say both features there.
    """

    key: Tensor
    query: Tensor | None = None


Bias = Dense | Factored


class PositionEncoding(nn.Module):
    """Base of all encodings. An encoding overrides the hooks it needs; each default does nothing.

    The constructor's keyword arguments are the encoding's options; their annotations are enforced before any
    model is built, and a ValueError raised by the constructor reaches the user as its one sentence.

    Class attributes, literals so that they can be read without importing the file:
        axes: numbers of position axes it can serve.
        acts: where it acts: "I" on the embeddings, "R" on queries and keys, "B" on the logits from positions,
            "C" on the logits from content as well. Empty for none.
        causal_only: whether it makes no sense without causal attention.
        extrapolations: ways past the trained extent, the default first.
        kernels: names of `pebench.attention.kernels.Kernel`, all that may serve it in one setting or another.
        cost: how time and memory grow with what it adds to attention, in the letters of this file.
        claims: names of `pebench.conformance.identities` that hold of it in every setting that it serves.
        host_positions: whether `table` is given positions on the CPU where the caller has them there, since
            it must look at their values, for which a device would have to be waited for. Its table is on the
            device of its parameters all the same.
        tf32: whether its products of float32 matrices, and those of their backward pass, may be computed in
            TF32 on CUDA when training is in bfloat16. Never where a factor is a position, an angle or a sum
            of such, of which 10 bits do not remain exact.
        autocast: whether `table` and `auxiliary_losses` are called under autocast when training is in
            bfloat16; what they return is in float32 all the same. Never where `tf32` would not do.
        graph_break: why `torch.compile` cannot take a model around it as one graph; empty where it can.
        source: the paper that defines it, with a link.
        version: raised when a change alters results, so that old runs are not taken for new ones.
    """

    axes: ClassVar[tuple[int, ...]] = (1,)
    acts: ClassVar[str] = ""
    causal_only: ClassVar[bool] = False
    extrapolations: ClassVar[tuple[str, ...]] = ("extend",)
    kernels: ClassVar[tuple[str, ...]] = ("fused",)
    cost: ClassVar[str] = ""
    claims: ClassVar[tuple[str, ...]] = ()
    host_positions: ClassVar[bool] = False
    tf32: ClassVar[bool] = False
    autocast: ClassVar[bool] = False
    graph_break: ClassVar[str] = ""
    source: ClassVar[str] = ""
    version: ClassVar[int] = 1

    def __init__(self, geometry: Geometry) -> None:
        super().__init__()
        self.geometry = geometry

    def compile_training(
        self, compile_whole: Callable[[Callable[..., Tensor]], Callable[..., Tensor]]
    ) -> None:
        """Called once before training that is compiled. What `table` and `auxiliary_losses` do is not
        compiled otherwise; an encoding may put a compiled form in place of what it computes there, for
        training alone and where the shapes of all steps are the same."""

    def limit(self) -> int | None:
        """The largest extent of an axis that can be served, None if there is no bound."""
        return None

    def table(self, positions: Tensor, reach: Reach) -> Table:
        """What the other hooks need to know of positions, computed once a forward pass and shared by the
        layers.

        Called with autocast off, but for training around an encoding that says `autocast`. Queries and keys
        each have a table; the keys' holds the cached ones too.

        Args:
            positions: (B|1, N, A) integers, in any order and with any gaps.
            reach: the extent that is being served and how to get there.

        Returns:
            A tensor, a tuple of tables, or None; dimension 1 of each tensor is N. By default the positions.
        """
        return positions

    def unplaced(self) -> Table:
        """The table of the `geometry.unplaced` leading tokens that stand nowhere, if the encoding has
        something to say of them: attention then treats them like the others. None leaves them alone."""
        return None

    def embed(self, table: Table) -> Tensor | None:
        """(B|1, N, D), added to the token embeddings."""
        return None

    def rotate(self, q: Tensor, k: Tensor, table: Table, layer: int) -> tuple[Tensor, Tensor]:
        """New queries and keys, both (B, H, N, d), transformed; they stand at the same positions."""
        return q, k

    def bias(
        self,
        q: Tensor,
        k: Tensor,
        hidden: Tensor,
        q_table: Table,
        k_table: Table,
        layer: int,
        carry: dict[str, Tensor],
    ) -> Bias | None:
        """What is added to the logits q·k/√d of the new queries against all keys.

        Args:
            q: (B, H, N, d) new queries, k: (B, H, K, d) all keys, both after `rotate`.
            hidden: (B, N, D) the normed input of the layer, for the new positions.
            q_table: the table of the new positions, k_table: that of all K positions.
            layer: number of the layer, from 0.
            carry: kept with the cache of this layer from call to call, empty at first; an encoding that
                accumulates along the sequence keeps its running value here.
        """
        return None

    def training_positions(self, extent: tuple[int, ...], examples: int, draw: Draw) -> Tensor:
        """(1|G, N, A) positions of a training batch, on the CPU: by default every cell of the extent in
        row-major order, for all examples alike.

        With G groups example i stands where group i modulo G does, whatever parts and ranks share the batch;
        the table is made once for each group.

        Args:
            extent: positions an axis.
            examples: of the batch of an update, all ranks together; G is at most as many.
            draw: the step as a source of randomness.
        """
        return grid(extent)

    def auxiliary_losses(self, positions: Tensor, table: Table, draw: Draw) -> dict[str, Tensor]:
        """Weighted scalar losses to add to the task's, by name.

        Args:
            positions: (1|G, N, A) the positions of this step, on the CPU.
            table: their table.
            draw: the step as a source of randomness.
        """
        return {}


def tabulate(
    encoding: PositionEncoding,
    positions: Tensor,
    reach: Reach,
    device: torch.device | None = None,
    half: bool = False,
) -> Table:
    """The encoding's table of positions, in float32 whatever autocast is on.

    Args:
        positions: (B|1, N, A). reach: the extent that is served and how.
        device: where the encoding is; by default where the positions are.
        half: whether it may be computed in bfloat16 where the encoding says `autocast`.
    """
    device = device or positions.device
    with torch.autocast(device.type, torch.bfloat16, enabled=half and encoding.autocast):
        return encoding.table(positions if encoding.host_positions else send(positions, device), reach)


def grid(extent: tuple[int, ...]) -> Tensor:
    """(1, N, A) integer positions of every cell of an extent, in row-major order; N is the product of the
    extent."""
    axes = torch.meshgrid(*(torch.arange(size) for size in extent), indexing="ij")
    return torch.stack([axis.reshape(-1) for axis in axes], dim=-1)[None]

"""SeqPE: a position is written as its digits, and a small Transformer reads them."""

import math
from collections.abc import Callable, Sequence
from typing import Annotated, Literal, NamedTuple, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from pebench.encodings.seqpe.comparisons import Comparisons, Drawing
from pebench.encodings.seqpe.encoder import DigitEncoder, check_positions, distinct, in_parts
from pebench.encodings.seqpe.objectives import MIXES, contrastive_loss, distillation_loss
from pebench.machine.to_device import send
from pebench.position_encoding import (
    AttentionInputs,
    Bias,
    Compile,
    Factored,
    Geometry,
    PositionEncoding,
    StepRNG,
    TableInputs,
    grid,
)

WINDOWS = 320
"""Shifted training windows that are drawn once, and used again and again."""

READ_WHOLE = 512
"""Widths of the reader up to which compiled training on CUDA reads strings whole: at 512 a host took longer
to find and gather common prefixes than an H200 to read them again, at 768 an H100 took longer to read."""

Weight = Annotated[float, Field(ge=0)]


class SeqPETable(NamedTuple):
    """Vectors of N positions.

    Attributes:
        vectors: (1|B, N, D) read-outs of the encoder, (1|B, N, d) where all heads share them.
        query, key: their projections, where all layers share one; else the vectors themselves.
    """

    vectors: Tensor
    query: Tensor
    key: Tensor


class SeqPE(PositionEncoding):
    """e = Linear(read-out of a Transformer over the digits of the position): D channels, a slice for each
    head, or d that all heads share.

    `apply` is how e reaches attention: `input` adds e to the token embeddings; `add` makes q+e_q and k+e_k;
    `multiply` q⊙e_q and k⊙e_k; `scalar` makes the logits (q·k + e_q·e_k)/√d. `project` is how (e_q, e_k) come
    from e: by one Linear for all layers (`shared`), by one a layer (`per-layer`), or both are e (`none`).
    The published choice is `scalar` with `shared` for text and `multiply` with `per-layer` for images.

    Training adds a contrastive loss over all nameable positions and a distillation loss that carries the
    similarities of trained positions over to positions outside, and shifts a tenth of the batches to random
    windows, one for each of some groups of examples. A token that stands nowhere, such as a class token,
    has a learned vector of its own.

    The channels of e are of the order of 1, those of token embeddings by GPT-2's N(0, 0.02) are not: with
    `apply: input` e drowns the tokens unless `amplitude` makes it as small as they are.
    """

    axes = (1, 2, 3)
    acts = "IRB"
    head_width_only = True
    kernels = ("fused", "factored")
    cost = (
        "once a forward pass an encoder over the digits of all distinct positions: O(N·W²) time for "
        "digits that are not shared, W its width; scalar also twice the channels of queries and keys, "
        "other ways O(N·D) a layer"
    )
    host_positions = True
    tf32 = True
    autocast = True
    source = "Li et al. 2025, https://arxiv.org/abs/2506.13277"
    version = 4

    def __init__(
        self,
        geometry: Geometry,
        apply: Literal["input", "add", "multiply", "scalar"] | None = None,
        project: Literal["shared", "per-layer", "none"] | None = None,
        amplitude: Annotated[float, Field(gt=0)] = 1.0,
        multi_head: bool = True,
        base: Annotated[int, Field(ge=2, le=65_536)] = 10,
        positions: Annotated[int, Field(ge=2)] | None = None,
        width: Annotated[int, Field(ge=1, le=65_536)] | None = None,
        heads: Annotated[int, Field(ge=1, le=1024)] | None = None,
        layers: Annotated[int, Field(ge=1, le=1024)] = 2,
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1,
        bidirectional: bool = False,
        mask_padding: bool = False,
        share_prefixes: Literal["exact", "always"] = "exact",
        candidates: Literal["text", "images"] | None = None,
        contrastive: Weight = 0.1,
        distillation: Weight = 0.1,
        pivots: Annotated[int, Field(ge=1)] | None = None,
        draws: Annotated[int, Field(ge=1)] | None = None,
        shifted: Annotated[float, Field(ge=0, le=1)] = 0.1,
        windows: Annotated[int, Field(ge=1)] | None = None,
    ) -> None:
        """
        Args:
            apply: how the vectors reach attention; by default `scalar` on one axis, `multiply` on several.
            project: how queries and keys get theirs; by default `shared` on one axis, `per-layer` on several.
            amplitude: what `apply: input` multiplies the vectors by before it adds them to the embeddings.
            multi_head: whether each head has a slice of its own; else all share one vector of their width.
            base: of the digits.
            positions: how many positions an axis the objectives cover, which decides the number of digits; by
                default 20,000 on one axis, 100 on each of several.
            width: of the encoder; by default the model's.
            heads: of the encoder; by default the model's.
            layers: of the encoder.
            dropout: on the encoder's residual branches.
            bidirectional: whether digits see those after them.
            mask_padding: whether padding zeros are hidden.
            share_prefixes: `exact` computes common prefixes of digit strings once wherever that changes
                nothing, which in training with dropout it would, and costs less, which in compiled training
                on CUDA it does not up to a width of 512; `always` does so everywhere.
            candidates: mix of the contrastive candidates; by default `text` on one axis, `images` on several.
            contrastive: weight of the contrastive loss.
            distillation: weight of the distillation loss.
            pivots: positions an update that are contrasted; by default 64 on one axis, 128 on several: 16 and
                32 a device, on the four devices of the published runs.
            draws: of as many offsets as there are candidates, that an update distils; by default as many as
                pivots are by default.
            shifted: probability that a batch stands in shifted windows.
            windows: of a shifted batch; example i stands in window i modulo their number. By default 16 on
                one axis, 32 on several, as published for a device's batch of 32 texts or 256 images.
        """
        super().__init__(geometry)
        text = geometry.axes == 1
        self.how = apply or ("scalar" if text else "multiply")
        self.project = "none" if self.how == "input" else project or ("shared" if text else "per-layer")
        self.base = base
        self.places = positions or (20_000 if text else 100)
        self.digits = _digits_of(self.places - 1, base)
        self.share_prefixes = share_prefixes
        self.dropout, self.amplitude = dropout, amplitude
        self.windows = windows or (16 if text else 32)
        self.mix = MIXES[candidates or ("text" if text else "images")]
        usual = 64 if text else 128
        self.drawing = Drawing(
            self.mix,
            self.places,
            base,
            self.digits,
            geometry.extent,
            pivots=(pivots or usual) if contrastive else 0,
            draws=(draws or usual) if distillation else 0,
        )
        self.contrastive, self.distillation, self.shifted = contrastive, distillation, shifted
        if self.how == "input" and project not in (None, "none"):
            raise ValueError(f"apply 'input' adds one vector a position and takes no projection '{project}'")
        if self.how == "input" and not multi_head:
            raise ValueError("apply 'input' adds to the embeddings, which have no heads: leave multi_head on")
        if self.how != "input" and amplitude != 1:
            raise ValueError(
                f"amplitude is of apply 'input'; apply '{self.how}' adds nothing to the embeddings"
            )
        if self.places < 2 * max(geometry.extent) and (distillation or shifted):
            raise ValueError(
                f"{self.places} positions leave no room to shift a trained extent of {max(geometry.extent)}; "
                f"'positions' must be at least {2 * max(geometry.extent)}"
            )
        if contrastive and self.mix.side(self.places, geometry.axes) ** geometry.axes <= self.mix.size:
            raise ValueError(f"{self.places} positions are too few to draw {self.mix.size} candidates from")
        width = width or geometry.width
        heads = heads or geometry.heads
        if width % heads:
            raise ValueError(f"width {width} does not divide into {heads} heads")
        self.vector_heads = geometry.heads if multi_head else 1
        channels = geometry.width if self.how == "input" else self.vector_heads * geometry.head_dim
        if channels % self.vector_heads:
            raise ValueError(f"width {channels} does not divide into {self.vector_heads} heads")
        self.encoder = DigitEncoder(
            axes=geometry.axes,
            base=base,
            digits=self.digits,
            width=width,
            heads=heads,
            layers=layers,
            out=channels,
            dropout=dropout,
            bidirectional=bidirectional,
            mask_padding=mask_padding,
        )
        self._read_whole: Callable[..., Tensor] = self.encoder.forward
        self._shares = share_prefixes == "always" or dropout == 0
        projections = {"shared": 1, "per-layer": geometry.layers, "none": 0}[self.project]
        linears = nn.ModuleList(nn.Linear(channels, 2 * channels) for _ in range(projections))
        self.projections = cast("Sequence[nn.Linear]", linears)
        for projection in self.projections:
            nn.init.normal_(projection.weight, std=0.02)
            nn.init.zeros_(projection.bias)
        self.unplaced_vectors: nn.Parameter | None = None
        if geometry.prefix_tokens:
            self.unplaced_vectors = nn.Parameter(torch.randn(geometry.prefix_tokens, channels) * 0.02)

    def compile_training(self, compile_whole: Compile) -> None:
        """The reader, on CUDA: there kernels one by one take longer than one for many. It has two forms: for
        the trained extent, and for what the objectives compare in a step. Other numbers of strings, which
        shifted steps have, are filled up to them. Narrow ones read strings whole where dropout does not ask
        for that, either."""
        if self.encoder.readout.device.type == "cuda":
            counts = [math.prod(self.geometry.extent), self.drawing.strings]
            self._read_whole = in_parts(compile_whole(self.encoder.forward), [n for n in counts if n])
            narrow = len(self.encoder.readout) <= READ_WHOLE
            self._shares = self.share_prefixes == "always" or (self.dropout == 0 and not narrow)

    def limit(self) -> int:
        """As many as the digits can name."""
        return int(self.base**self.digits)

    def table(self, x: TableInputs) -> SeqPETable:
        """The vectors of the positions; each distinct position is read once."""
        return self._table(self._read(x.positions.flatten(0, 1)).unflatten(0, x.positions.shape[:2]))

    def prefix_table(self) -> SeqPETable | None:
        """Learned vectors, used like those of positions."""
        return None if self.unplaced_vectors is None else self._table(self.unplaced_vectors[None])

    def _table(self, vectors: Tensor) -> SeqPETable:
        if self.project == "shared":
            query, key = self.projections[0](vectors).to(vectors.dtype).chunk(2, dim=-1)
            return SeqPETable(vectors, query, key)
        return SeqPETable(vectors, vectors, vectors)

    def embed(self, table: SeqPETable) -> Tensor | None:
        """The vectors, where they are applied to the input."""
        return table.vectors * self.amplitude if self.how == "input" else None

    def rotate(self, x: AttentionInputs) -> tuple[Tensor, Tensor]:
        """Sums or products with the vectors."""
        if self.how not in ("add", "multiply"):
            return x.q, x.k
        query, key = self._heads(x.q_table, x.layer)
        if self.how == "add":
            return (x.q + query).to(x.q.dtype), (x.k + key).to(x.k.dtype)
        return (x.q * query).to(x.q.dtype), (x.k * key).to(x.k.dtype)

    def bias(self, x: AttentionInputs) -> Bias | None:
        """e_q·e_k/√d is a product of features already."""
        if self.how != "scalar":
            return None
        query, _ = self._heads(x.q_table, x.layer)
        _, key = self._heads(x.k_table, x.layer)
        return Factored(key=key, query=query * self.geometry.head_dim**-0.5)

    def training_positions(self, extent: tuple[int, ...], examples: int, draw: StepRNG) -> Tensor:
        """Shifted windows in a share of the steps, else the positions from zero on."""
        generator = draw.generator("seqpe", "window", draw.step)
        positions = grid(extent)
        if torch.rand((), generator=generator) >= self.shifted:
            return positions
        room = torch.tensor([self.places - size + 1 for size in extent])
        corners = (
            torch.rand(WINDOWS, len(extent), generator=draw.generator("seqpe", "windows")) * room
        ).long()
        chosen = torch.randperm(WINDOWS, generator=generator)[: min(self.windows, examples)]
        return positions + corners[chosen, None]

    def auxiliary_losses(self, positions: Tensor, table: SeqPETable, draw: StepRNG) -> dict[str, Tensor]:
        """The contrastive loss, and in steps that are not shifted the distillation loss, with their
        weights."""
        contrasted = self.contrastive > 0
        distilled = self.distillation > 0 and torch.equal(positions, grid(self.geometry.extent))
        if not contrasted and not distilled:
            return {}
        compared = self.drawing.of(draw)
        rows = [compared.pivots, compared.candidates.flatten(0, 1)] if contrasted else []
        rows += [compared.outside.flatten(0, 1)] if distilled else []
        # In one reading: common prefixes are then common to both, and a device is asked for half as much.
        read = self._read(torch.cat(rows)).split([len(part) for part in rows])
        losses = {}
        with torch.autocast(table.vectors.device.type, enabled=False):
            if contrasted:
                losses["contrastive"] = self.contrastive * self._contrastive(read[0], read[1], compared)
            if distilled:
                inside, outside = table.vectors[0], read[-1]
                losses["distillation"] = self.distillation * self._distillation(inside, outside, compared)
        return losses

    def _contrastive(self, pivots: Tensor, candidates: Tensor, compared: Comparisons) -> Tensor:
        """From the vectors of the pivots and of all candidates."""
        candidates = candidates.unflatten(0, compared.candidates.shape[:2])
        return contrastive_loss(pivots, candidates, send(compared.labels, pivots.device))

    def _distillation(self, inside: Tensor, outside: Tensor, compared: Comparisons) -> Tensor:
        """From the vectors of the whole trained extent, from position zero on, and of windows outside."""
        extent, offsets = self.geometry.extent, compared.offsets
        flat = sum(offsets[..., axis] * math.prod(extent[axis + 1 :]) for axis in range(len(extent)))
        teacher = inside[send(torch.as_tensor(flat), inside.device)]
        return distillation_loss(teacher, outside.unflatten(0, offsets.shape[:2]), self.vector_heads)

    def _read(self, positions: Tensor) -> Tensor:
        """(U, D) vectors of (U, A) positions. Where dropout gives every reading a mask of its own, or the
        reader is compiled, as many are read as there are, so that the shapes of all steps are the same; else
        each distinct one once."""
        positions = positions.cpu()
        check_positions(positions, self.base, self.digits)
        if self.training and not self._shares:
            return self._read_whole(self.encoder.spell(positions, share=False))
        rows, number = distinct(positions, self.limit())
        vectors: Tensor = self.encoder(self.encoder.spell(rows, share=True))
        return vectors.index_select(0, send(number, vectors.device))

    def _heads(self, table: SeqPETable, layer: int) -> tuple[Tensor, Tensor]:
        """(B|1, H|1, N, d) vectors for queries and for keys in a layer."""
        query, key = table.query, table.key
        if self.project == "per-layer":
            query, key = self.projections[layer](table.vectors).chunk(2, dim=-1)
        shape = (self.vector_heads, self.geometry.head_dim)
        return query.unflatten(-1, shape).transpose(1, 2), key.unflatten(-1, shape).transpose(1, 2)


def _digits_of(number: int, base: int) -> int:
    digits = 1
    while base**digits <= number:
        digits += 1
    return digits

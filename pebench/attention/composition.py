"""Several encodings in one model: all of them in every layer, or each in layers of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, cast

import torch
from pydantic import BaseModel
from torch import Tensor, nn

from pebench.attention import prefix_tokens
from pebench.attention.dense import dense
from pebench.errors import join_and
from pebench.machine.to_device import send
from pebench.position_encoding import (
    AttentionInputs,
    Bias,
    Compile,
    Dense,
    Extrapolation,
    Factored,
    Geometry,
    PositionEncoding,
    Score,
    StepRNG,
    Table,
    TableInputs,
)

Build = Callable[[Geometry], PositionEncoding]
"""Makes one part for the layers that it serves."""


class Part(NamedTuple):
    """One encoding of a composition.

    Attributes:
        label: how tables call it.
        encoding: its class.
        build: see `Build`.
    """

    label: str
    encoding: type[PositionEncoding]
    build: Build


class Composition(PositionEncoding):
    """Encodings that act together. The subclass of each composition has the class attributes of its parts.

    Attributes:
        parts: the encodings, in the order in which they rotate.
        serves: for each part the layers that it acts in, in order; it numbers them from 0.
    """

    written: ClassVar[tuple[Part, ...]] = ()
    methods: ClassVar[tuple[Mapping[str, str], ...]] = ()
    """For each part its own extrapolation for each one of the composition."""

    def __init__(self, geometry: Geometry) -> None:
        super().__init__(geometry)
        self.serves = [self.layers_of(number, geometry.layers) for number in range(len(self.written))]
        parts = []
        for part, layers in zip(self.written, self.serves, strict=True):
            parts.append(part.build(geometry.with_layers(len(layers))))
        self.parts = cast("Sequence[PositionEncoding]", nn.ModuleList(parts))
        scaling = {part.scale(): one.label for part, one in zip(self.parts, self.written, strict=True)}
        own = set(scaling) - {super().scale()}
        if len(own) > 1:
            both = join_and(scaling[scale] for scale in sorted(own))
            raise ValueError(f"{both} scale the logits, each in its own way")
        if own and any(
            part.scale() not in own and len(layers) < geometry.layers
            for part, layers in zip(self.parts, self.serves, strict=True)
        ):
            raise ValueError("all layers scale the logits alike, which its parts do not")
        drawing = [
            (part, one.label)
            for part, one in zip(self.parts, self.written, strict=True)
            if _draws_positions(part)
        ]
        if len(drawing) > 1:
            both = join_and(label for _, label in drawing)
            raise ValueError(f"{both} choose the positions of training, each in its own way")
        self._scale = own.pop() if own else super().scale()
        self._drawing = drawing[0][0] if drawing else None
        self.fits = any(part.fits for part in self.parts)
        self.orderless = any(part.orderless for part in self.parts) and all(
            part.orderless or set(part.acts) <= {"T"} for part in self.parts
        )

    @classmethod
    def layers_of(cls, number: int, layers: int) -> list[int]:
        """The layers that a part acts in: all of them."""
        return list(range(layers))

    def refitted(self, weights: Mapping[str, Tensor], extent: tuple[int, ...]) -> dict[str, Tensor]:
        """Those of each part."""
        found: dict[str, Tensor] = {}
        for number, part in enumerate(self.parts):
            own = f"parts.{number}."
            theirs = {name[len(own) :]: tensor for name, tensor in weights.items() if name.startswith(own)}
            found |= {own + name: tensor for name, tensor in part.refitted(theirs, extent).items()}
        return found

    @classmethod
    def extrapolation_options(cls, method: str) -> type[BaseModel] | None:
        """Those of the parts that have the method."""
        classes = [part.encoding for part in cls.written]
        found = (one.extrapolation_options(method) for one in classes if method in one.extrapolations)
        return next((model for model in found if model is not None), None)

    def compile_training(self, compile_whole: Compile) -> None:
        """That of each part."""
        for part in self.parts:
            part.compile_training(compile_whole)

    def limit(self) -> int | None:
        """The least of the parts."""
        return _least([part.limit() for part in self.parts])

    def scale(self) -> float:
        """That of the part with one of its own."""
        return self._scale

    def window(self, layer: int) -> int | None:
        """The narrowest of the parts."""
        return _least([part.window(own) for _, part, own in self._acting(layer)])

    def chunk(self, layer: int) -> int | None:
        """The shortest of the parts."""
        return _least([part.chunk(own) for _, part, own in self._acting(layer)])

    def table(self, x: TableInputs) -> tuple[Table, ...]:
        """A table of each part."""
        return tuple(part.table(own) for part, own in zip(self.parts, self._table_inputs(x), strict=True))

    def prefix_table(self) -> tuple[Table, ...]:
        """A table of each part, None for those without one."""
        return tuple(part.prefix_table() for part in self.parts)

    def embed(self, table: tuple[Table, ...]) -> Tensor | None:
        """The sum over the parts."""
        total: Tensor | None = None
        for part, own in zip(self.parts, table, strict=True):
            added = prefix_tokens.embed(part, own)
            if added is not None:
                total = added if total is None else total + added
        return total

    def rotate(self, x: AttentionInputs) -> tuple[Tensor, Tensor]:
        """One part after another."""
        for part, own in self._inputs(x):
            q, k = prefix_tokens.rotate(part, own._replace(q=x.q, k=x.k))
            x = x._replace(q=q, k=k)
        return x.q, x.k

    def temperature(self, x: AttentionInputs) -> Tensor | None:
        """The product over the parts."""
        product: Tensor | None = None
        for part, own in self._inputs(x):
            factor = prefix_tokens.temperature(part, own)
            if factor is not None:
                product = factor if product is None else product * factor
        return product

    def bias(self, x: AttentionInputs) -> Bias | None:
        """The sum over the parts."""
        total: Bias | None = None
        for part, own in self._inputs(x):
            bias = prefix_tokens.bias(part, own)
            if bias is not None:
                total = bias if total is None else _sum(total, bias)
        return total

    def fit(self, loss: Callable[[], float], extrapolation: Extrapolation) -> dict[str, float]:
        """The numbers of all parts, one part after another."""
        found: dict[str, float] = {}
        for part, methods in zip(self.parts, self.methods, strict=True):
            found |= part.fit(loss, _as_named(extrapolation, methods))
        return found

    def training_positions(self, extent: tuple[int, ...], examples: int, rng: StepRNG) -> Tensor:
        """Those of the part that chooses them."""
        if self._drawing is None:
            return super().training_positions(extent, examples, rng)
        return self._drawing.training_positions(extent, examples, rng)

    def auxiliary_losses(
        self, positions: Tensor, table: tuple[Table, ...], rng: StepRNG
    ) -> dict[str, Tensor]:
        """Those of all parts, by name; of two with one name the sum."""
        losses: dict[str, Tensor] = {}
        for part, own in zip(self.parts, table, strict=True):
            for name, value in part.auxiliary_losses(positions, own, rng).items():
                losses[name] = losses[name] + value if name in losses else value
        return losses

    def _table_inputs(self, x: TableInputs) -> Iterator[TableInputs]:
        for part, methods in zip(self.parts, self.methods, strict=True):
            positions = x.positions if part.host_positions else send(x.positions, x.device)
            yield x._replace(positions=positions, extrapolation=_as_named(x.extrapolation, methods))

    def _acting(self, layer: int) -> Iterator[tuple[int, PositionEncoding, int]]:
        """The numbers of the parts that act in a layer, the parts, and the layer as they number it. Here no
        layer is told from another, so that a compiler has one form for all."""
        for number, part in enumerate(self.parts):
            yield number, part, layer

    def _inputs(self, x: AttentionInputs) -> Iterator[tuple[PositionEncoding, AttentionInputs]]:
        for number, part, layer in self._acting(x.layer):
            state: dict[str, Any] = x.state.setdefault(str(number), {})
            tables = {"q_table": x.q_table[number], "k_table": x.k_table[number]}
            yield part, x._replace(**tables, layer=layer, state=state)


class LayerPattern(Composition):
    """Encodings that act in layers of their own: layer l has the part ``pattern[l % len(pattern)]``."""

    pattern: ClassVar[tuple[int, ...]] = ()

    @classmethod
    def layers_of(cls, number: int, layers: int) -> list[int]:
        """The layers that the pattern gives to a part."""
        return [layer for layer in range(layers) if cls.pattern[layer % len(cls.pattern)] == number]

    def _acting(self, layer: int) -> Iterator[tuple[int, PositionEncoding, int]]:
        """The part of the layer."""
        for number, (part, layers) in enumerate(zip(self.parts, self.serves, strict=True)):
            if layer in layers:
                yield number, part, layers.index(layer)


def composed(parts: Sequence[Part], pattern: Sequence[int] | None = None) -> type[Composition]:
    """The class of a composition.

    Args:
        parts: in the order in which they rotate.
        pattern: the number of a part for each layer, from the first on and again and again; None for all
            parts in every layer.

    Raises:
        ValueError: the parts serve no number of axes in common, one of a pattern has no layers to act in, or
            one widens the heads that another takes in the width of the model alone.
    """
    classes = [part.encoding for part in parts]
    axes = [count for count in classes[0].axes if all(count in other.axes for other in classes)]
    if not axes:
        raise ValueError("its parts serve no number of position axes in common")
    embedding = [part.label for part in parts if part.encoding.acts == "I"]
    if pattern is not None and embedding:
        raise ValueError(
            f"'{embedding[0]}' acts on the embeddings alone, which no layer has of its own: compose it"
        )
    if pattern is None:
        _refuse_misfit_of_widths(parts)
    default = classes[0].extrapolations[0]
    further = (method for one in classes for method in one.extrapolations if method != one.extrapolations[0])
    methods = tuple(dict.fromkeys((default, *further)))
    facts: dict[str, Any] = {
        "axes": tuple(axes),
        "acts": "".join(letter for letter in "IRBCTW" if any(letter in one.acts for one in classes)),
        "fewest_layers": max(one.fewest_layers for one in classes),
        "causal_only": any(one.causal_only for one in classes),
        "extrapolations": methods,
        "kernels": _kernels(classes),
        "cost": "; ".join(dict.fromkeys(one.cost for one in classes)),
        "claims": _claims(classes, pattern is None),
        "host_positions": any(one.host_positions for one in classes),
        "widens_heads": any(one.widens_heads for one in classes),
        "head_width_only": any(one.head_width_only for one in classes),
        "tf32": all(one.tf32 for one in classes),
        "autocast": all(one.autocast for one in classes),
        "graph_break": "; ".join(one.graph_break for one in classes if one.graph_break),
        "source": "; ".join(dict.fromkeys(one.source for one in classes)),
        "written": tuple(parts),
        "methods": tuple(
            {method: method if method in one.extrapolations else one.extrapolations[0] for method in methods}
            for one in classes
        ),
    }
    if pattern is None:
        return type("Composition", (Composition,), facts)
    own = {"pattern": tuple(pattern), "fewest_layers": len(pattern)}
    return type("LayerPattern", (LayerPattern,), facts | own)


def parts_of(encoding: PositionEncoding) -> Iterator[PositionEncoding]:
    """The encodings that act: those that a composition is made of, and any other itself."""
    if isinstance(encoding, Composition):
        for part in encoding.parts:
            yield from parts_of(part)
    else:
        yield encoding


def _as_named(extrapolation: Extrapolation, methods: Mapping[str, str]) -> Extrapolation:
    """A way past the trained extent as one part goes it."""
    own = methods[extrapolation.name]
    return extrapolation if own == extrapolation.name else Extrapolation(extrapolation.extent, own)


def _least(bounds: Sequence[int | None]) -> int | None:
    there = [bound for bound in bounds if bound is not None]
    return min(there) if there else None


def _claims(classes: Sequence[type[PositionEncoding]], together: bool) -> tuple[str, ...]:
    """Identities of each part, unless one rotates what another that acts in the same layers reads."""
    reading = [one for one in classes if set(one.acts) & set("RC")]
    if together and len(reading) > 1 and any("R" in one.acts for one in reading):
        return ()
    return tuple(claim for claim in classes[0].claims if all(claim in one.claims for one in classes))


def _refuse_misfit_of_widths(parts: Sequence[Part]) -> None:
    """
    Raises:
        ValueError: one part widens what another reads.
    """
    for number, (label, one, _) in enumerate(parts):
        if not one.head_width_only:
            continue
        before = [part.label for part in parts[:number] if part.encoding.widens_heads]
        after = [part.label for part in parts[number + 1 :] if part.encoding.widens_heads]
        if before:
            raise ValueError(
                f"'{label}' takes heads of the model's width, which '{before[0]}' before it widens"
            )
        if after and "C" in one.acts:
            raise ValueError(
                f"the bias of '{label}' takes heads of the model's width, which '{after[0]}' widens"
            )


def _draws_positions(part: PositionEncoding) -> bool:
    if isinstance(part, Composition):
        return part._drawing is not None
    return type(part).training_positions is not PositionEncoding.training_positions


def _kernels(classes: Sequence[type[PositionEncoding]]) -> tuple[str, ...]:
    """All that may serve the sum of the biases, of which several may need blocks."""
    biased = [one for one in classes if set(one.kernels) - {"fused", "flex"}]
    found = dict.fromkeys(kernel for one in classes for kernel in one.kernels)
    return tuple(dict.fromkeys((*found, "blocked"))) if len(biased) > 1 else tuple(found)


def _sum(one: Bias, other: Bias) -> Bias:
    if isinstance(one, Factored) and isinstance(other, Factored):
        if one.query is None and other.query is None:
            return Factored(_beside(one.key, other.key))
        if one.query is not None and other.query is not None:
            return Factored(_beside(one.key, other.key), _beside(one.query, other.query))
    # A bias of the key alone is exact in any precision, which beside features of queries it would not be.
    first, second = dense(one), dense(other)
    return Dense(
        lambda block: first.values(block) + second.values(block), _score_of_sum(first.score, second.score)
    )


def _score_of_sum(one: Score | None, other: Score | None) -> Score | None:
    if one is None or other is None:
        return None
    return lambda *place: one(*place) + other(*place)


def _beside(one: Tensor, other: Tensor) -> Tensor:
    """Features side by side, in the wider of their dtypes."""
    shape = torch.broadcast_shapes(one.shape[:-1], other.shape[:-1])
    return torch.cat([x.expand(*shape, x.shape[-1]) for x in (one, other)], dim=-1)

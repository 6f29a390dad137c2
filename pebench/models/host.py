"""The Transformer around an encoding, as options say it: the kind of its blocks, and what differs in them."""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple, Self

from pydantic import Field, model_validator

from pebench.position_encoding import Geometry
from pebench.specification.options import Added
from pebench.specification.run_spec import Frozen

Count = Annotated[int, Field(ge=1, le=1_000_000)]
Cap = Annotated[float, Field(gt=0)]
Activation = Literal["gelu-tanh", "gelu", "relu", "silu"]
Biases = Literal["all", "inputs", "none"]


class BlockLayout(NamedTuple):
    """A block of a decoder with everything decided.

    Attributes:
        norm: ``layer`` normalization, with a bias, or ``rms``, without one.
        norm_epsilon: under the square root of every norm.
        inner: channels within the perceptron.
        gated: whether the perceptron has a second input projection that multiplies (Shazeer 2020).
        activation: within the perceptron; of the factor where it is gated.
        attention_bias: which projections of attention have a bias.
        perceptron_bias: whether those of the perceptron have one.
        norm_bias: whether the norms of the model have one; those of queries and keys never do.
        key_value_heads: heads of keys and values.
        qk_norm: whether queries and keys are normed.
        parallel: whether attention and perceptron both read the input of the block.
    """

    norm: Literal["layer", "rms"]
    norm_epsilon: float
    inner: int
    gated: bool
    activation: Activation
    attention_bias: Biases
    perceptron_bias: bool
    norm_bias: bool
    key_value_heads: int
    qk_norm: bool
    parallel: bool


class Host(Frozen):
    """Options of a decoder apart from its sizes; by default it is GPT-2's.

    Attributes:
        block: ``gpt2`` has LayerNorm, a perceptron of 4·width channels with GELU, and biases (Radford et al.
            2019); ``llama`` RMSNorm, SwiGLU of 8/3·width channels, so that it has as many parameters, and no
            biases (Touvron et al. 2023).
        dropout: on the embeddings and on both residual branches.
        inner: channels within the perceptron, in place of the block's.
        activation: within the perceptron, in place of the block's, ``gelu-tanh`` or ``silu``.
        attention_bias: which projections of attention have a bias, in place of the block's: ``all``, those of
            the ``inputs`` (queries, keys and values, as in Qwen2), or ``none``.
        perceptron_bias: whether the projections of the perceptron have one, in place of the block's.
        norm_bias: whether LayerNorm has one, in place of the block's; in MPT it has none.
        embedding_norm: whether a norm comes before the first block as well, as in BLOOM.
        norm_epsilon: under the square root of every norm.
        parallel: whether attention and perceptron both read the input of the block, as in GPT-NeoX.
        key_value_heads: heads of keys and values, each shared by as many heads of queries (Ainslie et al.
            2023); by default as many as heads.
        qk_norm: whether RMSNorm acts on each head of the queries and keys before they rotate, as in Qwen3.
        windows: tokens that a query sees, its own counted, by layer: layer l has ``windows[l % number]``,
            where null sees all. An encoding may hide more.
        attention_softcap: c of c·tanh(x/c) on the scaled logits q·k of attention, before the bias is added.
        logit_softcap: the same of the scores of the next token.
        tied: whether the embedding of the tokens scores the next one too.
        deviation: of the weights at the start. GPT-2's is meant for a width of 768; in proportion to 1/√width
            it is 0.07 at 64, which can be worth thousands of updates to so narrow a model.
    """

    block: Annotated[Literal["gpt2", "llama"], Added()] = "gpt2"
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    inner: Annotated[Count | None, Added()] = None
    activation: Annotated[Activation | None, Added()] = None
    attention_bias: Annotated[Biases | None, Added()] = None
    perceptron_bias: Annotated[bool | None, Added()] = None
    norm_bias: Annotated[bool | None, Added()] = None
    embedding_norm: Annotated[bool, Added()] = False
    norm_epsilon: Annotated[float, Field(gt=0), Added()] = 1e-5
    parallel: Annotated[bool, Added()] = False
    key_value_heads: Annotated[Count | None, Added()] = None
    qk_norm: Annotated[bool, Added()] = False
    windows: Annotated[tuple[Count | None, ...], Added()] = ()
    attention_softcap: Annotated[Cap | None, Added()] = None
    logit_softcap: Annotated[Cap | None, Added()] = None
    tied: Annotated[bool, Added()] = True
    deviation: Annotated[float, Field(gt=0), Added()] = 0.02

    @model_validator(mode="after")
    def _rms_has_no_bias(self) -> Self:
        if self.block == "llama" and self.norm_bias:
            raise ValueError("RMSNorm, which the block 'llama' has, knows no bias")
        return self

    def layout(self, geometry: Geometry) -> BlockLayout:
        """The blocks of a decoder of these sizes.

        Raises:
            ValueError: the heads do not divide into those of keys and values.
        """
        key_value_heads = self.key_value_heads or geometry.heads
        if geometry.heads % key_value_heads:
            raise ValueError(f"{geometry.heads} heads do not share {key_value_heads} of keys and values")
        llama = self.block == "llama"
        inner = 8 * -(-geometry.width // 3) if llama else 4 * geometry.width
        return BlockLayout(
            norm="rms" if llama else "layer",
            norm_epsilon=self.norm_epsilon,
            inner=self.inner or inner,
            gated=llama,
            activation=self.activation or ("silu" if llama else "gelu-tanh"),
            attention_bias=self.attention_bias or ("none" if llama else "all"),
            perceptron_bias=not llama if self.perceptron_bias is None else self.perceptron_bias,
            norm_bias=not llama if self.norm_bias is None else self.norm_bias,
            key_value_heads=key_value_heads,
            qk_norm=self.qk_norm,
            parallel=self.parallel,
        )

    def window(self, layer: int) -> int | None:
        """Tokens that a query of the layer sees, None for all."""
        return self.windows[layer % len(self.windows)] if self.windows else None


SIZES = {
    "tiny": (128, 4, 4),
    "mini": (256, 6, 4),
    "small": (512, 8, 8),
    "gpt2-small": (768, 12, 12),
    "gpt2-medium": (1024, 24, 16),
}
"""Width, layers and heads by name, for both kinds of block."""


class DecoderOptions(Host):
    """Options of the decoder.

    Attributes:
        size: gives width, layers and heads where these are not given.
        width: overrides that of the size.
        layers: override those of the size.
        heads: override those of the size.
        head_dim: channels of a head; by default width / heads.
    """

    size: Literal["tiny", "mini", "small", "gpt2-small", "gpt2-medium"] = "tiny"
    width: Count | None = None
    layers: Annotated[int, Field(ge=1, le=10_000)] | None = None
    heads: Annotated[int, Field(ge=1, le=10_000)] | None = None
    head_dim: Annotated[Count | None, Added()] = None

    @model_validator(mode="after")
    def _heads_are_shared(self) -> DecoderOptions:
        heads = self.heads or SIZES[self.size][2]
        if heads % (self.key_value_heads or heads):
            raise ValueError(f"{heads} heads do not share {self.key_value_heads} of keys and values")
        return self

    def geometry(self, extent: int) -> Geometry:
        """Geometry of a decoder trained on so many tokens.

        Raises:
            ValueError: the width does not divide into the heads, and no width of a head is given.
        """
        width, layers, heads = SIZES[self.size]
        return Geometry(
            self.width or width,
            self.heads or heads,
            self.layers or layers,
            (extent,),
            head_dim=self.head_dim or 0,
        )

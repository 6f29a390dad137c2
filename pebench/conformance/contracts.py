"""Contracts of every encoding; each raises an AssertionError that says what went wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten

from pebench.attention.cache import Cache
from pebench.attention.encoded_positions import EncodedPositions
from pebench.attention.kernels import possible_kernels
from pebench.conformance.identities import IDENTITIES
from pebench.conformance.subject import EXTENTS, VOCABULARY, Subject, assert_close, run_forward
from pebench.errors import there_is
from pebench.position_encoding import (
    AttentionInputs,
    Block,
    Dense,
    Extrapolation,
    Factored,
    PositionEncoding,
    StepRNG,
    Table,
    grid,
    layer_inputs,
    tabulate,
)
from pebench.randomness import generator

Contract = Callable[[Subject], None]

FAR_OUT = {1: 4096, 2: 256, 3: 64}
"""Positions an axis up to which half precision is tried, by number of axes."""

HALF_TOLERANCE = 0.25
"""The largest deviation under bfloat16, as a share of the outputs. Sound encodings are at 0.01, at 0.09 where
they multiply queries and keys; positions or angles in bfloat16 give 0.5 or more."""


EXAMPLES = 6
"""In the batch for which training positions are asked."""


@torch.no_grad()
def causality(subject: Subject) -> None:
    """Later tokens do not change what was computed for earlier ones."""
    if not subject.causal:
        return
    model, positions, reach = subject.model(), subject.grid(), subject.reach()
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
    cache, parts = Cache(model.geometry.layers), []
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
    positions, reach = subject.grid()[:, :12], subject.reach()
    alone = run_forward(model, tokens, positions, reach)
    padded = torch.cat((torch.zeros_like(tokens[:, :5]), tokens), 1)
    places = torch.cat((torch.zeros_like(positions[:, :5]), positions), 1).expand(2, -1, -1)
    mask = torch.arange(17, device=subject.device).expand(2, -1) >= 5
    full = model(padded, tabulate(model.encoding, places, reach), mask)
    assert_close(full[:, 5:], alone, "padding on the left changes the output")
    cache, parts = Cache(model.geometry.layers), []
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
    positions = subject.grid()
    table = tabulate(encoding, positions, subject.reach())
    loss = model.losses(model(tokens, table), tokens.roll(-1, 1)).mean()
    for value in encoding.auxiliary_losses(positions.cpu(), table, StepRNG(0, 0)).values():
        loss = loss + value
    loss.backward()
    gradients = {name: p.grad for name, p in encoding.named_parameters()}
    without = [name for name, gradient in gradients.items() if gradient is None or not bool(gradient.any())]
    assert not without, f"no gradient reaches {', '.join(without)}"
    broken = [name for name, g in gradients.items() if g is not None and not bool(torch.isfinite(g).all())]
    assert not broken, f"the gradient of {', '.join(broken)} is not a number"


@torch.no_grad()
def order_matters(subject: Subject) -> None:
    """Permuted input gives another output, unless the encoding acts on no embedding, rotation or logit, or
    says that it is orderless."""
    model, positions = subject.model(layers=1), subject.grid()
    tokens = subject.tokens(positions.shape[1])
    order = torch.cat((torch.arange(len(tokens[0]) - 1).flip(0), torch.tensor([len(tokens[0]) - 1])))
    one = run_forward(model, tokens, positions, subject.reach())[:, -1]
    other = run_forward(model, tokens[:, order], positions, subject.reach())[:, -1]
    differs = not torch.allclose(one, other, atol=1e-4)
    acts = set(subject.declared.acts)
    if model.encoding.orderless:
        without = replace(subject, name="none", options={}).model(layers=1)
        plain = run_forward(without, tokens, positions, subject.reach())[:, -1]
        assert not differs, "the encoding says that it is orderless, but the order of the tokens matters"
        assert not torch.allclose(one, plain, atol=1e-4), "the encoding does nothing"
    elif acts & set("IRBC"):
        assert differs, "the order of the tokens makes no difference: the encoding does nothing"
    elif not acts:
        assert not differs, "the encoding says that it acts nowhere, but the order of the tokens matters"


@torch.no_grad()
def exact_tables(subject: Subject) -> None:
    """Tables hold float32 or integers, and are the same under bfloat16 autocast."""
    encoding = subject.encoding().eval()
    positions, reach = subject.scattered(40)
    plain = _tensors(tabulate(encoding, positions, reach))
    with torch.autocast(subject.device, torch.bfloat16):
        under = _tensors(tabulate(encoding, positions, reach))
    for one, other in zip(plain, under, strict=True):
        assert other.dtype in (torch.float32, torch.float64, torch.int64, torch.int32, torch.bool), (
            f"a table is in {other.dtype}, which cannot hold large positions"
        )
        assert_close(other, one, "autocast changes the table")


@torch.no_grad()
def half_precision(subject: Subject) -> None:
    """Far from the origin too, the output under bfloat16 autocast stays near that of float32."""
    model, tokens = subject.model(), subject.tokens(24)
    positions, reach = subject.scattered(24)
    limit = model.encoding.limit() or FAR_OUT[subject.axes]
    far = max(0, min(limit, FAR_OUT[subject.axes]) - max(reach.extent))
    reach = Extrapolation(tuple(size + far for size in reach.extent), reach.method)
    wanted = run_forward(model, tokens, positions + far, reach)
    with torch.autocast(subject.device, torch.bfloat16):
        found = run_forward(model, tokens, positions + far, reach)
    # Single outputs differ by more where attention stands between two keys.
    difference = float((found.float() - wanted).square().mean().sqrt() / wanted.square().mean().sqrt())
    assert difference < HALF_TOLERANCE, f"bfloat16 changes the output by {difference:.1%}"


@torch.no_grad()
def tables_by_position(subject: Subject) -> None:
    """The table of some positions is the same part of the table of all: dimension 1 is the position."""
    encoding = subject.encoding().eval()
    positions, reach = subject.scattered(12)
    whole = _tensors(tabulate(encoding, positions, reach))
    some = _tensors(tabulate(encoding, positions[:, 5:9], reach))
    rows = _tensors(tabulate(encoding, positions.expand(3, -1, -1), reach))
    for all_of, part, batch in zip(whole, some, rows, strict=True):
        assert all_of.shape[1] == 12, f"dimension 1 of a table is {all_of.shape[1]}, not the 12 positions"
        assert_close(part, all_of[:, 5:9], "a position's entry depends on the positions beside it")
        assert_close(batch, all_of.expand_as(batch), "a batch of positions has another table")


@torch.no_grad()
def beyond_the_trained_extent(subject: Subject) -> None:
    """At four times the trained extent, by every extrapolation it offers, outputs are numbers."""
    model = subject.model(layers=1)
    for method in subject.declared.extrapolations:
        reach = Extrapolation(subject.reach(4).extent, method)
        limit = model.encoding.limit()
        if limit is not None and max(reach.extent) > limit:
            continue
        positions = subject.grid(4)
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
        draw = StepRNG(7, step)
        positions = encoding.training_positions(extent, EXAMPLES, draw)
        assert positions.shape[1:] == grid(extent).shape[1:], (
            f"training positions have the shape {tuple(positions.shape)}"
        )
        assert 1 <= len(positions) <= EXAMPLES, (
            f"training positions are of {len(positions)} groups of a batch of {EXAMPLES}"
        )
        assert torch.equal(positions, encoding.training_positions(extent, EXAMPLES, draw)), (
            "training positions do not repeat"
        )
        losses = []
        for _ in range(2):
            with torch.no_grad():
                table = tabulate(encoding, positions.to(subject.device), subject.reach())
                losses.append(encoding.auxiliary_losses(positions, table, draw))
        for name in losses[0]:
            assert torch.equal(losses[0][name], losses[1][name]), f"the loss '{name}' does not repeat"


@torch.no_grad()
def declared_kernels(subject: Subject) -> None:
    """Attention serves it with the kernels that it declares, and no others."""
    model, positions, reach = subject.model(layers=1), subject.grid(), subject.reach()
    encoding, x = model.encoding, _layer(subject, model.encoding)
    windowed = x.mask.window is not None or x.mask.chunk is not None
    able = possible_kernels(encoding.bias(x), windowed)
    run_forward(model, subject.tokens(positions.shape[1]), positions, reach)
    undeclared = [kernel for kernel in (*able, *model.kernels()) if kernel not in encoding.kernels]
    assert not undeclared, (
        f"attention uses the kernel '{undeclared[0]}', which it does not declare: kernels = {able}"
    )


@torch.no_grad()
def plain_softmax(subject: Subject) -> None:
    """Attention is softmax(t·scale·q·k + bias)·v of its hooks, whatever width it gives the heads."""
    encoding = subject.encoding(layers=1).eval()
    x = _layer(subject, encoding)
    values = torch.randn(x.k.shape, generator=generator(0, "values")).to(subject.device)
    count, every = x.q.shape[2], slice(0, x.q.shape[2])
    q, k = encoding.rotate(x)
    x = x._replace(q=q, k=k)
    temperature, bias = encoding.temperature(x), encoding.bias(x)
    visible = x.mask.visible(every, every)
    logits = q.double() @ k.double().mT * encoding.scale()
    if temperature is not None:
        logits = logits * temperature.double()[..., None]
    match bias:
        case Dense():
            logits = logits + bias.values(Block(every, every, visible)).double()
        case Factored():
            key, query = bias.key.double(), bias.query
            logits = logits + (key.sum(-1)[..., None, :] if query is None else query.double() @ key.mT)
    wanted = logits.masked_fill(~visible, float("-inf")).softmax(-1) @ values.double()
    plain = _layer(subject, encoding)
    here = EncodedPositions(encoding, x.q_table, x.k_table)
    found = here.attend(plain.q, plain.k, values, x.hidden, 0, subject.causal).values
    assert found.shape[2] == count, "attention loses tokens"
    assert_close(found, wanted, "attention is not the softmax of what its hooks say")


@torch.no_grad()
def one_graph(subject: Subject) -> None:
    """A model around it is compiled as one graph, unless it says why not."""
    model, positions = subject.model(layers=1), subject.grid()
    tokens = subject.tokens(positions.shape[1])
    table = tabulate(model.encoding, positions, subject.reach())
    wanted = model(tokens, table)
    reason = type(model.encoding).graph_break
    try:
        # What breaks a graph breaks it on the way in, before any kernel is made.
        found = torch.compile(model, fullgraph=True, backend="eager")(tokens, table)
    except (torch._dynamo.exc.TorchDynamoException, RuntimeError) as error:
        first = " ".join(str(error).split(". ")[0].split())
        assert reason, f"torch.compile cannot take it: {first}; mend it, or say why in graph_break"
        return
    finally:
        torch.compiler.reset()
    assert not reason, f"it says that it breaks graphs ({reason}), but it does not"
    assert_close(found, wanted, "compiled it gives another output")


def claimed_identities(subject: Subject) -> None:
    """The identities that it claims hold."""
    for claim in subject.declared.claims:
        assert claim in IDENTITIES, f"there is no identity '{claim}' to claim: {there_is(IDENTITIES)}"
        IDENTITIES[claim](subject)


CONTRACTS: tuple[Contract, ...] = (
    causality,
    cached_decoding,
    left_padding,
    gradients,
    order_matters,
    exact_tables,
    half_precision,
    tables_by_position,
    beyond_the_trained_extent,
    same_seed_same_weights,
    repeatable_draws,
    declared_kernels,
    plain_softmax,
    one_graph,
    claimed_identities,
)


def _tensors(table: Table) -> list[Tensor]:
    return [leaf for leaf in tree_flatten(table)[0] if isinstance(leaf, Tensor)]


def _layer(subject: Subject, encoding: PositionEncoding) -> AttentionInputs:
    """The first layer of a pass over the trained extent, with random queries, keys and hidden states."""
    positions, reach = subject.grid(), subject.reach()
    geometry, count, draw = encoding.geometry, positions.shape[1], generator(0, "layer")
    heads = (1, geometry.heads, count, geometry.head_dim)
    q, k, hidden = (
        torch.randn(shape, generator=draw).to(subject.device)
        for shape in (heads, heads, (1, count, geometry.width))
    )
    return layer_inputs(encoding, q, k, hidden, tabulate(encoding, positions, reach))

"""SeqPE's digits, its shared prefixes, and the positions that its objectives draw."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pebench.encoding_config import build_encoding
from pebench.encodings.seqpe import SeqPE, comparisons, objectives
from pebench.encodings.seqpe.comparisons import STEPS_AT_ONCE, Drawing
from pebench.encodings.seqpe.encoder import (
    DigitEncoder,
    Strings,
    Tokens,
    check_positions,
    distinct,
    from_digits,
    in_parts,
    prefixes,
    to_digits,
)
from pebench.encodings.seqpe.objectives import MIXES, draw_candidates, draw_offsets, draw_starts, nearest
from pebench.errors import UserError
from pebench.position_encoding import Extrapolation, Factored, Geometry, StepRNG, grid, layer_inputs, tabulate

TEXT = Geometry(32, 4, 2, (64,))


def _encoder(axes: int = 1, base: int = 10, digits: int = 3, **options: Any) -> DigitEncoder:
    torch.manual_seed(0)
    settings: dict[str, Any] = {"dropout": 0.0, "bidirectional": False, "mask_padding": False, **options}
    encoder = DigitEncoder(
        axes=axes, base=base, digits=digits, width=16, heads=2, layers=3, out=8, **settings
    )
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return encoder


@given(base=st.integers(2, 17), digits=st.integers(1, 5), data=st.data())
def test_digits_name_each_position_once(base: int, digits: int, data: st.DataObject) -> None:
    position = st.integers(0, base**digits - 1)
    positions = torch.tensor(data.draw(st.lists(st.tuples(position, position), min_size=1, max_size=9)))
    string = to_digits(positions, base, digits)
    assert string.shape == (len(positions), 2 * digits)
    assert int(string.min()) >= 0
    assert int(string.max()) < base
    assert torch.equal(from_digits(string, base, digits), positions)


@pytest.mark.parametrize("position", [1000, -1])
def test_a_position_that_cannot_be_written_is_refused(position: int) -> None:
    with pytest.raises(ValueError, match=f"position {position} cannot be written with 3 digits of base 10"):
        check_positions(torch.tensor([[position]]), 10, 3)


@given(rows=st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), min_size=1, max_size=30))
def test_distinct_positions_are_each_there_once(rows: list[tuple[int, int]]) -> None:
    found, number = distinct(torch.tensor(rows), 9)
    assert sorted(map(tuple, found.tolist())) == sorted(set(rows))
    assert torch.equal(found[number], torch.tensor(rows))


def test_a_position_beyond_the_digits_is_refused_by_the_table() -> None:
    encoding = build_encoding("seqpe", {"positions": 200}, TEXT)
    with pytest.raises(ValueError, match="position 1000 cannot be written with 3 digits"):
        tabulate(encoding, torch.tensor([[[5], [1000]]]), Extrapolation((1001,)))


@given(st.lists(st.integers(0, 999), min_size=1, max_size=40, unique=True))
def test_prefixes_are_distinct_and_lead_to_every_string(numbers: list[int]) -> None:
    string = to_digits(torch.tensor(numbers)[:, None], 10, 3)
    tree = prefixes(string, 10, 3)
    assert len(tree.digit) == len({str(n).zfill(3)[:length] for n in numbers for length in (1, 2, 3)})
    assert torch.equal(tree.digit[tree.ancestors[tree.leaves]], string)
    assert torch.equal(tree.place[tree.ancestors[tree.leaves]], torch.arange(3).expand(len(numbers), 3))


@pytest.mark.parametrize("mask_padding", [False, True])
@pytest.mark.parametrize(("axes", "base"), [(1, 10), (2, 4), (3, 3)])
def test_shared_prefixes_change_nothing_gradients_included(axes: int, base: int, mask_padding: bool) -> None:
    encoder = _encoder(axes, base, mask_padding=mask_padding).double()
    positions = torch.randint(base**3, (50, axes)).unique(dim=0)
    weights = torch.randn(len(positions), 8, dtype=torch.float64)
    outcomes = []
    for share in (False, True):
        encoder.zero_grad()
        out = encoder(encoder.spell(positions, share=share))
        (out * weights).sum().backward()
        outcomes.append((out, {name: p.grad for name, p in encoder.named_parameters()}))
    torch.testing.assert_close(outcomes[0][0], outcomes[1][0], atol=1e-12, rtol=1e-10)
    for name, gradient in outcomes[0][1].items():
        torch.testing.assert_close(gradient, outcomes[1][1][name], atol=1e-11, rtol=1e-9, msg=name)


def test_padding_zeros_are_hidden_only_when_asked() -> None:
    encoder = _encoder(mask_padding=True)
    plain = _encoder()
    plain.load_state_dict(encoder.state_dict())
    positions = torch.tensor([[7], [123]])
    with torch.no_grad():
        encoder.value.weight[0] += 5
        spelt = encoder.spell(positions, share=True)
        hidden, shown = encoder(spelt), plain(plain.spell(positions, share=True))
        encoder.value.weight[0] -= 5
        torch.testing.assert_close(encoder(spelt), hidden)
        assert not torch.allclose(hidden[0], shown[0])
        torch.testing.assert_close(hidden[1], shown[1])


def _reads(encoding: SeqPE, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, bool]]:
    """Notes how many positions are read at a time, and whether prefixes are shared."""
    calls: list[tuple[int, bool]] = []
    plain = encoding.encoder.spell

    def spell(positions: Tensor, share: bool) -> Strings | Tokens:
        calls.append((len(positions), share))
        return plain(positions, share)

    monkeypatch.setattr(encoding.encoder, "spell", spell)
    return calls


@pytest.mark.parametrize(
    ("options", "training", "shared"),
    [
        ({}, True, False),
        ({}, False, True),
        ({"dropout": 0.0}, True, True),
        ({"share_prefixes": "always"}, True, True),
    ],
)
def test_prefixes_are_shared_where_that_is_exact(
    options: dict[str, object], training: bool, shared: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoding = build_encoding("seqpe", options, TEXT)
    assert isinstance(encoding, SeqPE)
    calls = _reads(encoding.train(training), monkeypatch)
    tabulate(encoding, grid((64,)).expand(3, -1, -1), Extrapolation((64,)))
    assert calls == [(64 if shared else 3 * 64, shared)], (
        "prefixes alone are read once, masks are drawn for each"
    )


@pytest.mark.parametrize(
    ("options", "shared"),
    [
        ({}, False),
        ({"dropout": 0.0}, False),
        ({"dropout": 0.0, "width": 768}, True),
        ({"dropout": 0.0, "share_prefixes": "always"}, True),
        ({"share_prefixes": "always"}, True),
    ],
    ids=str,
)
def test_a_narrow_reader_reads_strings_whole_where_it_is_compiled_for_cuda(
    options: dict[str, Any], shared: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoding = build_encoding("seqpe", {"heads": 4} | options, TEXT)
    assert isinstance(encoding, SeqPE)

    class OnCuda:
        """Looks like the read-out token of a reader on a GPU."""

        device = torch.device("cuda")

        def __len__(self) -> int:
            return int(options.get("width", TEXT.width))

    with monkeypatch.context() as there:
        there.setitem(encoding.encoder.__dict__, "readout", OnCuda())
        encoding.compile_training(lambda function: function)
    calls = _reads(encoding.train(), monkeypatch)
    tabulate(encoding, grid((64,)), Extrapolation((64,)))
    assert calls == [(64, shared)]


def test_the_last_layer_computes_the_read_out_alone() -> None:
    encoder, rows = _encoder(), []
    encoder.blocks[-1].expand.register_forward_hook(lambda _, __, out: rows.append(out.shape[:-1].numel()))
    for share in (False, True):
        encoder(encoder.spell(torch.arange(50)[:, None], share=share))
    assert rows == [50, 50]


@pytest.mark.parametrize("options", [{}, {"mask_padding": True}, {"bidirectional": True}], ids=str)
def test_a_compiled_reader_reads_the_same(options: dict[str, bool]) -> None:
    encoder = _encoder(**options).train()
    torch.compiler.reset()
    compiled = torch.compile(encoder.forward, dynamic=False, fullgraph=True, backend="aot_eager")
    spelt = encoder.spell(torch.tensor([[7], [123], [120], [0]]), share=False)
    outcomes = []
    for read in (encoder, compiled):
        encoder.zero_grad()
        out = read(spelt)
        out.square().sum().backward()
        outcomes.append([out, *(p.grad for p in encoder.parameters())])
    torch.testing.assert_close(*outcomes, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("mix", ["text", "images"])
@given(seed=st.integers(0, 2**31))
@settings(deadline=None, max_examples=10)
def test_candidates_are_positions_other_than_the_pivot(mix: str, axes: int, seed: int) -> None:
    places, digits = (20_000, 5) if axes == 1 else (100, 2)
    generator = torch.Generator().manual_seed(seed)
    pivots = torch.randint(places, (40, axes), generator=generator)
    candidates = draw_candidates(pivots, MIXES[mix], places, 10, digits, generator)  # type: ignore[index]
    assert candidates.shape == (40, MIXES[mix].size, axes)  # type: ignore[index]
    assert int(candidates.min()) >= 0
    assert int(candidates.max()) < places
    assert not (candidates == pivots[:, None]).all(-1).any()


def test_candidates_come_from_the_published_mix() -> None:
    generator = torch.Generator().manual_seed(0)
    pivots = torch.randint(20_000, (4000, 1), generator=generator)
    candidates = draw_candidates(pivots, MIXES["text"], 20_000, 10, 5, generator)
    local = (candidates.amax(1) - candidates.amin(1)).squeeze(-1) < 256
    assert 0.57 < local.float().mean() < 0.63
    assert all(len(row.unique()) == 32 for row in candidates[local][:50])
    pivot_digits, digits = to_digits(pivots, 10, 5)[:, None], to_digits(candidates, 10, 5)
    alike = ((digits == pivot_digits).sum(-1) >= 4)[~local]
    assert alike[:, -8:].float().mean() > 10 * alike[:, :-8].float().mean(), (
        "hard negatives look like the pivot"
    )


def test_candidates_of_images_come_from_the_published_mix() -> None:
    generator = torch.Generator().manual_seed(0)
    pivots = torch.randint(100, (4000, 2), generator=generator)
    candidates = draw_candidates(pivots, MIXES["images"], 100, 10, 2, generator)
    local = ((candidates.amax(1) - candidates.amin(1)) < 17).all(-1)
    assert 0.17 < local.float().mean() < 0.23
    assert all(len(row.unique(dim=0)) == 64 for row in candidates[local][:50])
    sides = (candidates.amax(1) - candidates.amin(1))[local] + 1
    assert int(sides.max()) == 17, "a window of 320 positions has 17 on each of two axes"
    pivot_digits, digits = to_digits(pivots, 10, 2)[:, None], to_digits(candidates, 10, 2)
    alike = ((digits == pivot_digits).sum(-1) >= 3)[~local]
    assert alike[:, -12:].float().mean() > 5 * alike[:, :-12].float().mean()
    assert alike[:, -12].float().mean() > 5 * alike[:, -13].float().mean(), "a fifth of 64, in whole ones"


def test_any_two_digits_are_swapped() -> None:
    generator = torch.Generator().manual_seed(0)
    string = torch.arange(5).expand(1, 20_000, 5)
    edited = objectives._edit(string, 10, generator)[0]
    changed = edited != string[0]
    swapped = changed[(edited.sort(-1).values == string[0]).all(-1) & (changed.sum(-1) == 2)]
    pairs, counts = swapped.nonzero()[:, 1].view(-1, 2).unique(dim=0, return_counts=True)
    assert len(pairs) == 10
    assert counts.min() > 0.7 * counts.max()


def test_a_hard_negative_is_never_the_nearest() -> None:
    generator = torch.Generator().manual_seed(0)
    pivots = torch.randint(20_000, (500, 1), generator=generator)
    uniform = objectives._uniform(pivots, 32, 20_000, generator)
    hard = objectives._hard(pivots, uniform, 8, 20_000, 10, 5, generator)
    edited = (hard != uniform).squeeze(-1)
    assert edited[:, :24].sum() == 0
    assert edited[:, 24:].float().mean() > 0.3
    distance = (hard - pivots[:, None]).abs().squeeze(-1)
    nearest_uniform = distance[:, :24].amin(1, keepdim=True).expand_as(distance)
    assert (distance > nearest_uniform)[edited].all()


def test_the_nearest_candidate_is_found_by_squared_distance() -> None:
    candidates = torch.tensor([[[0, 9], [5, 5], [4, 6]], [[1, 1], [8, 0], [0, 3]]])
    assert nearest(torch.tensor([[4, 5], [0, 2]]), candidates).tolist() == [1, 2]


def test_pivots_cover_every_position_once_in_each_pass() -> None:
    encoding = build_encoding("seqpe", {"positions": 1000}, TEXT)
    assert isinstance(encoding, SeqPE)
    steps = -(-1000 // 64)
    passes = [
        torch.cat(
            [encoding.drawing.of(StepRNG(0, epoch * steps + step)).pivots for step in range(steps)]
        ).flatten()
        for epoch in (0, 1)
    ]
    for numbers in passes:
        assert len(numbers) == 16 * 64, "the last step of a pass is filled up"
        assert sorted(numbers[:1000].tolist()) == list(range(1000))
    assert not torch.equal(*passes)


@pytest.mark.parametrize("extent", [(64,), (5, 4)], ids=str)
def test_a_step_compares_the_same_whatever_step_came_before(extent: tuple[int, ...]) -> None:
    mix = MIXES["text" if len(extent) == 1 else "images"]
    steps = range(3 * STEPS_AT_ONCE)
    through, alone = (Drawing(mix, 200, 10, 3, extent, pivots=32, draws=32) for _ in range(2))
    all_steps = [through.of(StepRNG(7, step)) for step in steps]
    comparisons._drawn.cache_clear()
    for step in (72, 3, 32, 31, 73):
        for one, other in zip(all_steps[step], alone.of(StepRNG(7, step)), strict=True):
            assert torch.equal(one, other)
    assert not torch.equal(all_steps[3].candidates, alone.of(StepRNG(8, 3)).candidates)
    drawn = torch.cat([compared.outside.flatten() for compared in all_steps])
    assert len({tuple(c.offsets.flatten().tolist()) for c in all_steps}) == len(steps), "each step its own"
    assert int(drawn.max()) < 200


def test_distillation_compares_the_same_offsets_inside_and_outside() -> None:
    generator = torch.Generator().manual_seed(0)
    offsets = draw_offsets((6, 4), 50, 64, generator)
    starts = draw_starts((6, 4), 50, 100, generator)
    assert offsets.shape == (50, 24, 2), "no more offsets than there are cells"
    assert all(len(draw.unique(dim=0)) == 24 for draw in offsets)
    assert int((offsets + starts).max()) < 100


@pytest.mark.parametrize("extent", [(4,), (3, 2), (2, 1, 2)])
def test_windows_to_distil_to_are_all_those_outside_and_none_more_often(extent: tuple[int, ...]) -> None:
    places, draws = 9, 40_000
    starts = draw_starts(extent, draws, places, torch.Generator().manual_seed(0))[:, 0]
    found, counts = starts.unique(dim=0, return_counts=True)
    corners = grid(tuple(places - size + 1 for size in extent))[0]
    outside = corners[(corners >= torch.tensor(extent)).any(-1)]
    assert found.tolist() == outside.tolist()
    expected = draws / len(outside)
    assert (counts - expected).abs().max() < 6 * expected**0.5


@pytest.mark.parametrize("project", ["shared", "per-layer", "none"])
@pytest.mark.parametrize("apply", ["add", "multiply", "scalar"])
@torch.no_grad()
def test_one_vector_for_all_heads_is_a_slice_that_is_the_same_in_each(apply: str, project: str) -> None:
    options = {"apply": apply, "project": project, "positions": 200}
    one = build_encoding("seqpe", {**options, "multi_head": False}, TEXT).eval()
    many = build_encoding("seqpe", options, TEXT).eval()
    assert isinstance(one, SeqPE)
    assert isinstance(many, SeqPE)
    for key, weight in many.state_dict().items():
        other = one.state_dict()[key]
        if key.startswith("encoder.out."):
            weight.copy_(other.repeat(4, *(1,) * (other.ndim - 1)))
        elif key.startswith("projections.") and key.endswith("weight"):
            # Each head reads its own slice alone.
            weight.zero_()
            for part in (0, 1):
                for head in range(4):
                    rows, columns = (
                        slice(32 * part + 8 * head, 32 * part + 8 * head + 8),
                        slice(8 * head, 8 * head + 8),
                    )
                    weight[rows, columns] = other[8 * part : 8 * part + 8]
        elif key.startswith("projections."):
            weight.copy_(other.view(2, 1, 8).expand(2, 4, 8).flatten())
        else:
            weight.copy_(other)
    q, k = (torch.randn(2, 4, 20, 8) for _ in range(2))
    positions, reach = grid((20,)), Extrapolation((20,))
    tables = [tabulate(encoding, positions, reach) for encoding in (one, many)]
    for layer in range(2):
        turned = [
            e.rotate(layer_inputs(e, q, k, q, table, layer))
            for e, table in zip((one, many), tables, strict=True)
        ]
        torch.testing.assert_close(turned[0], turned[1])
        biases = [
            e.bias(layer_inputs(e, q, k, q, t, layer)) for e, t in zip((one, many), tables, strict=True)
        ]
        if apply != "scalar":
            assert biases == [None, None]
            continue
        products = []
        for bias in biases:
            assert isinstance(bias, Factored)
            assert bias.query is not None
            products.append((bias.query @ bias.key.mT).expand(1, 4, 20, 20))
        torch.testing.assert_close(*products)
    assert sum(p.numel() for p in one.parameters()) < sum(p.numel() for p in many.parameters())


def test_a_tenth_of_the_batches_is_shifted_to_windows_of_their_own() -> None:
    encoding = build_encoding("seqpe", {}, TEXT)
    drawn = [encoding.training_positions((64,), 32, StepRNG(3, step)) for step in range(3000)]
    shifted = [positions for positions in drawn if len(positions) > 1]
    assert 0.08 < len(shifted) / 3000 < 0.12
    assert all(torch.equal(positions, grid((64,))) for positions in drawn if len(positions) == 1)
    starts = torch.stack([positions[:, 0, 0] for positions in shifted])
    assert starts.shape[1] == 16
    assert len(starts.unique()) <= 320
    assert int(starts.max()) <= 20_000 - 64
    assert all(torch.equal(p - p[:, :1], grid((64,)).expand(16, -1, -1)) for p in shifted[:20])


def test_amplitude_is_of_what_is_added_to_the_embeddings() -> None:
    made = [build_encoding("seqpe", {"apply": "input", "amplitude": a}, TEXT).eval() for a in (1.0, 0.02)]
    large, small = (
        encoding.embed(tabulate(encoding, grid((64,)), Extrapolation((64,)))) for encoding in made
    )
    assert isinstance(large, Tensor)
    assert float(large.detach().std()) > 0.05, "the embeddings of tokens have 0.02"
    torch.testing.assert_close(large * 0.02, small)


def test_shapes_of_steps_with_dropout_are_two() -> None:
    """As all of them would otherwise be compiled one by one."""
    encoding = build_encoding("seqpe", {"positions": 1000, "shifted": 0.5}, TEXT)
    assert isinstance(encoding, SeqPE)
    read: list[int] = []

    def noted(spelt: Strings) -> Tensor:
        read.append(len(spelt.digits))
        return torch.zeros(len(spelt.digits), 32)

    encoding._read_whole = noted
    for step in range(20):
        positions = encoding.training_positions((64,), 32, StepRNG(0, step))
        encoding.auxiliary_losses(
            positions, tabulate(encoding, positions, Extrapolation((64,))), StepRNG(0, step)
        )
    steps = {tuple(read[at : at + 2]) for at in range(0, 40, 2)}
    assert steps == {(64, 64 * (1 + 2 * 32)), (16 * 64, 64 * (1 + 32))}


@pytest.mark.parametrize(("windows", "examples", "wanted"), [(1, 32, 1), (4, 32, 4), (16, 3, 3)])
def test_there_are_no_more_windows_than_examples(windows: int, examples: int, wanted: int) -> None:
    encoding = build_encoding("seqpe", {"windows": windows, "shifted": 1.0}, TEXT)
    assert len(encoding.training_positions((64,), examples, StepRNG(3, 0))) == wanted


def test_shifted_batches_have_no_distillation_loss() -> None:
    encoding = build_encoding("seqpe", {"dropout": 0.0}, TEXT)
    for positions, wanted in (
        (grid((64,)), {"contrastive", "distillation"}),
        (grid((64,)) + 5, {"contrastive"}),
    ):
        table = tabulate(encoding, positions, Extrapolation((64,)))
        assert set(encoding.auxiliary_losses(positions, table, StepRNG(0, 0))) == wanted


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({"positions": 20, "contrastive": 0.0}, {"distillation"}),
        ({"positions": 40, "distillation": 0.0, "shifted": 0.0}, {"contrastive"}),
        ({"positions": 20, "contrastive": 0.0, "distillation": 0.0, "shifted": 0.0}, set()),
    ],
    ids=str,
)
def test_an_objective_that_is_not_wanted_needs_no_room(options: dict[str, object], wanted: set[str]) -> None:
    geometry = Geometry(32, 4, 2, (10 if "contrastive" in options else 30,))
    encoding = build_encoding("seqpe", options, geometry)
    positions = grid(geometry.extent)
    losses = encoding.auxiliary_losses(
        positions, tabulate(encoding, positions, Extrapolation(geometry.extent)), StepRNG(0, 20)
    )
    assert set(losses) == wanted
    assert all(bool(loss.isfinite()) for loss in losses.values())


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"positions": 100}, "'positions' must be at least 128"),
        ({"apply": "input", "project": "shared"}, "takes no projection"),
        ({"width": 30}, "does not divide into 4 heads"),
        ({"apply": "input", "multi_head": False}, "have no heads: leave multi_head on"),
        ({"amplitude": 0.02}, "adds nothing to the embeddings"),
        ({"apply": "sum"}, "'input', 'add', 'multiply'"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, object], reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        build_encoding("seqpe", options, TEXT)


@pytest.mark.parametrize("mask_padding", [False, True])
@pytest.mark.parametrize(("count", "size"), [(1, 3), (3, 3), (7, 8), (8, 8), (20, 8)])
@torch.no_grad()
def test_reading_in_parts_of_two_sizes_changes_nothing(count: int, size: int, mask_padding: bool) -> None:
    encoding = build_encoding("seqpe", {"mask_padding": mask_padding, "positions": 300}, TEXT).eval()
    assert isinstance(encoding, SeqPE)
    sizes = []

    def read(strings: Strings) -> Tensor:
        sizes.append(len(strings.digits))
        vectors: Tensor = encoding.encoder(strings)
        return vectors

    strings = encoding.encoder.spell(torch.arange(count)[:, None], share=False)
    assert isinstance(strings, Strings)
    torch.testing.assert_close(in_parts(read, [8, 3])(strings), encoding.encoder(strings))
    assert set(sizes) == {size}

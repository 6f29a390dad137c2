"""What the contract can carry: one small encoding for each use, and each keeps every contract of the kit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from pebench.command_line.main import pebench
from pebench.conformance import CONTRACTS, Contract, Subject, subjects
from pebench.encoding_config import build_encoding
from pebench.errors import UserError
from pebench.plugins.registry import encodings
from pebench.position_encoding import (
    Extrapolation,
    Geometry,
    PositionEncoding,
    StepRNG,
    TableInputs,
    grid,
    layer_inputs,
    tabulate,
)
from pebench.resolve import evaluations, resolve
from pebench.store.run_folder import RunFolder

HEAD = '''"""An example."""

from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import BaseModel, Field
from torch import nn

from pebench.formulas.accumulation import accumulate
from pebench.formulas.rotation import rotate_pairs
from pebench.position_encoding import Geometry, PositionEncoding, grid


class Example(PositionEncoding):
    """An example."""

    acts = "R"
    source = "https://example.org"
'''

USES = {
    "turns_by_content": """
    causal_only = True

    def __init__(self, geometry: Geometry) -> None:
        super().__init__(geometry)
        self.speed = nn.Linear(geometry.width, geometry.heads)

    def rotate(self, x):
        seen = accumulate(self.speed(x.hidden.float()).sigmoid().transpose(1, 2), x.state)
        angle = seen[:, :, -x.q.shape[2] :, None].float() * torch.ones(x.q.shape[-1] // 2, device=x.q.device)
        turned = [rotate_pairs(part, angle.cos(), angle.sin()) for part in (x.q, x.k)]
        return turned[0], turned[1]
""",
    "widens_the_heads": """
    def rotate(self, x):
        angle = x.q_table[:, None].float() * torch.logspace(0, -2, x.q.shape[-1], device=x.q.device)
        wide = [torch.cat((part * angle.cos(), part * angle.sin()), -1) for part in (x.q, x.k)]
        return wide[0].to(x.q.dtype), wide[1].to(x.k.dtype)
""",
    "scales_by_name": """
    def scale(self):
        return 0.1

    def rotate(self, x):
        angle = x.q_table[:, None].float() * torch.logspace(0, -2, x.q.shape[-1] // 2, device=x.q.device)
        turned = [rotate_pairs(part, angle.cos(), angle.sin()) for part in (x.q, x.k)]
        return turned[0], turned[1]
""",
    "sees_windows_and_chunks": """
    acts = "IW"
    kernels = ("fused", "flex")

    def window(self, layer):
        return 5 if layer % 2 else None

    def chunk(self, layer):
        return None if layer % 2 else 8

    def embed(self, table):
        return (table.float() * torch.linspace(0.1, 1, self.geometry.width)).sin()
""",
    "jitters_in_training": """
    def training_positions(self, extent, examples, rng):
        shift = torch.rand(1, 1, 1, generator=rng.generator("shift", rng.step))
        return grid(extent) + shift

    def table(self, x):
        if x.rng is None:
            return x.positions.float()
        stretch = 1 + torch.rand((), generator=x.rng.generator("stretch", x.rng.step))
        return x.positions.float() * float(stretch)

    def rotate(self, x):
        angle = x.q_table[:, None] * torch.logspace(0, -2, x.q.shape[-1] // 2, device=x.q.device)
        turned = [rotate_pairs(part, angle.cos(), angle.sin()) for part in (x.q, x.k)]
        return turned[0], turned[1]
""",
    "stretches_by_a_factor": '''
    extrapolations = ("extend", "stretch")

    @classmethod
    def extrapolation_options(cls, method):
        return Stretch if method == "stretch" else None

    def table(self, x):
        options = x.extrapolation.options
        factor = 1.0 if options is None else options.factor
        return x.positions.float() / factor

    def rotate(self, x):
        angle = x.q_table[:, None] * torch.logspace(0, -2, x.q.shape[-1] // 2, device=x.q.device)
        turned = [rotate_pairs(part, angle.cos(), angle.sin()) for part in (x.q, x.k)]
        return turned[0], turned[1]


class Stretch(BaseModel):
    """Options of `stretch`."""

    model_config = {"extra": "forbid", "frozen": True}
    factor: Annotated[float, Field(ge=1)] = 2.0
''',
    "cools_down_with_the_keys": """
    acts = "IT"

    def temperature(self, x):
        return 1 + 0.1 * x.mask.keys_seen()[:, None].float().log1p()

    def embed(self, table):
        return (table.float() * torch.linspace(0.1, 1, self.geometry.width)).sin()
""",
}


@pytest.fixture(scope="module", autouse=True)
def plugins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Each use as a file of its own."""
    folder = tmp_path_factory.mktemp("uses")
    before = dict(encodings._files)
    for name, body in USES.items():
        (folder / f"{name}.py").write_text(HEAD + body, "utf-8")
        encodings.add_file(folder / f"{name}.py")
    yield folder
    encodings._files.clear()
    encodings._files.update(before)


def _named(use: str) -> str:
    return use.replace("_", "-")


@pytest.mark.parametrize("contract", CONTRACTS, ids=lambda contract: contract.__name__)
@pytest.mark.parametrize("use", USES)
def test_the_kit_passes_every_use(use: str, contract: Contract) -> None:
    for subject in subjects(_named(use)):
        contract(subject)


@pytest.mark.parametrize("use", USES)
def test_every_use_composes(use: str) -> None:
    for subject in subjects("compose", {"parts": [_named(use), "kerple"]}):
        for contract in CONTRACTS[:3]:
            contract(subject)


@torch.no_grad()
def test_wider_heads_keep_the_scale_of_the_geometry() -> None:
    """Twice the channels, the same logit of equal positions: cos² + sin² is one."""
    encoding = build_encoding("widens-the-heads", {}, Geometry(64, 4, 1, (24,)))
    q, k, hidden = torch.randn(1, 4, 24, 16), torch.randn(1, 4, 24, 16), torch.randn(1, 24, 64)
    table = tabulate(encoding, grid((24,)), Extrapolation((24,)))
    wide_q, wide_k = encoding.rotate(layer_inputs(encoding, q, k, hidden, table))
    assert wide_q.shape[-1] == 32
    own = (wide_q * wide_k).sum(-1) * encoding.scale()
    torch.testing.assert_close(own, (q * k).sum(-1) / 4)


def test_a_table_may_depend_on_the_step_in_training_alone() -> None:
    encoding = build_encoding("jitters-in-training", {}, Geometry(64, 4, 1, (24,)))
    served = Extrapolation((24,))

    def made(step: int | None) -> torch.Tensor:
        rng = None if step is None else StepRNG(0, step)
        positions = grid((24,)) if rng is None else encoding.training_positions((24,), 2, rng)
        table: torch.Tensor = tabulate(encoding, positions, served, rng=rng)
        return table

    assert torch.equal(made(3), made(3))
    assert not torch.equal(made(3), made(4))
    assert torch.equal(made(None), grid((24,)).float())
    assert not torch.equal(made(3), made(3).round()), "positions may be real numbers"


TASK = {"language-modeling": {"extent": 16, "evaluate": [16, 32], "tokens": 64}}
MODEL = {"width": 16, "layers": 1, "heads": 2}


def test_a_factor_of_its_own_is_a_row_of_the_evaluation(tmp_path: Path) -> None:
    asked = {
        "language-modeling": {
            **TASK["language-modeling"],
            "extrapolations": ["extend", {"stretch": {"factor": 4}}, "stretch"],
        }
    }
    file = tmp_path / "factor.yaml"
    file.write_text(
        f"encodings: [stretches-by-a-factor, rope]\ntasks: [{asked}]\nmodel: {MODEL}\n"
        "train: {steps: 2, batch: 2}\nseeds: 1\n".replace("'", ""),
        "utf-8",
    )
    done = CliRunner().invoke(
        pebench, ["submit", str(file), "--cluster", "inline", "--runs", str(tmp_path / "runs")]
    )
    assert done.exit_code == 0, done.output
    folder = next((tmp_path / "runs").glob("stretches-by-a-factor-*"))
    result = RunFolder(folder).result()
    assert result is not None
    at: dict[tuple[int, ...], list[str]] = {(16,): [], (32,): []}
    for score in result.scores:
        if score.metric == "bits-per-byte":
            at[score.extent].append(score.extrapolation)
    assert at == {
        (16,): ["extend", "stretch(factor=4.0)"],
        (32,): ["extend", "stretch(factor=4.0)", "stretch"],
    }


def test_a_run_trains_with_a_factor_and_is_evaluated_with_it() -> None:
    spec = resolve(
        "stretches-by-a-factor", TASK, model=MODEL, train={"extrapolation": {"stretch": {"factor": 3}}}
    )
    plain = resolve("stretches-by-a-factor", TASK, model=MODEL)
    assert spec.run_id != plain.run_id
    from pebench.resolve import build_task, encoding_of

    task = build_task(spec)
    encoding = encoding_of(spec, task)
    assert encoding.trained_with.method == "stretch(factor=3.0)"
    assert [way.method for way in evaluations(encoding, task)] == ["stretch(factor=3.0)"] * 2
    with pytest.raises(UserError, match=r"extrapolation 'stretch', option 'factor': input should be greater"):
        resolve(
            "stretches-by-a-factor", TASK, model=MODEL, train={"extrapolation": {"stretch": {"factor": 0}}}
        )
    with pytest.raises(UserError, match=r"unknown extrapolation 'stretchy'.*did you mean 'stretch'"):
        resolve("stretches-by-a-factor", TASK, model=MODEL, train={"extrapolation": "stretchy"})


def test_a_subject_is_any_registered_encoding() -> None:
    assert isinstance(Subject("turns-by-content", 1, True).encoding(), PositionEncoding)
    assert TableInputs(grid((2,)), Extrapolation((2,)), torch.device("cpu")).extent == (2,)

"""The contracts catch what they are there for: each of these encodings breaks one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from pebench.command_line.main import pebench
from pebench.conformance import examine
from pebench.plugins.registry import encodings

HEAD = '''"""An encoding with a mistake."""

import torch
from torch import Tensor, nn

from pebench.position_encoding import Block, Dense, Factored, Geometry, PositionEncoding


class Mistaken(PositionEncoding):
    """See the name of the test."""

    acts = "B"
    kernels = ("factored", "blocked")
    source = "https://example.org"
'''

BIAS = "    def bias(self, x):\n"

MISTAKES = {
    "does nothing": ("", "Permuted input gives another output", "the encoding does nothing"),
    "counts keys instead of positions": (
        BIAS + "        count = torch.arange(x.q_table.shape[1]).float()\n"
        "        keys = torch.arange(x.k.shape[2])[None]\n"
        "        return Dense(lambda b: -(count[b.rows, None] - keys[:, b.keys]).abs()[None, None])\n",
        "Decoding with a cache",
        "decoding with a cache differs",
    ),
    "looks ahead": (
        BIAS + "        total = x.hidden[..., 0].mean(1)[:, None, None, None]\n"
        "        return Factored(key=total * x.k_table[:, None].float())\n",
        "Later tokens",
        "a token that comes later changes an earlier output",
    ),
    "has a parameter it does not use": (
        "    def __init__(self, geometry: Geometry) -> None:\n"
        "        super().__init__(geometry)\n"
        "        self.unused = nn.Parameter(torch.zeros(3))\n",
        "Every parameter receives a gradient",
        "no gradient reaches unused",
    ),
    "keeps positions in half precision": (
        "    def table(self, x):\n        return x.positions.bfloat16()\n",
        "Tables hold float32 or integers",
        "cannot hold large positions",
    ),
    "turns by angles in half precision": (
        "    def rotate(self, x):\n"
        "        q, k = x.q, x.k\n"
        "        angles = x.q_table[:, None].to(q.dtype) * torch.logspace(0, -4, 8, dtype=q.dtype)\n"
        "        cosine, sine = angles.cos().repeat(1, 1, 1, 2), angles.sin().repeat(1, 1, 1, 2)\n"
        "        turned = [torch.cat((-y[..., 8:], y[..., :8]), -1) for y in (q, k)]\n"
        "        return q * cosine + turned[0] * sine, k * cosine + turned[1] * sine\n",
        "Far from the origin too",
        "bfloat16 changes the output by",
    ),
    "adds distances in half precision": (
        BIAS + "        places = [table.to(x.q.dtype) for table in (x.q_table, x.k_table)]\n"
        "        def values(b):\n"
        "            return -(places[0][:, b.rows] - places[1][:, b.keys].mT).abs()[:, None]\n"
        "        return Dense(values)\n",
        "Far from the origin too",
        "bfloat16 changes the output by",
    ),
    "makes a table that is not by position": (
        "    def table(self, x):\n"
        "        return x.positions.float() - x.positions.float().mean(1, keepdim=True)\n",
        "The table of some positions",
        "depends on the positions beside it",
    ),
    "draws from the global state while training": (
        "    def training_positions(self, extent, examples, draw):\n"
        "        return super().training_positions(extent, examples, draw) + torch.randint(1000, ())\n",
        "Training positions and auxiliary losses",
        "do not repeat",
    ),
    "says nothing of its kernel": (
        "    kernels = ('fused',)\n" + BIAS + "        return Factored(key=x.k_table[:, None].float())\n",
        "Attention serves it with the kernels",
        "kernels = ('factored',)",
    ),
    "looks at numbers while it is compiled": (
        BIAS + "        sign = 1.0 if float(x.hidden.sum()) > 0 else 2.0\n"
        "        return Factored(key=sign * x.k_table[:, None].float())\n",
        "A model around it is compiled as one graph",
        "torch.compile cannot take it",
    ),
    "says in vain that it breaks graphs": (
        "    graph_break = 'it is old'\n"
        + BIAS
        + "        return Factored(key=x.k_table[:, None].float())\n",
        "A model around it is compiled as one graph",
        "but it does not",
    ),
    "claims what does not hold": (
        "    claims = ('shift',)\n"
        + BIAS
        + "        return Factored(key=x.k_table[:, None].float() ** 2 / 50)\n",
        "The identities that it claims hold",
        "a common shift of all positions changes the output",
    ),
    "claims what there is not": (
        "    claims = ('beauty',)\n",
        "The identities that it claims hold",
        "there is no identity 'beauty'",
    ),
    "fails beyond the trained extent": (
        "    def __init__(self, geometry: Geometry) -> None:\n"
        "        super().__init__(geometry)\n"
        "        self.rows = nn.Parameter(torch.randn(geometry.extent[0] + 60, geometry.width))\n"
        "    def table(self, x):\n"
        "        return self.rows[x.positions[..., 0]]\n"
        "    def embed(self, table: Tensor) -> Tensor:\n        return table\n",
        "At four times the trained extent",
        "IndexError",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_found(mistake: str, tmp_path: Path) -> None:
    body, contract, fault = MISTAKES[mistake]
    file = tmp_path / f"{mistake.replace(' ', '_')}.py"
    file.write_text(HEAD + "\n" + body)
    name = encodings.add_file(file)
    try:
        assert name is not None
        faults = {finding.contract: finding.fault for finding in examine(name) if finding.fault}
    finally:
        encodings._files.pop(name or "", None)
    assert any(title.startswith(contract) and fault in text for title, text in faults.items()), faults


def _example() -> str:
    """The encoding that the README shows whole."""
    readme = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    code: str
    (code,) = (
        block
        for block in re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
        if "class LogDistance" in block
    )
    return code


@pytest.mark.usefixtures("priced_once")
def test_check_says_that_the_example_of_the_readme_is_sound(tmp_path: Path) -> None:
    assert len(_example().splitlines()) < 40
    file = tmp_path / "log_distance.py"
    file.write_text(_example(), encoding="utf-8")
    try:
        found = CliRunner().invoke(
            pebench, ["check", str(file), "--option", "start=0.5"], standalone_mode=False
        )
    finally:
        encodings._files.pop("log-distance", None)
    assert found.exception is None
    assert "log-distance is sound." in found.output
    assert "4 parameters of its own" in found.output
    assert found.return_value == 0


OLD = {
    "bias": "    def bias(self, q, k, hidden, q_table, k_table, layer, carry):\n        return None\n",
    "rotate": "    def rotate(self, q, k, table, layer):\n        return q, k\n",
    "table": "    def table(self, positions, reach):\n        return positions\n",
}


@pytest.mark.parametrize("hook", OLD)
def test_a_plugin_of_the_contract_before_is_told_what_to_change(tmp_path: Path, hook: str) -> None:
    file = tmp_path / f"old_{hook}.py"
    file.write_text(HEAD + OLD[hook], "utf-8")
    done = CliRunner().invoke(pebench, ["check", str(file)])
    sentence = done.stderr + str(done.exception)
    assert f"'{hook}' takes other arguments" in sentence
    assert "write `table(self, x: TableInputs)`" in sentence


def test_a_name_of_the_contract_before_is_told_its_new_one(tmp_path: Path) -> None:
    file = tmp_path / "old_name.py"
    file.write_text("from pebench.position_encoding import Draw, PositionEncoding, Reach\n", "utf-8")
    done = CliRunner().invoke(pebench, ["check", str(file)])
    assert "`Reach` is `Extrapolation`, `Draw` is `StepRNG`" in done.stderr + str(done.exception)

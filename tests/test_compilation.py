"""What one run compiled serves the next, from a folder that outlives the job."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from references.compiled_steps import ENCODINGS, WIDTH, compare_with_uncompiled
from torch import Tensor

from pebench.encoding_config import build_encoding
from pebench.formulas.distance import by_distance, placed
from pebench.position_encoding import Block, Extrapolation, TableInputs, grid
from pebench.resolve import build_task, resolve
from pebench.running.checkpoint import State
from pebench.running.compilation import compile_whole
from pebench.running.train import train

KERNELS = {"seqpe", "t5"}
"""With `TOGETHER` one for each way to act: their kernels cost half a minute each. T5 has a bias by position.
On CUDA there are kernels for all."""

TOGETHER = {"compose": ["rope", "fox", "ssmax"]}
"""Rotations, a bias of low rank and a temperature, whose kernels are compiled once for all three."""


def _name(encoding: Any) -> str:
    return encoding if isinstance(encoding, str) else next(iter(encoding))


def test_gradients_of_exact_products_are_exact_under_autocast() -> None:
    x, weight = torch.randn(8, 16), torch.randn(16, 4, requires_grad=True)

    def loss(x: Tensor, weight: Tensor) -> Tensor:
        with torch.autocast("cpu", enabled=False):
            return (x @ weight).square().sum()

    gradients = []
    for function in (loss, compile_whole(loss, "aot_eager")):
        with torch.autocast("cpu", torch.bfloat16):
            found = function(x, weight)
        gradients.append(torch.autograd.grad(found, weight)[0])
    torch.testing.assert_close(*gradients)


Graphs = list[int]
"""Nodes of each graph that was compiled."""


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> Graphs:
    """Those of training, which is compiled no further."""
    found: Graphs = []

    def counting(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Callable[..., Any]:
        found.append(len(graph.graph.nodes))
        return graph.forward

    monkeypatch.setattr("pebench.running.train.compile_whole", partial(compile_whole, backend=counting))
    torch.compiler.reset()
    return found


@pytest.mark.parametrize(
    "host",
    [{"block": "gpt2"}, {"block": "llama", "qk_norm": True, "tied": False}],
    ids=["gpt2", "modern"],
)
def test_a_step_is_one_block_and_the_losses_for_any_layers_and_heads(
    place: Path, monkeypatch: pytest.MonkeyPatch, graphs: Graphs, host: dict[str, Any]
) -> None:
    """Shared keys, QK-norm and rotations are computed of all heads at once, and nothing compiles again."""
    monkeypatch.setattr("pebench.models.decoder.PARTS_FROM", 64)
    sizes: list[dict[str, Any]] = [{"layers": count, "heads": 8} for count in (1, 3)]
    sizes.append({"layers": 1, "heads": 16})
    for size in sizes:
        torch.compiler.reset()
        shared = {"key_value_heads": size["heads"] // 4} if "qk_norm" in host else {}
        _updated(place, "rope", {"width": 64, **size, **host, **shared})
    assert len(graphs) == 2 * len(sizes)
    assert graphs[:2] == graphs[2:4] == graphs[4:]


def test_layers_have_forms_of_their_own_where_they_differ(
    place: Path, monkeypatch: pytest.MonkeyPatch, graphs: Graphs
) -> None:
    """And are all compiled, past PyTorch's own bound of 8 forms too."""
    monkeypatch.setattr("pebench.models.decoder.PARTS_FROM", 32)
    windows = {"windows": [*range(2, 12), None]}
    _updated(place, "rope", {"width": 32, "heads": 2, "layers": 11, "block": "llama", **windows})
    assert len(graphs) == len(windows["windows"]) + 1


@pytest.mark.parametrize(
    ("encoding", "forms"),
    [
        ({"compose": ["rope", "log-n"]}, 1),
        ({"layers": [{"rope": {}, "times": 2}, "none"]}, 3),
    ],
    ids=str,
)
def test_compositions_tell_layers_apart_where_their_parts_act_in_some_alone(
    place: Path, monkeypatch: pytest.MonkeyPatch, graphs: Graphs, encoding: Any, forms: int
) -> None:
    monkeypatch.setattr("pebench.models.decoder.PARTS_FROM", 32)
    _updated(place, encoding, {"width": 32, "heads": 2, "layers": 3})
    assert len(graphs) == forms + 1


def test_narrow_models_are_one_graph(place: Path, graphs: Graphs) -> None:
    """Which costs the host least."""
    _updated(place, "rope", {"width": 256, "heads": 2, "layers": 2})
    assert len(graphs) == 1


def test_what_was_compiled_of_a_composition_serves_the_next_seed(place: Path, graphs: Graphs) -> None:
    """PyTorch compiles anew for another class, so that equal compositions have one."""
    for _ in range(2):
        _updated(place, {"compose": ["rope", "alibi"]}, {"width": 32, "heads": 2, "layers": 1})
    assert len(graphs) == 1


def _updated(place: Path, encoding: Any, model: dict[str, Any]) -> None:
    """Three compiled updates of a model."""
    options = {"data": str(place / "text.txt"), "extent": 16, "evaluate": [16]}
    spec = resolve(encoding, {"language-modeling": options}, model=model, train={"steps": 3, "batch": 2})
    task = build_task(spec)
    task.prepare()
    built = build_encoding(spec.encoding.name, spec.encoding.options, task.geometry(), 0)
    network = task.build(built, 0)
    updates = torch.optim.SGD(network.parameters(), lr=0.01)
    where = torch.device("cpu")
    assert len(list(train(network, task, updates, spec.train, 0, State(), where, bool, True))) == 3


# The compiler says where it could do better, without complex numbers.
@pytest.mark.filterwarnings(r"ignore::UserWarning:torch\._inductor")
@pytest.mark.filterwarnings(r"ignore::FutureWarning:torch\._inductor")
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")
@pytest.mark.parametrize(
    "encoding", [*(each for each in ENCODINGS if _name(each) in KERNELS), TOGETHER], ids=_name
)
def test_a_compiled_step_is_as_exact_as_one_that_is_not(place: Path, encoding: Any) -> None:
    # More than one block of queries.
    compare_with_uncompiled(place, encoding, 1, 144, "cpu")


@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")
@pytest.mark.parametrize("parts_from", [WIDTH, WIDTH + 1], ids=["by-blocks", "as-one-graph"])
@pytest.mark.parametrize("encoding", [each for each in ENCODINGS if _name(each) not in KERNELS], ids=_name)
def test_so_is_its_graph_taken_apart_and_derived(
    place: Path, monkeypatch: pytest.MonkeyPatch, encoding: Any, parts_from: int
) -> None:
    """All that kernels are made of: the graphs of both ways, with what is computed again on the way back."""
    derived = partial(compile_whole, backend="aot_eager_decomp_partition")
    monkeypatch.setattr("pebench.running.train.compile_whole", derived)
    monkeypatch.setattr("pebench.models.decoder.PARTS_FROM", parts_from)
    compare_with_uncompiled(place, encoding, 2 if parts_from == WIDTH else 1, 144, "cpu")


@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")
def test_kernels_of_blocks_are_exact(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pebench.models.decoder.PARTS_FROM", WIDTH)
    compare_with_uncompiled(place, "rope", 2, 144, "cpu")


@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")
def test_half_precision_numbers_are_those_uncompiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys that two products use, each transposed, as where a bias has products of its own."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    x = torch.randn(2, 128, 384).bfloat16()

    def logits(x: Tensor) -> Tensor:
        q, k, _ = (part.unflatten(-1, (2, 64)).transpose(1, 2) for part in x.chunk(3, dim=-1))
        keys = (k[:, :, :count].float() for count in (64, 128))
        return torch.cat([q.float() @ part.transpose(-1, -2) for part in (*keys, k.float())], dim=-1)

    torch.testing.assert_close(compile_whole(logits)(x), logits(x))


@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")
def test_the_gradient_of_a_bias_by_distance_stays_within_the_curves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where what reads the bias has the heads last, as the network of DAPE does."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    count, weight, slopes = 128, torch.randn(8, 4), torch.rand(2, 1, requires_grad=True)
    logits = torch.randn(2, 2, count, count)
    table, rows = (
        placed(TableInputs(grid((count,)), Extrapolation((count,)), torch.device("cpu"))),
        slice(0, count),
    )
    block = Block(rows, rows, torch.ones(1, 1, count, count, dtype=torch.bool))

    def loss(slopes: Tensor) -> Tensor:
        values = by_distance(lambda distance: slopes * distance, table, table).values(block)
        heads_last = torch.cat((logits, values.expand_as(logits)), dim=1).movedim(1, -1)
        return (logits * values).square().sum() + (heads_last @ weight.T).square().sum()

    found, wanted = (torch.autograd.grad(f(slopes), slopes)[0] for f in (compile_whole(loss), loss))
    torch.testing.assert_close(found, wanted)


def test_what_one_process_compiled_and_derived_serves_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the function leaves autocast, too, as attention does."""
    monkeypatch.setenv("PEBENCH_CACHE", str(tmp_path))
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    code = """
import torch
from types import SimpleNamespace
from pebench.running.compilation import compile_whole
from pebench.running.execution import Execution
from pebench.running.process import prepare_process

def loss(x):
    with torch.autocast("cpu", enabled=False):
        return (x.sin() + 1).sum()

prepare_process(SimpleNamespace(group=""), Execution(compile=True), torch.device("cpu"))
x = torch.ones(8, requires_grad=True)
with torch.autocast("cpu", torch.bfloat16):
    compile_whole(loss)(x).backward()
from torch._dynamo.utils import counters
print(counters["aot_autograd"]["autograd_cache_hit"], x.grad.tolist())
"""
    told = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    ]
    hits, gradients = zip(*(each.split(maxsplit=1) for each in told), strict=True)
    assert hits == ("0", "1")
    assert gradients[0] == gradients[1]
    assert list((tmp_path / "compiled").iterdir())


@pytest.mark.skipif(sys.platform != "linux", reason="libraries are ELF files on Linux alone")
def test_a_library_that_a_killed_compiler_left_is_dropped(tmp_path: Path) -> None:
    from pebench.running.compilation import _drop_cut_off

    whole = Path(torch._C.__file__).read_bytes()
    (tmp_path / "ab").mkdir()
    contents = {
        "whole": whole,
        "half": whole[: len(whole) // 2],
        "begun": whole[:20],
        "empty": b"",
        "other": b"x",
    }
    for name, content in contents.items():
        (tmp_path / "ab" / f"{name}.so").write_bytes(content)
    _drop_cut_off(tmp_path)
    assert len(list(tmp_path.rglob("*.so"))) == len(contents)  # a compiler may be at work on them
    _drop_cut_off(tmp_path, now=time.time() + 3600.0)
    assert sorted(path.stem for path in tmp_path.rglob("*.so")) == ["other", "whole"]

"""A registered model is the run's: what comes back from the registry computes the same logits."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from processes.tracking_server import TrackingServer
from specimens.trained_runs import trained

import pebench
from pebench.command_line.main import main
from pebench.models.decoder import Decoder
from pebench.position_encoding import Extrapolation, tabulate
from pebench.running.finished import FinishedRun

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy")


def logits(run: FinishedRun) -> torch.Tensor:
    """Of a fixed text."""
    model = run.model
    assert isinstance(model, Decoder)
    reach = Extrapolation((32,))
    table = tabulate(model.encoding, torch.arange(32)[None, :, None], reach)
    return model.logits(model(torch.arange(32)[None], table))


@pytest.mark.parametrize("store", ["file", "server"])
def test_a_registered_model_comes_back_with_the_same_logits(
    place: Path, store: str, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    import mlflow

    uri = f"sqlite:///{place}/mlflow.db"
    if store == "server":
        server: TrackingServer = request.getfixturevalue("server")
        uri = server.uri
    run_id = trained(place, "rope").run_id
    for end in ("version 1: models:/small/1\n", "version 1, as before: models:/small/1\n"):
        assert main(["register", run_id, "small", "--to", uri]) == 0
        assert capsys.readouterr().out.endswith(end)
    mlflow.set_tracking_uri(uri)
    mlflow.artifacts.download_artifacts("models:/small/1", dst_path=str(place / "models"))
    there, here = pebench.load(run_id, runs="models", device="cpu"), pebench.load(run_id, device="cpu")
    assert torch.equal(logits(there), logits(here))


def test_what_is_not_finished_is_not_registered(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "runs").mkdir()
    assert main(["register", "rope"]) == 2
    assert "unknown run 'rope'" in capsys.readouterr().err
    run_id = trained(place, "rope").run_id
    (place / "runs" / run_id / "result.json").unlink()
    assert main(["register", run_id]) == 2
    assert "is not finished" in capsys.readouterr().err

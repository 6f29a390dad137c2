"""Makes every finished language model a model of lm-eval's: importing this registers the name ``pebench``.

import lm_eval
import pebench.lm_eval

lm_eval.simple_evaluate(model="pebench", model_args="run=rope-3f", tasks=["lambada_openai"])
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lm_eval.api.registry import register_model

from pebench.data.tokenization import Tokenizer
from pebench.errors import UserError, unknown
from pebench.models.decoder import Decoder
from pebench.models.lm_eval_model import DecoderLM
from pebench.running.execution import torch_device
from pebench.running.finished import FinishedRun, load_finished
from pebench.store.run_folder import find_run, runs_folder


@register_model("pebench")
class RunLM(DecoderLM):
    """The model of a finished run, by its id; see `DecoderLM` for what it does with requests."""

    def __init__(
        self,
        run: str | None = None,
        runs: str | Path | None = None,
        device: str | None = None,
        batch_size: int | str | None = None,
        max_batch_size: int | None = None,
        max_length: int | None = None,
        extent: int | None = None,
        extrapolation: str | None = None,
        **others: Any,
    ) -> None:
        """
        Args:
            run: its id, or enough of the beginning.
            runs: the folder of the runs; by default PEBENCH_RUNS or `runs` in the working folder.
            device: ``cpu``, ``cuda``, or ``auto`` for CUDA where there is one, the default.
            batch_size: requests a batch; ``auto``, the default, bounds the tokens of a batch instead.
            max_batch_size: bounds an automatic batch.
            max_length, extent, extrapolation: see `DecoderLM`.

        Raises:
            UserError: there is no such run, it is not finished, it is no language model, or an argument is
                wrong.
        """
        for name in others:
            known = ("run", "runs", "device", "batch_size", "max_length", "extent", "extrapolation")
            raise unknown("argument", name, known, "model 'pebench'")
        if run is None:
            raise UserError("model 'pebench' needs the id of a run: run=ID.")
        folder = find_run(Path(runs) if runs is not None else runs_folder(), str(run))
        self.finished = finished = load_finished(folder, torch_device(device or "auto"))
        super().__init__(
            _decoder(finished),
            _tokenizer(finished),
            max_length=max_length,
            extent=extent,
            extrapolation=extrapolation,
            rows_at_once=_rows(batch_size, max_batch_size),
        )

    def get_model_info(self) -> dict[str, Any]:
        """Facts about the model that lm-eval writes down beside its scores."""
        spec = self.finished.spec
        return {
            "run": spec.run_id,
            "encoding": spec.encoding.label,
            "trained_extent": self.model.geometry.extent[0],
            "extrapolation": self.extrapolation,
            "model_num_parameters": sum(parameter.numel() for parameter in self.model.parameters()),
        }


def _decoder(finished: FinishedRun) -> Decoder:
    if not isinstance(finished.model, Decoder):
        raise UserError(
            f"run '{finished.spec.run_id}' is no language model: its task is '{finished.spec.task.name}'."
        )
    return finished.model


def _tokenizer(finished: FinishedRun) -> Tokenizer:
    if finished.task.tokenizer is None:
        raise UserError(
            f"run '{finished.spec.run_id}' reads no text: task '{finished.spec.task.name}' has no tokenizer."
        )
    return finished.task.tokenizer


def _rows(batch_size: int | str | None, largest: int | None) -> int | None:
    """Requests a batch; None where its tokens alone bound it."""
    if batch_size is None or str(batch_size).startswith("auto"):
        return largest
    if not str(batch_size).isdigit() or int(batch_size) < 1:
        raise UserError(f"batch_size is 'auto' or a number of requests, not '{batch_size}'.")
    return int(batch_size)

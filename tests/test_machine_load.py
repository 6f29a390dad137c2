"""The load of the machine: what is told of a GPU that others compute on too."""

from __future__ import annotations

from types import SimpleNamespace

import psutil
import pynvml
import pytest
import torch

from pebench.running.machine_load import MachineLoad, neighbours


def test_without_a_gpu_nobody_is_beside() -> None:
    if torch.cuda.is_initialized():
        pytest.skip("a CUDA device is in use")
    assert neighbours() is None
    assert set(MachineLoad().sample().values) == {"cpu-percent", "memory-megabytes"}


@pytest.mark.parametrize(
    ("names", "beside"),
    [(["python"], 0), (["python", "python"], 1), (["python", "nvidia-cuda-mps-server"], 0), ([], 0)],
)
def test_others_on_the_gpu_are_counted(
    names: list[str], beside: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(uuid="a-b"))
    monkeypatch.setattr(pynvml, "nvmlInit", lambda: None)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByUUID", {"GPU-a-b": "device"}.__getitem__)
    running = [SimpleNamespace(pid=pid) for pid in range(len(names))]
    monkeypatch.setattr(pynvml, "nvmlDeviceGetComputeRunningProcesses", {"device": running}.__getitem__)
    monkeypatch.setattr(psutil, "Process", lambda pid: SimpleNamespace(name=lambda: names[pid]))
    assert neighbours() == beside


def test_a_driver_that_does_not_tell_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)

    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(pynvml, "nvmlInit", refuse)
    assert neighbours() is None

"""The benchmark of SLURM measures on a real one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from local_slurm import LocalSlurm

from pebench.command_line.main import main

pytestmark = pytest.mark.slurm


def test_a_cluster_is_measured_beside_its_own_commands(slurm: LocalSlurm, place: Path) -> None:
    smallest = ["--cells", "10", "--steps", "500", "--rounds", "1", "--folder", str(place)]
    assert main(["bench", "cluster", *smallest, "--output", str(place)]) == 0
    rows = json.loads((place / "cluster.json").read_text("utf-8"))["rows"]
    wanted = {"by hand", "pebench submit", "pebench submit, again", "pebench status", "a job", "preempted"}
    assert {row["name"] for row in rows} == wanted
    assert all(row["seconds"] > 0 for row in rows)

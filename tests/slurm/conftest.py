"""A SLURM to submit to, where its daemons are installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from local_slurm import LocalSlurm, missing_programs


@pytest.fixture(scope="session")
def cluster() -> Iterator[LocalSlurm]:
    """A running cluster. Where SLURM is not installed tests skip, or fail if REQUIRE_SLURM is set."""
    missing = missing_programs()
    if missing:
        sentence = (
            f"no {', '.join(missing)} here; Debian's slurmctld, slurmd, slurm-client and munge hold them"
        )
        if os.environ.get("REQUIRE_SLURM"):
            pytest.fail(sentence)
        pytest.skip(sentence)
    # pytest's own temporary folders have names too long for a socket.
    folder = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))
    cluster = LocalSlurm(folder)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def slurm(cluster: LocalSlurm, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[LocalSlurm]:
    """The cluster, as the one that commands reach; a test leaves no job behind, and one that fails says what
    SLURM and its jobs said."""
    for name in list(os.environ):
        # The tests may run inside a job of another SLURM.
        if name.startswith(("SLURM", "SBATCH", "SRUN", "SQUEUE", "SUBMITIT")):
            monkeypatch.delenv(name)
    for name in ("PATH", "SLURM_CONF"):
        monkeypatch.setenv(name, cluster.environment[name])
    yield cluster
    for command in (["squeue"], ["sinfo", "--long", "--Node"]):
        sys.stderr.write(subprocess.run(command, check=False, capture_output=True, text=True).stdout)
    for name in ("*_log.err", "failure.json", "log.txt"):
        for path in sorted(tmp_path.rglob(name)):
            sys.stderr.write(f"{path.relative_to(tmp_path)}:\n{path.read_text(errors='replace')[-1000:]}\n")
    subprocess.run(["scancel", "--full", f"--user={os.getuid()}"], check=False, capture_output=True)

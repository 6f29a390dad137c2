"""SLURM's commands as scripts that answer what a test tells them to, and write down how they were called."""

from __future__ import annotations

from pathlib import Path

HELP = """\
Usage: sbatch [OPTIONS(0)...]
  -A, --account=name          charge job to specified account
  -a, --array=indexes         job array index values
      --exclusive[=user]      allocate nodes in exclusive mode when
      --gres=list             required generic resources
  -p, --partition=partition   partition requested
      --reservation=name      allocate resources from named reservation
"""


class FakeSlurm:
    """A folder of commands to put into the PATH; a command that nothing was said of does not exist."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.config()
        self.says("sbatch", HELP)
        self.says("srun", "")
        # That of the machine, if it has one, looks for a configuration for a minute.
        self.says("sacct", "")

    def config(self, **settings: str) -> None:
        """What ``scontrol show config`` prints."""
        known = {"MaxArraySize": "1001", **settings}
        self.says("scontrol", "\n".join(f"{key} = {value}" for key, value in known.items()))

    def says(self, command: str, text: str, status: int = 0, error: str = "") -> None:
        """Lets a command print a text, whatever it is asked."""
        script = self.folder / command
        script.write_text(
            f"#!/bin/sh\necho \"$*\" >> '{self.folder}/{command}.calls'\n"
            f"/bin/cat <<'END'\n{text}\nEND\n/bin/cat >&2 <<'END'\n{error}\nEND\nexit {status}\n"
        )
        script.chmod(0o755)

    def lacks(self, command: str) -> None:
        """Takes a command away."""
        (self.folder / command).unlink(missing_ok=True)

    def calls(self, command: str) -> list[str]:
        """The arguments of every call so far."""
        calls = self.folder / f"{command}.calls"
        return calls.read_text().splitlines() if calls.exists() else []

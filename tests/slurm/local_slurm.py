"""A real SLURM on this machine, for one test session: a controller and a few nodes, all processes of ours.

It needs no root, no systemd, no cgroups and no database, and everything it writes is below one folder.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol", "sinfo", "scancel")

# Daemons live where the PATH of ordinary users does not lead.
SEARCH_PATH = f"{os.environ['PATH']}:/usr/sbin:/sbin"

_CONFIGURATION = """\
ClusterName=pebench
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge.sock,cred_expire=5
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
PropagateResourceLimits=NONE
SlurmdParameters=config_overrides
MailProg=/bin/true
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
DefMemPerCPU=100
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=1,sched_interval=1,batch_sched_delay=0,sched_min_interval=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmctldParameters=preempt_send_user_signal
JobRequeue=1
FirstJobId={first_job}
MaxArraySize=1001
MinJobAge=300
KillWait=5
SlurmctldTimeout=10
SlurmdTimeout=10
InactiveLimit=0
ReturnToService=2
GresTypes=gpu
NodeName=127.0.0.[1-{nodes}] NodeHostname={host} NodeAddr=127.0.0.1 Port=[{node_port}-{last_port}] \\
  CPUs=4 RealMemory=64000 Gres=gpu:2
PartitionName=main Nodes=ALL Default=YES State=UP PriorityTier=10 PreemptMode=OFF
PartitionName=low Nodes=ALL Default=NO State=UP PriorityTier=1 PreemptMode=REQUEUE GraceTime=30
"""


def missing_programs() -> list[str]:
    """What of SLURM is not installed here."""
    return [program for program in PROGRAMS if shutil.which(program, path=SEARCH_PATH) is None]


class LocalSlurm:
    """The cluster, by its folder.

    Attributes:
        folder: of its state and logs; its path must be short, for a socket's name has at most 107 characters.
        nodes: how many machines it pretends to have.
    """

    def __init__(self, folder: Path, nodes: int = 4) -> None:
        self.folder = folder
        self.nodes = nodes
        self.environment = {**os.environ, "PATH": SEARCH_PATH, "SLURM_CONF": str(folder / "slurm.conf")}

    def start(self) -> None:
        """Starts the daemons and waits until every node is idle."""
        for name in ("state", "spool"):
            (self.folder / name).mkdir()
        self._start_munge()
        port = _free_ports(self.nodes + 1)
        configuration = _CONFIGURATION.format(
            host=socket.gethostname().partition(".")[0],
            user=psutil.Process().username(),
            folder=self.folder,
            port=port,
            node_port=port + 1,
            last_port=port + self.nodes,
            nodes=self.nodes,
            # Not from 1: whoever keeps files by job number would meet those of an earlier cluster.
            first_job=int(time.time()) % 600_000 * 100 + 1,
        )
        (self.folder / "slurm.conf").write_text(configuration)
        (self.folder / "cgroup.conf").write_text(
            "CgroupAutomount=no\nConstrainCores=no\nConstrainRAMSpace=no\n"
        )
        for number in range(2):
            # A job is given devices by number only where they are files of devices, whichever these are.
            (self.folder / f"gpu{number}").symlink_to("/dev/null")
        (self.folder / "gres.conf").write_text(
            f"AutoDetect=off\nNodeName=127.0.0.[1-{self.nodes}] Name=gpu File={self.folder}/gpu[0-1]\n"
        )
        self._run("slurmctld", "-i")
        for number in range(1, self.nodes + 1):
            self.start_node(f"127.0.0.{number}")
        self._wait("idle nodes", lambda: self._idle() == self.nodes)

    @contextlib.contextmanager
    def configured(self, before: str, after: str) -> Iterator[None]:
        """In this block one line of the configuration is another."""
        file = self.folder / "slurm.conf"
        usual = file.read_text()
        assert before in usual
        try:
            file.write_text(usual.replace(before, after))
            self._run("scontrol", "reconfigure")
            yield
        finally:
            file.write_text(usual)
            self._run("scontrol", "reconfigure")

    def start_node(self, node: str) -> None:
        """Lets a node join, for the first time or after it was killed."""
        self._run("slurmd", "-N", node)

    def kill_node(self, node: str) -> None:
        """Lets a node die with everything on it, from one moment to the next."""
        daemon = _running(self.folder / f"slurmd-{node}.pid", "slurmd")
        _kill_all([daemon] if daemon is not None else [])
        for step in self._steps(node):
            children = step.children(recursive=True)
            # A job of several nodes has steps of one name on each of them.
            if all(_environment(child).get("SLURMD_NODENAME") == node for child in children):
                _kill_all([step, *children])

    def stop(self) -> None:
        """Ends the daemons and whatever jobs are left, and nothing else."""
        daemons = [
            _running(file, daemon)
            for daemon in ("slurmctld", "slurmd", "munged")
            for file in self.folder.glob(f"{daemon}*.pid")
        ]
        processes = [process for process in daemons if process is not None]
        for step in self._steps("*"):
            processes += [*step.children(recursive=True), step]
        _kill_all(processes)

    def _steps(self, node: str) -> list[psutil.Process]:
        """The processes that look after the steps of jobs; a step has a socket in the folder of its node."""
        sockets = self.folder.glob(f"spool/{node}/*_*.*")
        jobs = {socket.name.rpartition("_")[2].partition(".")[0] for socket in sockets}
        found = []
        for process in psutil.process_iter(["name", "cmdline"]):
            words = process.info["cmdline"] or [""]
            # As ['slurmstepd:', '[123.batch]'], which is all that a step shows of itself.
            if process.info["name"] == "slurmstepd" and words[-1].strip("[]").partition(".")[0] in jobs:
                found.append(process)
        return found

    def _start_munge(self) -> None:
        key = self.folder / "munge.key"
        key.touch(mode=0o600)
        key.write_bytes(secrets.token_bytes(128))
        places = {"key-file": key.name, "socket": "munge.sock", "pid-file": "munged.pid"}
        places |= {"log-file": "munged.log", "seed-file": "munge.seed"}
        self._run(
            "munged", "--force", *(f"--{option}={self.folder / name}" for option, name in places.items())
        )
        self._wait("munge", (self.folder / "munge.sock").exists)

    def _idle(self) -> int:
        nodes = self._run("sinfo", "--noheader", "--partition=main", "--states=idle", "--Node", "--format=%N")
        return len(nodes.split())

    def _run(self, *command: str) -> str:
        # The daemons fork and go on, and would hold a pipe open as long as they live.
        with (self.folder / "said.txt").open("w+") as said:
            subprocess.run(
                command, env=self.environment, stdout=said, stderr=said, stdin=subprocess.DEVNULL, check=False
            )
            said.seek(0)
            return said.read()

    def _wait(self, what: str, there: Callable[[], bool], seconds: float = 60) -> None:
        end = time.monotonic() + seconds
        while not there():
            if time.monotonic() > end:
                logs = "\n".join(
                    f"== {log}\n{log.read_text()[-1500:]}" for log in sorted(self.folder.glob("*.log"))
                )
                raise TimeoutError(f"no {what} after {seconds} seconds\n{logs}")
            time.sleep(0.05)


def _environment(process: psutil.Process) -> dict[str, str]:
    try:
        return process.environ()
    except psutil.Error:
        return {}


def _kill_all(processes: list[psutil.Process]) -> None:
    """Kills processes and waits until they are gone, or are left for somebody to take note of."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    end = time.monotonic() + 10
    while any(_is_there(process) for process in processes) and time.monotonic() < end:
        time.sleep(0.02)


def _is_there(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _running(file: Path, name: str) -> psutil.Process | None:
    """The process whose number a file holds, if it is still the daemon of that name."""
    try:
        process = psutil.Process(int(file.read_text().strip()))
        return process if process.name() == name else None
    except (psutil.Error, ValueError, FileNotFoundError):
        return None


def _free_ports(count: int) -> int:
    """The first of so many ports in a row that nobody listens on, below those that the system gives away."""
    for first in range(11_000 + os.getpid() % 100 * 100, 30_000, count):
        if all(_is_free(port) for port in range(first, first + count)):
            return first
    raise OSError("there are no free ports")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True

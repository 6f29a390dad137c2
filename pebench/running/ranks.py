"""Data-parallel ranks: the processes that carry out one run together, and their collective operations."""

from __future__ import annotations

import contextlib
import datetime
import math
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from pebench.task import Batch

ARRIVAL = 300.0
"""Seconds that ranks wait for each other at the start."""

TIMEOUT = 600.0
"""Seconds that a rank waits for the others in a step."""

SILENCE = 60.0
"""Seconds without a heartbeat after which a rank counts as dead, in waits that have no other bound."""

_BEAT_EVERY = 5.0
_LOOK_EVERY = 0.05
_FAREWELL = 10.0
_BUCKET = 1 << 24  # numbers that are added up in one message: 64 MiB


class RankLost(RuntimeError):
    """Another rank is gone, or does not answer."""


class Sum:
    """A sum over the ranks that is under way, and its implementation where there is one rank: it is there."""

    def wait(self) -> None:
        """Makes what is computed from now on find the sum; the host does not wait for a device.

        Raises:
            RankLost: another rank is gone.
        """


class Ranks:
    """The interface of ranks, and its implementation for a run in one process.

    Attributes:
        index: of this process, from 0. The first is_main: it alone writes the folder of the run.
        count: of the processes.
        backend: what they compute sums with.
    """

    index = 0
    count = 1
    backend = "none"

    @property
    def is_main(self) -> bool:
        """Whether this is the first rank, which alone writes the folder of the run."""
        return self.index == 0

    def __enter__(self) -> Ranks:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        return None

    def start(self, device: torch.device) -> torch.device:
        """Starts the process group for `begin_sum`, `broadcast` and `any`.

        Args:
            device: that the run asks for.

        Returns:
            The one that this rank is to use.
        """
        return device

    def share(self, batch: Batch) -> Batch:
        """This rank's shard of a batch."""
        return batch

    def begin_sum(self, tensor: Tensor) -> Sum:
        """Begins to sum a tensor over the ranks, in place; all ranks get the same bits.

        All of them begin their sums in one order, and leave the tensor alone until then."""
        return Sum()

    def broadcast(self, tensors: Sequence[Tensor]) -> None:
        """Copies each tensor of the first rank to the others, in place."""

    def any(self, flag: bool) -> bool:
        """Logical or over the ranks."""
        return flag

    def gather(self, name: str, value: str, meanwhile: Callable[[], None] = lambda: None) -> list[str]:
        """Collects a text from every rank, in their order. The wait has no bound as long as all of them live.

        Args:
            name: key of this exchange, which takes place once a run.
            value: the text of this rank.
            meanwhile: called again and again while there is something to wait for.
        """
        return [value]

    def broadcast_object(self, name: str, value: str) -> str:
        """The text of the first rank; see `gather`."""
        return value

    def divide(self, name: str, pieces: Sequence[int]) -> Iterator[int]:
        """Deals out pieces of work: each goes to one rank, the next to whichever is free. Several ranks take
        them from the end."""
        return iter(pieces)

    def set(self, name: str, value: str) -> None:
        """Sets a key in the shared store."""

    def get(self, name: str) -> str | None:
        """The value of a key in the shared store, None where it is not set."""
        return None


ALONE = Ranks()
"""A run in one process."""


class JoinedRanks(Ranks):
    """One of several processes, which meet in a TCP store of the first one and use `torch.distributed`: NCCL
    where each has a CUDA device of its own, else Gloo.

    A context manager: entering it joins the other ranks, leaving it leaves them.
    """

    def __init__(
        self,
        index: int,
        count: int,
        local: int,
        address: str,
        port: int,
        name: str = "",
        timeout: float = TIMEOUT,
    ) -> None:
        """
        Args:
            index: of this process.
            count: of the processes.
            local: index among those of this machine.
            address, port: where the first of them is reached; port 0 lets that one choose.
            name: what they are ranks of; two jobs that happen to use one port are told apart by it.
            timeout: see `TIMEOUT`.
        """
        self.index, self.count, self.local = index, count, local
        self.address, self.port, self.name = address, port, name
        self.timeout = timeout
        self.backend = ""
        self._store: dist.Store | None = None
        self._over = threading.Event()
        self._beats = threading.Thread(target=self._keep_beating, daemon=True)

    def __enter__(self) -> JoinedRanks:
        """
        Raises:
            RankLost: the first rank cannot be reached.
        """
        try:
            self._store = self._connect(host=self.is_main)
        except RuntimeError as error:
            where = f"{self.address}:{self.port}"
            what = "cannot be listened at" if self.is_main else "does not answer, and the first rank is there"
            raise RankLost(f"{where} {what}: {_first_line(error)}") from error
        self._beats.start()
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        with contextlib.suppress(RuntimeError):
            if dist.is_initialized():
                dist.destroy_process_group()
        with contextlib.suppress(RuntimeError):
            self.set(f"left/{self.index}", "")
            # The store is gone with the first rank, and the others may still be reading.
            if self.is_main and error is None:
                self._await("left", range(self.count), _FAREWELL)
        self._over.set()
        self._beats.join()
        self._store = None

    def start(self, device: torch.device) -> torch.device:
        """
        Raises:
            RankLost: not all ranks came in time.
        """
        if device == torch.device("cuda"):
            device = torch.device("cuda", self.local % torch.cuda.device_count())
        card = f"{socket.gethostname()} {_card(device)}"
        self.set(f"arrived/{self.index}", card)
        own_cards = len(set(self._await("arrived", range(self.count), ARRIVAL))) == self.count
        if device.type == "cuda":
            torch.cuda.set_device(device)
        self.backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" and own_cards else "gloo"
        with _others():
            dist.init_process_group(
                self.backend,
                store=dist.PrefixStore("group", self._open()),
                rank=self.index,
                world_size=self.count,
                timeout=datetime.timedelta(seconds=self.timeout),
            )
        return device

    def share(self, batch: Batch) -> Batch:
        """Consecutive examples, equally many for each rank."""
        return {name: values.chunk(self.count)[self.index] for name, values in batch.items()}

    def begin_sum(self, tensor: Tensor) -> Sum:
        """
        Raises:
            RankLost: another rank is gone.
        """
        with _others():
            return _PendingSum(dist.all_reduce(tensor, async_op=True))

    def broadcast(self, tensors: Sequence[Tensor]) -> None:
        """One message for many tensors."""
        for bucket in _buckets(tensors):
            flat = torch.cat([tensor.flatten() for tensor in bucket])
            with _others():
                dist.broadcast(flat, 0)
            _spread(flat, bucket)

    def any(self, flag: bool) -> bool:
        """Asked on the CPU, so that no device is waited for."""
        found = torch.tensor(flag, dtype=torch.uint8)
        with _others():
            dist.all_reduce(found, dist.ReduceOp.MAX)
        return bool(found)

    def gather(self, name: str, value: str, meanwhile: Callable[[], None] = lambda: None) -> list[str]:
        """
        Raises:
            RankLost: one of them has gone or fallen silent.
        """
        self.set(f"{name}/{self.index}", value)
        return self._await(name, range(self.count), None, meanwhile)

    def broadcast_object(self, name: str, value: str) -> str:
        """
        Raises:
            RankLost: it has gone or fallen silent.
        """
        if self.is_main:
            self.set(f"{name}/0", value)
            return value
        (said,) = self._await(name, [0], None)
        return said

    def divide(self, name: str, pieces: Sequence[int]) -> Iterator[int]:
        """
        Raises:
            RankLost: the first rank is gone.
        """
        while True:
            with _others():
                taken = self._open().add(f"{name}/taken", 1)
            if taken > len(pieces):
                return
            yield pieces[-taken]

    def set(self, name: str, value: str) -> None:
        """
        Raises:
            RankLost: the first rank is gone.
        """
        with _others():
            self._open().set(name, value)

    def get(self, name: str) -> str | None:
        """
        Raises:
            RankLost: the first rank is gone.
        """
        with _others():
            return bytes(self._open().get(name)).decode() if self._open().check([name]) else None

    def _connect(self, host: bool) -> dist.Store:
        store = dist.TCPStore(
            self.address,
            self.port,
            is_master=host,
            wait_for_workers=False,
            timeout=datetime.timedelta(seconds=ARRIVAL),
        )
        self.port = store.port
        return dist.PrefixStore(self.name, store)

    def _open(self) -> dist.Store:
        assert self._store is not None, "the ranks have not met"
        return self._store

    def _await(
        self,
        name: str,
        ranks: Sequence[int],
        limit: float | None,
        meanwhile: Callable[[], None] = lambda: None,
    ) -> list[str]:
        """Waits until each of these ranks has set its key, and returns the values in order."""
        begun = time.monotonic()
        heard: dict[int, tuple[str, float]] = {}
        said: dict[int, str] = {}
        late = list(ranks)
        pause = _LOOK_EVERY
        while True:
            # A rank may say it and leave at once, so whether it has left is asked first.
            gone = {rank for rank in late if self._has_left(rank)}
            said |= {rank: note for rank in late if (note := self.get(f"{name}/{rank}")) is not None}
            late = [rank for rank in late if rank not in said]
            if not late:
                return [said[rank] for rank in ranks]
            for rank in late:
                if rank in gone:
                    raise RankLost(f"rank {rank} has left")
                self._listen(rank, heard, SILENCE if limit is None else math.inf)
            if limit is not None and time.monotonic() - begun > limit:
                which = ", ".join(str(rank) for rank in late)
                raise RankLost(f"of {self.count} ranks, {which} have not come in {limit:.0f} seconds")
            meanwhile()
            time.sleep(pause)
            pause = min(1.0, pause * 1.1)

    def _has_left(self, rank: int) -> bool:
        return self.get(f"left/{rank}") is not None

    def _listen(self, rank: int, heard: dict[int, tuple[str, float]], silence: float) -> None:
        """Raises if a rank has stopped beating; `heard` keeps its last beat and when that was first seen."""
        beat, now = self.get(f"beat/{rank}") or "", time.monotonic()
        last, since = heard.get(rank, (None, now))
        if beat != last:
            heard[rank] = beat, now
        elif now - since > silence:
            raise RankLost(f"rank {rank} has been silent for {silence:.0f} seconds")

    def _keep_beating(self) -> None:
        with contextlib.suppress(RuntimeError):
            # The store's other connection may be in the midst of a wait.
            store = self._connect(host=False)
            beat = 0
            while not self._over.wait(_BEAT_EVERY if beat else 0):
                store.set(f"beat/{self.index}", str(beat))
                beat += 1


class _PendingSum(Sum):
    def __init__(self, work: dist.Work) -> None:
        self._work = work

    def wait(self) -> None:
        with _others():
            self._work.wait()


@contextlib.contextmanager
def _others() -> Iterator[None]:
    """Turns every error of communication into `RankLost`."""
    try:
        yield
    except RankLost:
        raise
    except RuntimeError as error:
        raise RankLost(f"another rank is gone: {_first_line(error)}") from error


def _first_line(error: BaseException) -> str:
    """The message without the place in the source and the advice that PyTorch puts around it."""
    line = (str(error).splitlines() or [type(error).__name__])[0]
    return re.sub(r"^\[/\S*\] ", "", line).partition(". ")[0]


def _card(device: torch.device) -> Any:
    """Identity of a device within its machine; all CPUs are one."""
    return torch.cuda.get_device_properties(device).uuid if device.type == "cuda" else "cpu"


def _buckets(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Groups neighbours of one dtype, up to `_BUCKET` numbers each."""
    bucket: list[Tensor] = []
    size = 0
    for tensor in tensors:
        if bucket and (size + tensor.numel() > _BUCKET or tensor.dtype != bucket[0].dtype):
            yield bucket
            bucket, size = [], 0
        bucket.append(tensor)
        size += tensor.numel()
    if bucket:
        yield bucket


def _spread(flat: Tensor, tensors: list[Tensor]) -> None:
    parts = flat.split([tensor.numel() for tensor in tensors])
    for tensor, part in zip(tensors, parts, strict=True):
        tensor.copy_(part.view_as(tensor))

"""MLflow's own pages over the tracking store, for one user of this machine, with a sync loop behind them."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from pebench.errors import UserError
from pebench.tracking.address import connect, is_server, tracking_uri, without_secrets
from pebench.tracking.experiments import Experiments
from pebench.tracking.mlflow_internals import create_store
from pebench.tracking.retry import Retry
from pebench.tracking.server import listening, log_file, server
from pebench.tracking.sync import sync


def serve(
    runs: Path,
    port: int | None,
    *,
    every: float,
    announce: Callable[[str, dict[str, str]], None],
    warn: Callable[[str], None],
) -> None:
    """Shows the runs until it is interrupted, and mirrors what changes meanwhile.

    Args:
        runs: the folder of runs.
        port: of the pages; None for the first free one from 5000.
        every: seconds between passes of `pebench.tracking.sync.sync`.
        announce: told, when the pages answer, the address of all experiments and that of each sweep's table.
        warn: told what goes wrong in a pass; the next one tries again.

    Raises:
        UserError: the store is a server, the port is taken, or MLflow does not start.
    """
    address = tracking_uri(runs)
    if is_server(address):
        shown = without_secrets(address)
        raise UserError(
            f"{shown} has pages of its own: open it, and keep it up to date with `pebench sync --watch 10`."
        )
    ask = Retry(address, 20.0).call
    ask(lambda: create_store(address))
    sync(runs, address)
    with server(runs, address, listening(port)) as pages:
        tables = ask(lambda: Experiments(connect(address), address).pages())
        announce(
            pages.address("#/experiments?workflowType=machine_learning"),
            {name: pages.address(page) for name, page in tables.items()},
        )
        while pages.process.poll() is None:
            time.sleep(every)
            try:
                for problem in sync(runs, address).problems:
                    warn(problem)
            except (UserError, OSError) as error:
                warn(str(error))
    raise UserError(f"MLflow's server ended by itself: {log_file(runs)} says why.")

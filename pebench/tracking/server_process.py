"""MLflow's server behind the `Guard`, as ``python -m pebench.tracking.server_process``.

The token comes through the environment, which no other user can read; arguments are open to all. The port is
open already, and handed over: were it opened here, somebody else could be the first at it.
"""

from __future__ import annotations

import os
import socket
import sys

from pebench.machine.die_with_parent import die_with_parent
from pebench.tracking.guard import Guard

TOKEN = "_PEBENCH_UI_TOKEN"
"""The variable that holds the token."""


def run(listening: int, uri: str, artifacts: str) -> None:
    """Answers until it is told to end.

    Args:
        listening: number of the open socket.
        uri: the database.
        artifacts: address of the folder of artifacts, empty where the store decides.
    """
    import uvicorn

    from pebench.tracking.mlflow_internals import server_application

    token = os.environ.pop(TOKEN)
    with socket.socket(fileno=listening) as opened:
        application = Guard(server_application(uri, artifacts), token, opened.getsockname()[1])
        # A line a request would hold the token of the first.
        config = uvicorn.Config(application, access_log=False, log_level="warning")
        uvicorn.Server(config).run(sockets=[opened])


if __name__ == "__main__":
    die_with_parent(int(sys.argv[1]))
    run(int(sys.argv[2]), sys.argv[3], sys.argv[4])

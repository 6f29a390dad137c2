"""Refusing to run a cell with other code than it was submitted with."""

from __future__ import annotations

import os
from pathlib import Path

from pebench.errors import UserError, first_of
from pebench.running import source_code
from pebench.store.run_folder import RunFolder

_SHOWN = 3


def require_same_code(folder: RunFolder) -> None:
    """Compares the code on the disk with that of the submission which the process carries out, if it does.

    A submission names code by its path, and hours may pass before it runs: what is edited meanwhile would
    run unseen.

    Raises:
        UserError: something that the run depends on has changed; that is its failure then.
    """
    submission = os.environ.get("SUBMITIT_FOLDER")
    record = Path(submission or "") / "code.json"
    if submission is None or not record.exists() or folder.result() is not None:
        return
    before = source_code.Code.model_validate_json(record.read_bytes())
    changed = source_code.changes(before, source_code.installed(), folder.spec())
    if changed:
        message = (
            f"the code is not what was submitted, for {first_of(changed, _SHOWN)} changed since; "
            "'pebench submit' submits the cell again with the code as it is now."
        )
        folder.write_failure(message)
        raise UserError(message)

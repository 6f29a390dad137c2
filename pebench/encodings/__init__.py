"""The encodings, one file each.

In a checkout they live in the top-level folder `encodings`, and this package points there; an installed copy
holds them itself. The top-level folder has no `__init__.py`: Python's own codec package bears its name, and
would be hidden.
"""

from pathlib import Path

_checkout = Path(__file__).resolve().parents[2]
if (_checkout / "pyproject.toml").is_file():
    __path__.append(str(_checkout / "encodings"))

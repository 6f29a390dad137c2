"""Times and amounts of memory as SLURM's users write them, and numbers of things."""

from __future__ import annotations

import math
import re

_TIMES = (
    re.compile(r"(?P<minutes>\d+)(:(?P<seconds>\d+))?"),
    re.compile(r"(?P<hours>\d+):(?P<minutes>\d+):(?P<seconds>\d+)"),
    re.compile(r"(?P<days>\d+)-(?P<hours>\d+)(:(?P<minutes>\d+))?(:(?P<seconds>\d+))?"),
)
_SECONDS = {"seconds": 1, "minutes": 60, "hours": 3600, "days": 86400}
_GIGABYTES = {"": 1 / 1024, "M": 1 / 1024, "G": 1.0, "T": 1024.0}


def counted(number: int, what: str) -> str:
    """``1 run``, ``2 runs``."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def minutes(text: str) -> int:
    """The whole minutes, rounded up, of ``90``, ``1:30:00`` or ``2-12``.

    Raises:
        ValueError: it is no time, or none at all.
    """
    for form in _TIMES:
        if match := form.fullmatch(text.strip()):
            parts = {unit: int(number) for unit, number in match.groupdict(default="0").items()}
            seconds = sum(parts.get(unit, 0) * size for unit, size in _SECONDS.items())
            if seconds:
                return -(-seconds // 60)
    raise ValueError(f"'{text}' is no time limit: write minutes, hours:minutes:seconds or days-hours")


def gigabytes(text: str) -> float:
    """The gigabytes of ``16G`` or ``500M``; a bare number is megabytes, as in SLURM.

    Raises:
        ValueError: it is no amount of memory, or none at all.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([MGT]?)B?", text.strip(), re.IGNORECASE)
    if match is None or not float(match[1]):
        raise ValueError(f"'{text}' is no amount of memory: write it as 16G or 500M")
    return float(match[1]) * _GIGABYTES[match[2].upper()]


def memory(gigabytes: float) -> str:
    """Gigabytes as SLURM's users write them, ``16G`` or ``500M``."""
    return f"{gigabytes:.0f}G" if gigabytes.is_integer() else f"{math.ceil(gigabytes * 1024)}M"


def time_limit(number: int) -> str:
    """Minutes as SLURM prints them, ``4:00:00`` or ``2-12:00:00``."""
    days, rest = divmod(number, 1440)
    clock = f"{rest // 60}:{rest % 60:02d}:00"
    return f"{days}-{clock}" if days else clock

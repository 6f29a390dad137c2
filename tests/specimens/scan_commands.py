"""SCAN in small: commands of its grammar, and folders of them in the form of its files."""

from __future__ import annotations

from itertools import product
from pathlib import Path

VERBS = ("walk", "look", "run")


def actions(command: str) -> list[str]:
    """What a command stands for by the grammar of Lake & Baroni 2018, whatever its verbs are."""
    for joint in (" and ", " after "):
        if joint in command:
            one, other = (actions(part) for part in command.split(joint))
            return one + other if joint == " and " else other + one
    *words, last = command.split()
    if last in ("twice", "thrice"):
        return actions(" ".join(words)) * (2 if last == "twice" else 3)
    verb, *how = command.split()
    done = [] if verb == "turn" else [f"I_{verb.upper()}"]
    turn = [f"I_TURN_{how[-1].upper()}"] if how else []
    match how[:-1]:
        case ["opposite"]:
            return turn * 2 + done
        case ["around"]:
            return (turn + done) * 4
        case _:
            return turn + done


def phrases(verb: str) -> list[str]:
    """The commands of one verb without a conjunction: 21, or 18 of "turn", which needs a direction."""
    sides = [f"{way}{side}" for way, side in product(("", "opposite ", "around "), ("left", "right"))]
    ways = [f"{verb} {side}" for side in sides]
    return [
        f"{way}{times}"
        for way in ([] if verb == "turn" else [verb]) + ways
        for times in ("", " twice", " thrice")
    ]


def write_scan(folder: Path) -> Path:
    """A folder with the three splits of some hundred commands each, in the form of the published files."""
    folder.mkdir()
    known = [command for verb in (*VERBS, "turn") for command in phrases(verb)]
    pairs = list(zip(known, known[20:] + known[:20], strict=True))
    joined = [f"{one} {joint} {other}" for joint in ("and", "after") for one, other in pairs]
    every = known + joined
    jump = [command.replace("walk", "jump") for command in every if "walk" in command]
    splits = {
        "length": ([c for c in every if len(actions(c)) <= 22], [c for c in every if len(actions(c)) > 22]),
        "addprim_jump": (every + ["jump"] * (len(every) // 9), [c for c in jump if c != "jump"]),
        "simple": (every[::2], every[1::2]),
    }
    for name, parts in splits.items():
        for split, commands in zip(("train", "test"), parts, strict=True):
            lines = (f"IN: {command} OUT: {' '.join(actions(command))}\n" for command in commands)
            (folder / f"tasks_{split}_{name}.txt").write_text("".join(lines))
    return folder

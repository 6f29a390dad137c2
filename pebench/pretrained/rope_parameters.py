"""The frequency map in transformers' `rope_parameters`, by our name and with its options."""

from __future__ import annotations

from typing import Any

from pebench.errors import UserError, join_and, shown
from pebench.specification.plugin_ref import ExtrapolationRef

MAPS = {"linear": "pi", "dynamic": "dynamic", "yarn": "yarn", "llama3": "llama3", "longrope": "longrope"}
"""Names of transformers for frequency maps, and ours."""

PROPORTIONAL = "proportional"
"""RoPE whose lowest frequencies are dropped, as transformers calls it: no map, but an option of ours."""

_READ_BY_NONE = {
    "linear": frozenset({"original_max_position_embeddings"}),
    "dynamic": frozenset({"original_max_position_embeddings"}),
    "yarn": frozenset({"finetuned"}),
}
"""Keys of RoPE met beside a type, which neither transformers nor the code they come from reads."""


def extrapolation_of(config: Any) -> ExtrapolationRef | None:
    """The frequency map that a model was trained with, None for plain RoPE.

    Raises:
        UserError: there is none such here.
    """
    rope = dict(getattr(config, "rope_parameters", None) or {})
    kind = rope.pop("rope_type", "default")
    for done in ("rope_theta", "partial_rotary_factor", "type"):
        rope.pop(done, None)
    if kind == "default":
        stray = next((name for name, value in rope.items() if name.endswith("factor") and value), None)
        if stray is not None:
            raise UserError(
                f"it says {stray}={shown(rope[stray])} of RoPE without a 'rope_type' that reads it, such as "
                f"{join_and(MAPS)}."
            )
        return None
    if kind == PROPORTIONAL:
        factor = rope.get("factor") or 1.0
        return None if factor == 1 else {"pi": {"factor": factor}}
    if kind not in MAPS:
        raise UserError(
            f"it has RoPE of the type '{kind}', which no frequency map here is: "
            f"{join_and([*MAPS, PROPORTIONAL])} are."
        )
    unread = _READ_BY_NONE.get(kind, frozenset())
    given = {name: value for name, value in rope.items() if value is not None and name not in unread}
    original = given.get("original_max_position_embeddings")
    if kind in ("yarn", "longrope") and "factor" not in given and original:
        given["factor"] = config.max_position_embeddings / original
    return {MAPS[kind]: given}

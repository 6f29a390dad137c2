"""Every encoding in every setting, with options that take other paths through it than its defaults do."""

from __future__ import annotations

from itertools import groupby

from pebench.conformance import Subject, subjects
from pebench.plugins.registry import encodings

FEW: dict[str, object] = {"pivots": 6, "draws": 5}
"""SeqPE's objectives over fewer positions than the published runs had, which its defaults keep."""

VARIANTS: dict[str, list[dict[str, object]]] = {
    "chunk": [{"size": 7}],
    "comrope": [{"kind": "ap", "block": 4}],
    "cable": [{"bias": False, "scaled": True}],
    "cope": [{"p_max": 3, "scaled_gates": True}],
    "dinov3": [{"periods": (0.1, 10.0), "normalize": "min"}],
    "fire": [{"shared": True, "threshold": "50%"}],
    "grape-a": [{"gate": "both"}],
    "grape-ap": [{"tied": "key", "rotation": "relative"}],
    "grape-m": [{"content": True}],
    "kerple": [{"kind": "power"}],
    "liere": [{"block": 2}],
    "log-cpb": [{"mode": "cr", "shared": True}],
    "log-n": [{"beta": 0.4, "count": "extent"}, {"reference": 5}],
    "lookhere": [{"view": 180}, {"view": 45}],
    "m-rope": [{"layout": "chunked"}],
    "rope": [{"rotated": 0.5}, {"frequencies": 0.75}],
    "selective-rope": [
        {"gate": True, "constant": True, "temperature": "rfa", "learn_temperature": True},
        {"convolution": None},
    ],
    "seqpe": [
        {"apply": "input", **FEW},
        {"apply": "add", **FEW},
        {"apply": "multiply", **FEW},
        {"apply": "scalar", "project": "per-layer", **FEW},
        {"apply": "add", "project": "none", **FEW},
        {"apply": "multiply", "project": "shared", "multi_head": False, **FEW},
        {"base": 3, "mask_padding": True, "candidates": "images", **FEW},
        {"bidirectional": True, **FEW},
    ],
    "spiral": [{"clamp": True}, {"same": False}],
    "swin": [{"shared": True}],
    "stick-breaking": [{"attend_current": True}],
    "string": [{"kind": "circulant"}],
    "temperature-tuning": [{"floor": 3, "count": "positions"}, {"floor": 3}],
    "t5": [{"buckets": 8, "max_distance": 20, "scaled": False}],
    "wall": [{"scalar_gate": True}],
    "window": [{"size": 5}],
    "xpos": [{"scale_base": "100%"}],
}
"""Options that take other paths through an encoding than its defaults do."""

SUBJECTS = [
    subject
    for name in encodings.origins()
    for options in [{}, *VARIANTS.get(name, [])]
    for subject in subjects(name, options)
]

OUTERMOST = [
    subject
    for _, settings in groupby(SUBJECTS, lambda subject: (subject.name, subject.options))
    for own in [list(settings)]
    for subject in (own[-1:] if own[0].options else own[:1] + own[1:][-1:])
]
"""The last setting of an encoding, bidirectional on as many axes as it can, and by its defaults the first
too, which is causal and on a line."""


def title(subject: Subject) -> str:
    options = "".join(f"-{key}={value}" for key, value in subject.options.items())
    return f"{subject.name}{options}-{subject.axes}d-{'causal' if subject.causal else 'bidirectional'}"

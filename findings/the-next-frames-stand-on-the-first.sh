#!/usr/bin/env bash
# Library:    rotary-embedding-torch 0.9.1 with PyTorch 2.13.0 (CPU build), RotaryEmbedding.get_axial_freqs(offsets=...)
#             with the default freqs_for="lang".
# Behaviour:  The angles of each axis are kept by its length alone. Asked for the same or a smaller length with an offset,
#             the module gives those without it: the frames from the ninth on stand where the first eight stood. Asked
#             with an offset first, it keeps these angles as those from 0 on, and gives them to every axis after that,
#             whatever its own offset, and to all later calls.
# Good guess: positions begin at the offset, on the axis that it is given for, as with freqs_for="pixel", where nothing is
#             kept, and as with rotate_queries_or_keys(offset=...), which had that fault and has lost it
#             (lucidrains/rotary-embedding-torch#11).
# Who is hurt: whoever reads a video, a volume or a large picture in parts whose tokens see one another: the parts lie on
#             top of one another for attention, and the longer the input, the more of them. A single part by itself, or
#             a test in a fresh module with one offset for all axes, is right.
# Way out:    RotaryEmbedding(cache_if_possible=False).
# Output seen (positions by the angles of the fastest pair, 8 frames of 4 rows at a time):
#   lang, first 8 frames: frames 0 to 7, rows 0 to 3
#   lang, next 8 frames: frames 0 to 7, rows 0 to 3
#   lang, next 8 frames in a new module: frames 8 to 15, rows 8 to 11
#   lang, first 8 frames after them: frames 8 to 15, rows 8 to 11
#   lang, nothing kept, first 8 frames: frames 0 to 7, rows 0 to 3
#   lang, nothing kept, next 8 frames: frames 8 to 15, rows 0 to 3
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet rotary-embedding-torch==0.9.1 torch==2.13.0 numpy==2.3.5
cat > "$folder/seen.py" <<'PYTHON'
from rotary_embedding_torch import RotaryEmbedding


def show(name, rotary, first):
    # The first pair of each axis turns by one radian a position.
    angles = rotary.get_axial_freqs(8, 4, offsets=(first, 0))
    frames, rows = angles[:, 0, 0].tolist(), angles[0, :, 16].tolist()
    print(f"lang, {name}: frames {frames[0]:.0f} to {frames[-1]:.0f}, rows {rows[0]:.0f} to {rows[-1]:.0f}")


rotary = RotaryEmbedding(dim=16)
show("first 8 frames", rotary, 0)
show("next 8 frames", rotary, 8)
rotary = RotaryEmbedding(dim=16)
show("next 8 frames in a new module", rotary, 8)
show("first 8 frames after them", rotary, 0)
rotary = RotaryEmbedding(dim=16, cache_if_possible=False)
show("nothing kept, first 8 frames", rotary, 0)
show("nothing kept, next 8 frames", rotary, 8)
PYTHON
"$folder/venv/bin/python" -W ignore "$folder/seen.py" 2> /dev/null | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
lang, first 8 frames: frames 0 to 7, rows 0 to 3
lang, next 8 frames: frames 0 to 7, rows 0 to 3
lang, next 8 frames in a new module: frames 8 to 15, rows 8 to 11
lang, first 8 frames after them: frames 8 to 15, rows 8 to 11
lang, nothing kept, first 8 frames: frames 0 to 7, rows 0 to 3
lang, nothing kept, next 8 frames: frames 8 to 15, rows 0 to 3
SEEN
echo "as described"

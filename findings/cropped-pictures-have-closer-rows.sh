#!/usr/bin/env bash
# Library:    diffusers, get_2d_rotary_pos_embed (Hunyuan-DiT) and get_3d_rotary_pos_embed (CogVideoX, ConsisID,
#             EasyAnimate): 0.31.0 beside 0.42.1, with PyTorch 2.13.0 (CPU build).
# Behaviour:  A picture of another shape than the base is fitted into it, and its positions run over the part that it
#             covers. Since these functions went from NumPy to PyTorch (huggingface/diffusers#10155) the last position
#             is stop × (n - 1) / n, which is right where the part begins at 0, and too little elsewhere. Rows, or
#             columns of an upright picture, stand closer to one another, by 0.7 % at 768×1280 and by 10 % at 256×1024,
#             and are no longer in the middle.
# Good guess: n positions from start to stop without stop, as np.linspace(..., endpoint=False), which a comment in the
#             function says that it matches, and equal steps both ways where patches are square. It was compared at
#             1024×1024, where both agree.
# Who is hurt: whoever compares shapes or sizes with published weights, which were trained with the other positions, or
#             trains with one version and evaluates with the other: square pictures are the same in both, and what the
#             others lose looks like RoPE's.
# Way out:    stop + start / (n - 1) for stop.
# Output seen (positions by the angles of the fastest pair; the crops are those of the pipelines, without binning of
# the sizes):
#   0.31.0, Hunyuan-DiT, 1024×1024: rows 0.00 to 31.50 by 0.500, columns 0.00 to 31.50 by 0.500
#   0.31.0, Hunyuan-DiT, 768×1280: rows 6.00 to 24.60 by 0.396, columns 0.00 to 31.60 by 0.400
#   0.31.0, Hunyuan-DiT, 256×1024: rows 12.00 to 19.50 by 0.500, columns 0.00 to 31.50 by 0.500
#   0.31.0, CogVideoX, 480×720: rows 0.00 to 29.00 by 1.000, columns 0.00 to 44.00 by 1.000
#   0.31.0, CogVideoX, 720×480: rows 0.00 to 29.33 by 0.667, columns 12.00 to 31.33 by 0.667
#   0.42.1, Hunyuan-DiT, 1024×1024: rows 0.00 to 31.50 by 0.500, columns 0.00 to 31.50 by 0.500
#   0.42.1, Hunyuan-DiT, 768×1280: rows 6.00 to 24.48 by 0.393, columns 0.00 to 31.60 by 0.400
#   0.42.1, Hunyuan-DiT, 256×1024: rows 12.00 to 18.75 by 0.450, columns 0.00 to 31.50 by 0.500
#   0.42.1, CogVideoX, 480×720: rows 0.00 to 29.00 by 1.000, columns 0.00 to 44.00 by 1.000
#   0.42.1, CogVideoX, 720×480: rows 0.00 to 29.33 by 0.667, columns 12.00 to 30.93 by 0.653
#   0.42.1, stop + start / (n - 1), 256×1024: rows 12.00 to 19.50 by 0.500, columns 0.00 to 31.50 by 0.500
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet diffusers==0.42.1 torch==2.13.0 numpy==2.3.5
"$folder/venv/bin/pip" install --quiet --no-deps --target "$folder/0.31.0" diffusers==0.31.0
cat > "$folder/seen.py" <<'PYTHON'
import diffusers
import numpy as np
import torch
from diffusers.models.embeddings import get_2d_rotary_pos_embed, get_3d_rotary_pos_embed


def places(embedding, channel, start):
    cosine, sine = (torch.as_tensor(part)[..., channel].double() for part in embedding)
    angles = np.unwrap(torch.atan2(sine, cosine).numpy())
    # An angle says a position up to whole turns.
    return angles + 2 * np.pi * round((start - angles[0]) / (2 * np.pi))


def show(name, embedding, crop, grid, row_channel, column_channel):
    cosine, sine = (torch.as_tensor(part).reshape(*grid, -1) for part in embedding)
    rows = places((cosine[:, 0], sine[:, 0]), row_channel, crop[0][0])
    columns = places((cosine[0], sine[0]), column_channel, crop[0][1])
    found = [f"{line[0]:.2f} to {line[-1]:.2f} by {line[1] - line[0]:.3f}" for line in (rows, columns)]
    print(f"{diffusers.__version__}, {name}: rows {found[0]}, columns {found[1]}")


for name, crop, grid in (
    ("1024×1024", ((0, 0), (32, 32)), (64, 64)),
    ("768×1280", ((6, 0), (25, 32)), (48, 80)),
    ("256×1024", ((12, 0), (20, 32)), (16, 64)),
):
    # 88 channels: the first half turns by the column, the second by the row.
    show(f"Hunyuan-DiT, {name}", get_2d_rotary_pos_embed(88, crop, grid), crop, grid, 44, 0)
for name, crop, grid in (
    ("480×720", ((0, 0), (30, 45)), (30, 45)),
    ("720×480", ((0, 12), (30, 32)), (45, 30)),
):
    # 64 channels: 16 turn by the frame, 24 by the row and 24 by the column.
    show(f"CogVideoX, {name}", get_3d_rotary_pos_embed(64, crop, grid, 1), crop, grid, 16, 40)
if diffusers.__version__ == "0.42.1":
    crop, grid = ((12, 0), (20 + 12 / 15, 32)), (16, 64)
    show("stop + start / (n - 1), 256×1024", get_2d_rotary_pos_embed(88, crop, grid), crop, grid, 44, 0)
PYTHON
{
  PYTHONPATH="$folder/0.31.0" "$folder/venv/bin/python" -W ignore "$folder/seen.py" 2> /dev/null
  "$folder/venv/bin/python" -W ignore "$folder/seen.py" 2> /dev/null
} | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
0.31.0, Hunyuan-DiT, 1024×1024: rows 0.00 to 31.50 by 0.500, columns 0.00 to 31.50 by 0.500
0.31.0, Hunyuan-DiT, 768×1280: rows 6.00 to 24.60 by 0.396, columns 0.00 to 31.60 by 0.400
0.31.0, Hunyuan-DiT, 256×1024: rows 12.00 to 19.50 by 0.500, columns 0.00 to 31.50 by 0.500
0.31.0, CogVideoX, 480×720: rows 0.00 to 29.00 by 1.000, columns 0.00 to 44.00 by 1.000
0.31.0, CogVideoX, 720×480: rows 0.00 to 29.33 by 0.667, columns 12.00 to 31.33 by 0.667
0.42.1, Hunyuan-DiT, 1024×1024: rows 0.00 to 31.50 by 0.500, columns 0.00 to 31.50 by 0.500
0.42.1, Hunyuan-DiT, 768×1280: rows 6.00 to 24.48 by 0.393, columns 0.00 to 31.60 by 0.400
0.42.1, Hunyuan-DiT, 256×1024: rows 12.00 to 18.75 by 0.450, columns 0.00 to 31.50 by 0.500
0.42.1, CogVideoX, 480×720: rows 0.00 to 29.00 by 1.000, columns 0.00 to 44.00 by 1.000
0.42.1, CogVideoX, 720×480: rows 0.00 to 29.33 by 0.667, columns 12.00 to 30.93 by 0.653
0.42.1, stop + start / (n - 1), 256×1024: rows 12.00 to 19.50 by 0.500, columns 0.00 to 31.50 by 0.500
SEEN
echo "as described"

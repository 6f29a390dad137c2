#!/usr/bin/env bash
# Library:    timm 1.0.31 beside transformers 5.24.0, with PyTorch 2.13.0 (CPU build): a ViT's learned positions taken to
#             another grid (timm.layers.resample_abs_pos_embed, ViTModel with interpolate_pos_encoding=True).
# Behaviour:  Both say bicubic. timm asks PyTorch for antialiasing, transformers does not. Smaller grids differ in kind:
#             timm averages over the positions that fall together, transformers picks among them. Larger grids differ
#             too, where nothing could alias, for with antialiasing PyTorch's cubic has another coefficient (-0.5 for
#             -0.75).
# Good guess: one checkpoint, one interpolation named bicubic: one table of positions in both libraries.
# Who is hurt: whoever compares resolutions of one pretrained ViT across the two libraries, and whoever trains in one and
#             evaluates small pictures in the other.
# Output seen (14 × 14 positions to a grid of so many; distance of the tables by the norm of timm's):
#   smooth table (sines of up to 3 periods): 7: 17 %, 10: 7 %, 14: 0 %, 20: 4 %, 28: 4 %
#   rough table (independent numbers): 7: 93 %, 10: 61 %, 14: 0 %, 20: 9 %, 28: 9 %
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet timm==1.0.31 transformers==5.24.0 torch==2.13.0 torchvision==0.28.0 numpy==2.3.5
cat > "$folder/seen.py" <<'PYTHON'
import math

import torch

try:
    import torchvision
except RuntimeError:
    # Its build for CUDA lacks its operators beside a CPU build of PyTorch; none of them is used here.
    library = torch.library.Library("torchvision", "FRAGMENT")
    for operator in ("nms", "qnms"):
        library.define(f"{operator}(Tensor boxes, Tensor scores, float threshold) -> Tensor")

from timm.layers import resample_abs_pos_embed
from transformers import ViTConfig, ViTModel

torch.manual_seed(0)
sizes = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
embeddings = ViTModel(ViTConfig(image_size=224, patch_size=16, **sizes)).embeddings
rough = torch.randn(1, 197, 32)
row, column = torch.meshgrid(torch.arange(14.0), torch.arange(14.0), indexing="ij")
turns = (torch.arange(16) + 1) * 3 / 16 * 2 * math.pi / 14
waves = torch.sin(torch.cat([row.reshape(-1, 1) * turns, column.reshape(-1, 1) * turns], 1))
smooth = torch.cat([torch.zeros(1, 32), waves])[None]
with torch.no_grad():
    tables = {"smooth table (sines of up to 3 periods)": smooth, "rough table (independent numbers)": rough}
    for name, table in tables.items():
        embeddings.position_embeddings.copy_(table)
        found = []
        for side in (7, 10, 14, 20, 28):
            other = embeddings.interpolate_pos_encoding(torch.zeros(1, side * side + 1, 32), 16 * side, 16 * side)
            own = resample_abs_pos_embed(table, [side, side])
            found.append(f"{side}: {float((other - own).norm() / own.norm()):.0%}".replace("%", " %"))
        print(f"{name}: {', '.join(found)}")
PYTHON
"$folder/venv/bin/python" -W ignore "$folder/seen.py" 2> /dev/null | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
smooth table (sines of up to 3 periods): 7: 17 %, 10: 7 %, 14: 0 %, 20: 4 %, 28: 4 %
rough table (independent numbers): 7: 93 %, 10: 61 %, 14: 0 %, 20: 9 %, 28: 9 %
SEEN
echo "as described"

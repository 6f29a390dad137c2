#!/usr/bin/env bash
# Library:    transformers 5.24.0 with PyTorch 2.13.0 (CPU build), VJEPA2Model, whose positions are RoPE of time, row and
#             column.
# Behaviour:  Time, row and column of a token are counted off from its number by the grid that the configuration has
#             (crop_size), whatever the size of the clip. A frame of 24×24 patches in a model of 16×16 fills two frames
#             and a quarter; an upright one has two of its rows in each row; two flat ones make one frame. Any size is
#             taken, and nothing is said.
# Good guess: RoPE has no table, and so no size: the embedding of the patches knows how many rows and columns there are.
#             The authors' code gives attention both numbers, and DINOv3ViTModel beside it reads them off the picture.
# Who is hurt: whoever tries sizes and shapes on V-JEPA 2: at the trained one all is well, at others neighbours stand
#             apart and strangers side by side, and what is lost is blamed on RoPE or on the resolution. Longer and
#             shorter clips of the trained size are right.
# Way out:    crop_size of the clip in the configuration, where it is square.
# Output seen (configuration of 256×256, patches of 16, 8 times; tokens whose time, row and column are theirs):
#   256×256: right 100 %; time 1, row 1, column 1 stands at time 1, row 1, column 1
#   384×384: right 0 %; time 1, row 1, column 1 stands at time 2, row 5, column 9
#   256×128: right 1 %; time 1, row 1, column 1 stands at time 0, row 8, column 9
#   128×256: right 12 %; time 1, row 1, column 1 stands at time 0, row 9, column 1
#   384×384, crop_size 384: right 100 %; time 1, row 1, column 1 stands at time 1, row 1, column 1
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet transformers==5.24.0 torch==2.13.0 numpy==2.3.5
cat > "$folder/seen.py" <<'PYTHON'
import torch
from transformers import VJEPA2Config, VJEPA2Model

torch.set_grad_enabled(False)
sizes = {"hidden_size": 48, "num_attention_heads": 2, "num_hidden_layers": 1, "mlp_ratio": 1.0}
sizes |= {"pred_hidden_size": 24, "pred_num_attention_heads": 2, "pred_num_hidden_layers": 1}
for height, width, crop in ((256, 256, 256), (384, 384, 256), (256, 128, 256), (128, 256, 256), (384, 384, 384)):
    torch.manual_seed(0)
    model = VJEPA2Model(VJEPA2Config(crop_size=crop, frames_per_clip=16, **sizes)).eval()
    attention = model.encoder.layer[0].attention
    seen = []
    asked = attention.get_position_ids
    attention.get_position_ids = lambda *given, **named: seen.append(asked(*given, **named)) or seen[-1]
    tokens = model(torch.zeros(1, 16, 3, height, width), skip_predictor=True).last_hidden_state.shape[1]
    grid = (8, height // 16, width // 16)
    own = torch.stack(torch.meshgrid(*map(torch.arange, grid), indexing="ij"), -1).reshape(-1, 3)
    found = torch.stack([axis.reshape(-1).long() for axis in seen[0]], -1)
    assert len(own) == len(found) == tokens
    right = float((own == found).all(1).float().mean())
    number = grid[1] * grid[2] + grid[2] + 1
    time, row, column = found[number].tolist()
    name = f"{height}×{width}" + (f", crop_size {crop}" if crop != 256 else "")
    print(f"{name}: right {100 * right:.0f} %; time 1, row 1, column 1 stands at time {time}, row {row}, column {column}")
PYTHON
"$folder/venv/bin/python" -W ignore "$folder/seen.py" 2> /dev/null | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
256×256: right 100 %; time 1, row 1, column 1 stands at time 1, row 1, column 1
384×384: right 0 %; time 1, row 1, column 1 stands at time 2, row 5, column 9
256×128: right 1 %; time 1, row 1, column 1 stands at time 0, row 8, column 9
128×256: right 12 %; time 1, row 1, column 1 stands at time 0, row 9, column 1
384×384, crop_size 384: right 100 %; time 1, row 1, column 1 stands at time 1, row 1, column 1
SEEN
echo "as described"

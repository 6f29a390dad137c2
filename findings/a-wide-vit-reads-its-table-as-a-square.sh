#!/usr/bin/env bash
# Library:    transformers 5.24.0 with PyTorch 2.13.0 (CPU build): ViT, DeiT, ViT-MSN, I-JEPA and DINOv2 made for
#             pictures that are not square, called with interpolate_pos_encoding=True.
# Behaviour:  Whenever a picture's height and width differ, the learned table is resampled, and taken for a square of
#             as many positions, whatever image_size the configuration has. A model of 9×16 patches reads its table as
#             12×12, one of 4×16 as 8×8, also on pictures of the very size that it was trained on: rows are cut where
#             they were not, and what stands side by side was not so in training. A number of patches that is no
#             square fails; one that is says nothing.
# Good guess: the option leaves pictures of the trained size alone, as it does for square ones, and stretches the grid
#             that the configuration names for others.
# Who is hurt: whoever trains on film frames, spectrograms or lines of text and compares sizes by the option: all of
#             them, the trained one included, are measured with positions that the model was not trained with, and a
#             learned table looks as if it did not carry over.
# Output seen (patches of 16; a table that holds the number of its row and of its column, and how far what is read off
# for a picture lies from straight stretching of the grid):
#   ViT of 128×128, output changed by the option: none
#   ViT of 128×128 on 128×128: row off by 0.0, column by 0.0
#   ViT of 128×128 on 256×256: row off by 0.1, column by 0.1
#   ViT of 144×256, output changed by the option: above 1
#   ViT of 144×256 on 144×256: row off by 0.6, column by 11.4
#   ViT of 144×256 on 288×512: row off by 0.7, column by 13.1
#   ViT of 64×256, output changed by the option: above 1
#   ViT of 64×256 on 64×256: row off by 0.1, column by 4.6
#   ViT of 64×256 on 128×512: row off by 0.2, column by 7.9
#   DeiTModel of 64×256 on 64×256: row off by 0.1, column by 4.6
#   ViTMSNModel of 64×256 on 64×256: row off by 0.1, column by 4.6
#   IJepaModel of 64×256 on 64×256: row off by 0.1, column by 4.6
#   Dinov2Model of 64×256 on 64×256: row off by 0.1, column by 4.6
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet transformers==5.24.0 torch==2.13.0 numpy==2.3.5
cat > "$folder/seen.py" <<'PYTHON'
import numpy as np
import torch
from transformers import DeiTConfig, DeiTModel, Dinov2Config, Dinov2Model, IJepaConfig, IJepaModel
from transformers import ViTConfig, ViTModel, ViTMSNConfig, ViTMSNModel

torch.manual_seed(0)
torch.set_grad_enabled(False)
sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2, "patch_size": 16}


def straight(count, trained):
    """Where the centres of `count` patches stand on a grid of `trained` patches over the same picture."""
    return np.clip((np.arange(count) + 0.5) * trained / count - 0.5, 0, trained - 1)


def errors(model, size, picture):
    """Largest errors of the rows and columns that the embedding of a picture reads off a table of rows and columns."""
    embeddings, grid = model.embeddings, [side // 16 for side in size]
    table = embeddings.position_embeddings
    prefix = table.shape[1] - grid[0] * grid[1]
    table.zero_()
    row, column = np.indices(grid).reshape(2, -1)
    table[0, prefix:, 0], table[0, prefix:, 1] = torch.tensor(row), torch.tensor(column)
    height, width = (side // 16 for side in picture)
    tokens = torch.zeros(1, prefix + height * width, 32)
    found = embeddings.interpolate_pos_encoding(tokens, *picture)[0, prefix:, :2].reshape(height, width, 2).numpy()
    rows = abs(found[..., 0] - straight(height, grid[0])[:, None]).max()
    columns = abs(found[..., 1] - straight(width, grid[1])[None]).max()
    return f"row off by {rows:.1f}, column by {columns:.1f}"


def change(model, size):
    model.embeddings.position_embeddings.normal_()
    picture = torch.randn(1, 3, *size)
    plain = model(picture).last_hidden_state
    off = float((model(picture, interpolate_pos_encoding=True).last_hidden_state - plain).abs().max())
    return "none" if off == 0 else "above 1" if off > 1 else f"{off:.0e}"


for size in ((128, 128), (144, 256), (64, 256)):
    name = "×".join(map(str, size))
    model = ViTModel(ViTConfig(image_size=size, **sizes)).eval()
    print(f"ViT of {name}, output changed by the option: {change(model, size)}")
    for factor in (1, 2):
        picture = [factor * side for side in size]
        print(f"ViT of {name} on {'×'.join(map(str, picture))}: {errors(model, size, picture)}")
for configuration, made in (
    (DeiTConfig, DeiTModel),
    (ViTMSNConfig, ViTMSNModel),
    (IJepaConfig, IJepaModel),
    (Dinov2Config, Dinov2Model),
):
    model = made(configuration(image_size=(64, 256), **sizes)).eval()
    print(f"{made.__name__} of 64×256 on 64×256: {errors(model, (64, 256), (64, 256))}")
PYTHON
"$folder/venv/bin/python" -W ignore "$folder/seen.py" 2> /dev/null | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
ViT of 128×128, output changed by the option: none
ViT of 128×128 on 128×128: row off by 0.0, column by 0.0
ViT of 128×128 on 256×256: row off by 0.1, column by 0.1
ViT of 144×256, output changed by the option: above 1
ViT of 144×256 on 144×256: row off by 0.6, column by 11.4
ViT of 144×256 on 288×512: row off by 0.7, column by 13.1
ViT of 64×256, output changed by the option: above 1
ViT of 64×256 on 64×256: row off by 0.1, column by 4.6
ViT of 64×256 on 128×512: row off by 0.2, column by 7.9
DeiTModel of 64×256 on 64×256: row off by 0.1, column by 4.6
ViTMSNModel of 64×256 on 64×256: row off by 0.1, column by 4.6
IJepaModel of 64×256 on 64×256: row off by 0.1, column by 4.6
Dinov2Model of 64×256 on 64×256: row off by 0.1, column by 4.6
SEEN
echo "as described"

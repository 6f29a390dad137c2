#!/usr/bin/env bash
# Library:    vit-pytorch 1.26.14 with PyTorch 2.13.0 (CPU build), ViT, whose README allows pictures smaller than
#             image_size that are not square, and shows an upright one.
# Behaviour:  A picture of n patches gets the first n rows of the table of positions, which counts the grid of
#             image_size row by row. A picture of full width has its own rows and columns. One of half the width has
#             two of its rows in each row of the grid: of 8×4 patches 4 stand where they belong, and every second row
#             begins in the middle.
# Good guess: a patch has the position of its row and column in the grid, whatever the picture's shape, or one
#             stretched to it; half a picture, upright or flat, is half of the grid.
# Who is hurt: whoever trains on one shape and evaluates others, or trains on a mixture: flat pictures keep their
#             positions, upright ones and smaller squares do not, and the scores are blamed on learned positions or on
#             resolution. Shapes fit, and nothing is printed.
# Output seen (image_size 256, patches of 32, a table that holds the number of its row and of its column):
#   height 256, width 256: 64 of 64 right; row 1, column 0 stands at row 1, column 0
#   height 128, width 256: 32 of 32 right; row 1, column 0 stands at row 1, column 0
#   height 256, width 128: 4 of 32 right; row 1, column 0 stands at row 0, column 4
#   height 128, width 128: 4 of 16 right; row 1, column 0 stands at row 0, column 4
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet vit-pytorch==1.26.14 torch==2.13.0 torchvision==0.28.0 numpy==2.3.5
cat > "$folder/seen.py" <<'PYTHON'
import numpy as np
import torch

try:
    import torchvision
except RuntimeError:
    # Its build for CUDA lacks its operators beside a CPU build of PyTorch; none of them is used here.
    library = torch.library.Library("torchvision", "FRAGMENT")
    for operator in ("nms", "qnms"):
        library.define(f"{operator}(Tensor boxes, Tensor scores, float threshold) -> Tensor")

from vit_pytorch import ViT

torch.manual_seed(0)
torch.set_grad_enabled(False)
model = ViT(image_size=256, patch_size=32, num_classes=2, dim=16, depth=1, heads=1, mlp_dim=16).eval()
row, column = np.indices((8, 8)).reshape(2, -1)
model.pos_embedding.zero_()
model.pos_embedding[1:, 0], model.pos_embedding[1:, 1] = torch.tensor(row), torch.tensor(column)
# With patches and class token at zero the layers are given positions alone.
model.cls_token.zero_()
model.to_patch_embedding[-1].weight.zero_()
model.to_patch_embedding[-1].bias.zero_()
given = []
model.transformer.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0][0, 1:, :2]))
for height, width in ((256, 256), (128, 256), (256, 128), (128, 128)):
    model(torch.randn(1, 3, height, width))
    rows, columns = height // 32, width // 32
    found = given.pop().reshape(rows, columns, 2).numpy().round().astype(int)
    wanted = np.stack(np.indices((rows, columns)), -1)
    right = int((found == wanted).all(-1).sum())
    below = "row {}, column {}".format(*found[1, 0])
    print(f"height {height}, width {width}: {right} of {rows * columns} right; row 1, column 0 stands at {below}")
PYTHON
"$folder/venv/bin/python" -W ignore "$folder/seen.py" 2> /dev/null | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
height 256, width 256: 64 of 64 right; row 1, column 0 stands at row 1, column 0
height 128, width 256: 32 of 32 right; row 1, column 0 stands at row 1, column 0
height 256, width 128: 4 of 32 right; row 1, column 0 stands at row 0, column 4
height 128, width 128: 4 of 16 right; row 1, column 0 stands at row 0, column 4
SEEN
echo "as described"

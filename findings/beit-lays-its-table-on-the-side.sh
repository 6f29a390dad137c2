#!/usr/bin/env bash
# Library:    transformers 5.24.0 with PyTorch 2.13.0 (CPU build), BeitModel and Data2VecVisionModel made for pictures
#             that are not square, with use_relative_position_bias=True.
# Behaviour:  The table has one number for each offset, counted row by row. At every call, also at the trained size, it is
#             read as one of as many rows as it has columns, and stretched to the rows and columns that it has: for 8×16
#             patches 15×31 numbers are taken for 31×15. The bias of an offset is then a mean of the numbers of other
#             ones; 1 pair of patches in 100 has its own. For square pictures nothing is stretched.
# Good guess: a pair of patches has the number of its offset, as the index beside the table says, and a picture of the
#             trained size leaves the table alone.
# Who is hurt: whoever trains BEiT on spectrograms, lines of text or film frames as the row with relative positions:
#             a number serves several offsets, some serve none, and losses fall all the same. And whoever loads weights
#             from elsewhere, plots the table, or takes it to another size.
# Output seen (right: pairs of patches whose bias is the table's number for their offset, at the trained size):
#   BeitModel, 128×128: right 100 %
#   BeitModel, 128×256: right 1 %
#   BeitModel, 256×128: right 1 %
#   BeitModel, 64×256: right 2 %
#   Data2VecVisionModel, 128×128: right 100 %
#   Data2VecVisionModel, 128×256: right 1 %
#   Data2VecVisionModel, 256×128: right 1 %
#   Data2VecVisionModel, 64×256: right 2 %
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet transformers==5.24.0 torch==2.13.0 numpy==2.3.5
cat > "$folder/seen.py" <<'PYTHON'
import torch
from transformers import BeitConfig, BeitModel, Data2VecVisionConfig, Data2VecVisionModel

torch.set_grad_enabled(False)
torch.manual_seed(0)
sizes = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
for configuration, made in ((BeitConfig, BeitModel), (Data2VecVisionConfig, Data2VecVisionModel)):
    for height, width in ((128, 128), (128, 256), (256, 128), (64, 256)):
        config = configuration(image_size=(height, width), use_relative_position_bias=True, **sizes)
        model = made(config).eval()
        (bias,) = (each for each in model.modules() if type(each).__name__.endswith("RelativePositionBias"))
        table = bias.relative_position_bias_table
        table.normal_()
        seen = []
        bias.register_forward_hook(lambda module, given, found: seen.append(found))
        model(torch.zeros(1, 3, height, width))

        rows, columns = height // 16, width // 16
        row, column = torch.arange(rows * columns) // columns, torch.arange(rows * columns) % columns
        down, right = row[:, None] - row + rows - 1, column[:, None] - column + columns - 1
        own = table[:-3].unflatten(0, (2 * rows - 1, 2 * columns - 1))[down, right].movedim(-1, 0)
        # The first token is that of the class.
        alike = float(((seen[0][0][:, 1:, 1:] - own).abs() < 1e-4).float().mean())
        print(f"{made.__name__}, {height}×{width}: right {100 * alike:.0f} %")
PYTHON
"$folder/venv/bin/python" -W ignore "$folder/seen.py" 2> /dev/null | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
BeitModel, 128×128: right 100 %
BeitModel, 128×256: right 1 %
BeitModel, 256×128: right 1 %
BeitModel, 64×256: right 2 %
Data2VecVisionModel, 128×128: right 100 %
Data2VecVisionModel, 128×256: right 1 %
Data2VecVisionModel, 256×128: right 1 %
Data2VecVisionModel, 64×256: right 2 %
SEEN
echo "as described"

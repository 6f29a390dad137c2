#!/usr/bin/env bash
# Library:    MONAI 1.6.1 (SwinUNETR) and torchvision 0.28.0 (swin3d_t), with PyTorch 2.13.0 (CPU build).
# Behaviour:  Swin has one number for each offset between two tokens of a window. Where a volume is smaller than the
#             window, the window is cut to it, and both libraries read the first rows and columns of the whole
#             window's index. That is right where the first axis alone is cut, as for a video of few frames. Cut on
#             the other axes as well, tokens are taken for others: of a window of 7×7×7 cut to 6×6×6, as in the last
#             stage of SwinUNETR on volumes of 96×96×96, 2 pairs of 100 get the number of their offset, all of them in
#             one line of the last axis.
# Good guess: a relative bias depends on the offset, and a smaller window uses the inner part of the table.
# Who is hurt: whoever trains on volumes of 96 and infers on 128, where the window is whole and the last stage reads
#             the same table in another way; whoever takes weights to volumes or clips of another size; and whoever
#             plots the table, or reports relative positions in a stage that has none. A training by itself does not
#             show it, as the numbers are learnt for the pairs that share them.
# Output seen (right: pairs of tokens whose bias, by the weights of a block with queries of zero, is the table's
# number for their offset):
#   MONAI, SwinUNETR on 96×96×96: tokens of a window by stage 343, 343, 343, 216
#   MONAI, SwinUNETR on 128×128×128: tokens of a window by stage 343, 343, 343, 343
#   MONAI, 7×7×7: right 100 %
#   MONAI, 7×7×7 cut to 4×7×7: right 100 %
#   MONAI, 7×7×7 cut to 6×6×6: right 2 %
#   MONAI, 7×7×7 cut to 4×4×4: right 5 %
#   torchvision, swin3d_t on 16 frames of 112×112: smallest map 8×4×4, window 8×7×7
#   torchvision, 8×7×7 cut to 4×7×7: right 100 %
#   torchvision, 8×7×7 cut to 8×4×4: right 3 %
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet monai==1.6.1 einops==0.8.2 torch==2.13.0 torchvision==0.28.0 numpy==2.3.5
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

from monai.networks.nets import SwinUNETR
from monai.networks.nets.swin_unetr import WindowAttention
from torchvision.models.video import swin3d_t
from torchvision.models.video.swin_transformer import ShiftedWindowAttention3d

torch.manual_seed(0)
torch.set_grad_enabled(False)


def weights(attention, shape, call):
    """The attention weights of a block whose queries are zero and whose values are one-hot."""
    tokens = int(np.prod(shape))
    attention.relative_position_bias_table.normal_()
    attention.qkv.weight.zero_()
    attention.qkv.weight[2 * tokens :] = torch.eye(tokens)
    attention.proj.weight.copy_(torch.eye(tokens))
    for linear in (attention.qkv, attention.proj):
        if linear.bias is not None:
            linear.bias.zero_()
    return call(torch.eye(tokens)).reshape(tokens, tokens).double().numpy()


def right(attention, window, shape, call):
    """The share of pairs whose bias, up to a constant of the query, is that of Liu et al. 2021 for their offset."""
    found = np.log(weights(attention, shape, call))
    table = attention.relative_position_bias_table[:, 0].double().numpy().reshape(2 * np.array(window) - 1)
    places = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1).reshape(-1, 3)
    offsets = places[:, None] - places[None] + np.array(window) - 1
    wanted = table[offsets[..., 0], offsets[..., 1], offsets[..., 2]]
    error = (found - np.diag(found)[:, None]) - (wanted - np.diag(wanted)[:, None])
    return f"right {100 * np.mean(abs(error) < 1e-3):.0f} %"


def by(sizes):
    return "×".join(map(str, sizes))


counts = []
model = SwinUNETR(in_channels=1, out_channels=2, feature_size=12, spatial_dims=3).eval()
for module in model.modules():
    if isinstance(module, WindowAttention):
        module.register_forward_pre_hook(lambda _, given: counts.append(given[0].shape[1]))
for side in (96, 128):
    counts.clear()
    model(torch.randn(1, 1, side, side, side))
    # Each stage has two blocks.
    print(f"MONAI, SwinUNETR on {by([side] * 3)}: tokens of a window by stage", ", ".join(map(str, counts[::2])))
whole = (7, 7, 7)
for shape in (whole, (4, 7, 7), (6, 6, 6), (4, 4, 4)):
    tokens = int(np.prod(shape))
    attention = WindowAttention(tokens, 1, whole)
    found = right(attention, whole, shape, lambda x: attention(x[None], None))
    cut = "" if shape == whole else f" cut to {by(shape)}"
    print(f"MONAI, {by(whole)}{cut}: {found}")

maps = []
model = swin3d_t().eval()
for module in model.modules():
    if isinstance(module, ShiftedWindowAttention3d):
        module.register_forward_pre_hook(lambda own, given: maps.append((given[0].shape[1:4], own.window_size)))
model(torch.randn(1, 3, 16, 112, 112))
smallest, window = min(maps, key=lambda one: np.prod(one[0]))
print(f"torchvision, swin3d_t on 16 frames of 112×112: smallest map {by(smallest)}, window {by(window)}")
whole = [8, 7, 7]
for shape in ((4, 7, 7), (8, 4, 4)):
    tokens = int(np.prod(shape))
    attention = ShiftedWindowAttention3d(tokens, whole, [0, 0, 0], 1)
    found = right(attention, whole, shape, lambda x: attention(x.reshape(1, *shape, tokens)))
    print(f"torchvision, {by(whole)} cut to {by(shape)}: {found}")
PYTHON
"$folder/venv/bin/python" -W ignore "$folder/seen.py" 2> /dev/null | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
MONAI, SwinUNETR on 96×96×96: tokens of a window by stage 343, 343, 343, 216
MONAI, SwinUNETR on 128×128×128: tokens of a window by stage 343, 343, 343, 343
MONAI, 7×7×7: right 100 %
MONAI, 7×7×7 cut to 4×7×7: right 100 %
MONAI, 7×7×7 cut to 6×6×6: right 2 %
MONAI, 7×7×7 cut to 4×4×4: right 5 %
torchvision, swin3d_t on 16 frames of 112×112: smallest map 8×4×4, window 8×7×7
torchvision, 8×7×7 cut to 4×7×7: right 100 %
torchvision, 8×7×7 cut to 8×4×4: right 3 %
SEEN
echo "as described"

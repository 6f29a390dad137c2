#!/usr/bin/env bash
# Library:    vit-pytorch 1.26.14 with PyTorch 2.13.0 (CPU build), CrossFormer, whose relative positions are a small
#             network of the offset of two tokens, the "dynamic position bias" (Wang et al. 2022).
# Behaviour:  The network is asked about 2w + 1 rows and columns of offsets, from -w to w, and its answers are read by
#             an index that counts 2w - 1. No pair of tokens gets the answer for its own offset: a token stands at
#             (-2, 2) from itself, one a row farther at (-1, 0), and in a window of 7 one at the other end of the row at
#             (-1, -7). Shapes fit, as the index has room in the larger table, and equal offsets have equal answers.
# Good guess: the bias of a pair is the network's answer for its offset, so that windows of two sizes ask for an offset
#             alike, and what is near in the picture is near for the network. MaxViT in the same package has that index
#             on a table of 2w - 1 rows.
# Who is hurt: whoever compares a bias that is a function of the offset with a table of numbers by this model: it has a
#             jump in nearly every row of offsets, which the network must learn. And whoever takes weights to another
#             window, where nearly half of the offsets are other ones, or plots what was learnt. Losses fall all the
#             same.
# Way out:    layer.rel_pos_indices computed for 2w + 1 columns, from w on, in each of its attention layers.
# Output seen (an untrained model; offsets in rows and columns, and what the network is given for them):
#   window of 1: 0 of 1 pairs have the answer for their offset
#   window of 2: 0 of 16 pairs have the answer for their offset
#   window of 4: 0 of 256 pairs have the answer for their offset
#   window of 7: 0 of 2401 pairs have the answer for their offset
#   window of 8: 0 of 4096 pairs have the answer for their offset
#   window of 7: (0, 0) as (-2, 2), (1, 0) as (-1, 0), (0, 6) as (-1, -7)
#   windows of 7 and 14: 95 of 169 offsets are given alike
#   a network that prefers what is near: row 3, column 3 attends most to row 1, column 1
#   the same, with an index for 2w + 1 columns: row 3, column 3 attends most to row 3, column 3
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet vit-pytorch==1.26.14 torch==2.13.0 torchvision==0.28.0 numpy==2.3.5
cat > "$folder/seen.py" <<'PYTHON'
import torch

try:
    import torchvision
except RuntimeError:
    # Its build for CUDA lacks its operators beside a CPU build of PyTorch; none of them is used here.
    library = torch.library.Library("torchvision", "FRAGMENT")
    for operator in ("nms", "qnms"):
        library.define(f"{operator}(Tensor boxes, Tensor scores, float threshold) -> Tensor")

from vit_pytorch.crossformer import Attention, CrossFormer

torch.set_grad_enabled(False)


def offsets(window):
    places = torch.cartesian_prod(torch.arange(window), torch.arange(window))
    return places[:, None] - places


def given(local, size):
    """What the network is given for each pair of tokens, by the size of the window."""
    model = CrossFormer(dim=(32,) * 4, depth=(1,) * 4, local_window_size=local).eval()
    layers = [each for each in model.modules() if isinstance(each, Attention)]
    asked = {layer.dpb: layer for layer in layers}
    found = {}

    def keep(network, arguments):
        layer = asked[network]
        found[layer.window_size] = arguments[0].long()[layer.rel_pos_indices]

    for network in asked:
        network.register_forward_pre_hook(keep)
    model(torch.zeros(1, 3, size, size))
    return found


def by_offset(found, window):
    pairs = zip(offsets(window).flatten(0, 1).tolist(), found.flatten(0, 1).tolist())
    return {tuple(own): tuple(other) for own, other in pairs}


narrow = given(7, 224)
for window, found in sorted(narrow.items()):
    right = (found == offsets(window)).all(-1)
    print(f"window of {window}: {int(right.sum())} of {right.numel()} pairs have the answer for their offset")
seven, fourteen = by_offset(narrow[7], 7), by_offset(given(14, 448)[14], 14)
print("window of 7:", ", ".join(f"{own} as {seven[own]}" for own in ((0, 0), (1, 0), (0, 6))))
alike = sum(fourteen[own] == other for own, other in seven.items())
print(f"windows of 7 and 14: {alike} of {len(seven)} offsets are given alike")


class Nearness(torch.nn.Module):
    def forward(self, places):
        return -places.norm(dim=-1)


layer = Attention(32, attn_type="short", window_size=7).eval()
layer.dpb = Nearness()
# Queries and keys are zero, so that the bias alone decides.
layer.to_qkv.weight.zero_()


def attends(name):
    weights = []
    hook = layer.dropout.register_forward_hook(lambda module, arguments, found: weights.append(arguments[0]))
    layer(torch.zeros(1, 32, 7, 7))
    hook.remove()
    row, column = divmod(int(weights[0][0, 0, 3 * 7 + 3].argmax()), 7)
    print(f"{name}: row 3, column 3 attends most to row {row}, column {column}")


attends("a network that prefers what is near")
layer.rel_pos_indices = ((offsets(7) + 7) * torch.tensor([15, 1])).sum(-1)
attends("the same, with an index for 2w + 1 columns")
PYTHON
"$folder/venv/bin/python" -W ignore "$folder/seen.py" 2> /dev/null | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
window of 1: 0 of 1 pairs have the answer for their offset
window of 2: 0 of 16 pairs have the answer for their offset
window of 4: 0 of 256 pairs have the answer for their offset
window of 7: 0 of 2401 pairs have the answer for their offset
window of 8: 0 of 4096 pairs have the answer for their offset
window of 7: (0, 0) as (-2, 2), (1, 0) as (-1, 0), (0, 6) as (-1, -7)
windows of 7 and 14: 95 of 169 offsets are given alike
a network that prefers what is near: row 3, column 3 attends most to row 1, column 1
the same, with an index for 2w + 1 columns: row 3, column 3 attends most to row 3, column 3
SEEN
echo "as described"

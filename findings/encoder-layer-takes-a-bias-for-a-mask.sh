#!/usr/bin/env bash
# Library:    PyTorch 2.13.0 (CPU build), torch.nn.TransformerEncoderLayer with batch_first=True and `src_mask` of
#             floats.
# Behaviour:  In training, and wherever gradients are on, the numbers are added to the logits of attention. In eval()
#             under torch.no_grad() the layer takes its fast path, which turns them into truth values: whatever is not
#             zero is hidden. ALiBi is zero on the diagonal alone, so that every token attends to itself and to
#             nothing else. A learned bias has no zeros, hides everything and gives NaN (pytorch/pytorch#118628);
#             ALiBi gives numbers. Nothing is printed.
# Good guess: a mask of floats "will be added to the attention weight" (nn.Transformer), in evaluation as in training.
#             A causal mask of 0 and -inf comes out the same on both paths, so that the usual test passes; and
#             nn.MultiheadAttention by itself adds the numbers under no_grad as well.
# Who is hurt: whoever trains an encoder with ALiBi or another fixed bias on these layers: it learns with attention and
#             is evaluated without. Its score at every length is that of a model that sees one token.
# Way out:    torch.backends.mha.set_fastpath_enabled(False).
# Output seen (largest change of the outputs of 11 tokens when the one before them changes; outputs under no_grad
# against those with gradients):
#   ALiBi, gradients on: change above 0.01
#   ALiBi, no_grad: change below 1e-5, outputs differ by above 0.01
#   ALiBi, no_grad without the fast path: change above 0.01, outputs differ by below 1e-5
#   causal mask of 0 and -inf, no_grad: change above 0.01, outputs differ by below 1e-5
#   ALiBi and causal, no_grad: change below 1e-5, outputs differ by above 0.01
#   ALiBi, MultiheadAttention alone, no_grad: change above 0.01, outputs differ by below 1e-5
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.13.0 numpy==2.3.5
cat > "$folder/seen.py" <<'PYTHON'
import torch
from torch import nn

torch.manual_seed(0)
layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True).eval()
one = torch.randn(1, 12, 32)
other = one.clone()
other[:, 0] = torch.randn(32)
place = torch.arange(12)
alibi = -0.25 * (place[:, None] - place).abs()
causal = torch.full((12, 12), float("-inf")).triu(1)


def layer_alone(x, mask):
    return layer(x, src_mask=mask)


def attention_alone(x, mask):
    return layer.self_attn(x, x, x, attn_mask=mask, need_weights=False)[0]


def size(found):
    found = float(found.detach().abs().max())
    return "below 1e-5" if found < 1e-5 else "above 0.01" if found > 0.01 else f"{found:.0e}"


def change(module, mask):
    return size((module(one, mask) - module(other, mask))[:, 1:])


print(f"ALiBi, gradients on: change {change(layer_alone, alibi)}")
for name, module, mask, fast in (
    ("ALiBi, no_grad", layer_alone, alibi, True),
    ("ALiBi, no_grad without the fast path", layer_alone, alibi, False),
    ("causal mask of 0 and -inf, no_grad", layer_alone, causal, True),
    ("ALiBi and causal, no_grad", layer_alone, alibi + causal, True),
    ("ALiBi, MultiheadAttention alone, no_grad", attention_alone, alibi, True),
):
    with_gradients = module(one, mask)
    torch.backends.mha.set_fastpath_enabled(fast)
    with torch.no_grad():
        print(f"{name}: change {change(module, mask)}, outputs differ by {size(module(one, mask) - with_gradients)}")
PYTHON
"$folder/venv/bin/python" "$folder/seen.py" | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
ALiBi, gradients on: change above 0.01
ALiBi, no_grad: change below 1e-5, outputs differ by above 0.01
ALiBi, no_grad without the fast path: change above 0.01, outputs differ by below 1e-5
causal mask of 0 and -inf, no_grad: change above 0.01, outputs differ by below 1e-5
ALiBi and causal, no_grad: change below 1e-5, outputs differ by above 0.01
ALiBi, MultiheadAttention alone, no_grad: change above 0.01, outputs differ by below 1e-5
SEEN
echo "as described"

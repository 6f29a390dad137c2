#!/usr/bin/env bash
# Library:    SpeechBrain 1.1.2 with PyTorch 2.13.0 (CPU build): the attention types "regularMHA", "RelPosMHAXL" and
#             "RoPEMHA" of its Transformer and Conformer layers.
# Behaviour:  "regularMHA" divides the logits by the square root of a head's width. "RelPosMHAXL" and "RoPEMHA" divide
#             them by that of the model's width, whatever the number of heads. With 8 heads their logits are smaller by
#             a factor of 2.8, and a fresh layer attends that much more evenly; with 16 heads it is 4.
# Good guess: the three differ by where positions come in, and scale as the papers that they name do (Vaswani et al.
#             2017, Dai et al. 2019, Su et al. 2021): by a head's width. With one head they agree, so that a test of a
#             small layer passes.
# Who is hurt: whoever takes the three for three encodings on one model, as their names suggest: what the table says of
#             relative positions is said of a flatter softmax too, and a sweep over the number of heads changes the
#             temperature of one row alone. And whoever carries weights over from another library.
# Way out:    layer.self_att.scale = layer.self_att.head_dim ** -0.5.
# Output seen (512 channels; by what the product of a query and a key is divided, measured by the weights of two keys):
#   heads 1: regularMHA 22.6, RelPosMHAXL 22.6, RoPEMHA 22.6
#   heads 4: regularMHA 11.3, RelPosMHAXL 22.6, RoPEMHA 22.6
#   heads 8: regularMHA 8.0, RelPosMHAXL 22.6, RoPEMHA 22.6
#   heads 16: regularMHA 5.7, RelPosMHAXL 22.6, RoPEMHA 22.6
#   heads 8, scale set: regularMHA 8.0, RelPosMHAXL 8.0, RoPEMHA 8.0
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.13.0 numpy==2.3.5 scipy==1.16.3 hyperpyyaml==1.2.3 \
  huggingface_hub==2.4.0 packaging==26.4 requests==2.34.2 tqdm==4.70.1
# Its other requirements read and write sound.
"$folder/venv/bin/pip" install --quiet --no-deps speechbrain==1.1.2
cat > "$folder/seen.py" <<'PYTHON'
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType

import torch

# Asked for by the package as a whole, and not used by its attention.
sys.modules["torchaudio"] = ModuleType("torchaudio")
sys.modules["torchaudio"].__spec__ = ModuleSpec("torchaudio", None)
sys.modules["torchaudio"].__version__ = "2.11.0"
from speechbrain.lobes.models.transformer.Transformer import TransformerEncoderLayer  # noqa: E402

width = 512


@torch.no_grad()
def divisor(kind, heads, scaled):
    attention = TransformerEncoderLayer(64, heads, d_model=width, attention_type=kind).self_att
    if scaled and kind != "regularMHA":
        attention.scale = attention.head_dim**-0.5
    projections = getattr(attention, "att", attention)
    projections.in_proj_weight.copy_(torch.eye(width).repeat(3, 1))
    projections.out_proj.weight.copy_(torch.eye(width))
    projections.out_proj.bias.zero_()
    positions = {}
    if kind == "RelPosMHAXL":
        for bias in (attention.linear_pos.weight, attention.pos_bias_u, attention.pos_bias_v):
            bias.zero_()
        positions["pos_embs"] = torch.zeros(1, 3, width)
    query, key, value = torch.zeros(3, 1, 2, heads, width // heads)
    # In the slowest channel, which RoPE turns by nothing to speak of from one token to the next.
    query[..., -1], key[:, 1, :, -1], value[:, 1] = 1, 4, 1
    out, _ = attention(query.flatten(2), key.flatten(2), value.flatten(2), **positions)
    weight = out[0, 0].mean()
    return float(4 / torch.log(weight / (1 - weight)))


for heads, scaled in ((1, False), (4, False), (8, False), (16, False), (8, True)):
    found = (f"{kind} {divisor(kind, heads, scaled):.1f}" for kind in ("regularMHA", "RelPosMHAXL", "RoPEMHA"))
    print(f"heads {heads}{', scale set' if scaled else ''}: {', '.join(found)}")
PYTHON
"$folder/venv/bin/python" "$folder/seen.py" 2> /dev/null | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
heads 1: regularMHA 22.6, RelPosMHAXL 22.6, RoPEMHA 22.6
heads 4: regularMHA 11.3, RelPosMHAXL 22.6, RoPEMHA 22.6
heads 8: regularMHA 8.0, RelPosMHAXL 22.6, RoPEMHA 22.6
heads 16: regularMHA 5.7, RelPosMHAXL 22.6, RoPEMHA 22.6
heads 8, scale set: regularMHA 8.0, RelPosMHAXL 8.0, RoPEMHA 8.0
SEEN
echo "as described"

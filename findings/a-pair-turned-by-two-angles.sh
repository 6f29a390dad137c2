#!/usr/bin/env bash
# Library:    transformers 5.24.0 with PyTorch 2.13.0 (CPU build), VJEPA2Model, whose positions are RoPE of time, row and
#             column.
# Behaviour:  Channels are turned in pairs of neighbours, and the frequencies laid out for pairs of a first and a second
#             half: the two channels of a pair have different angles. That is no rotation. A vector's length changes
#             with its position, and a logit varies by two thirds as much with the place of the two tokens as with the
#             distance between them. The authors know of it and keep it for their weights (facebookresearch/vjepa2#15);
#             transformers keeps it without a word.
# Good guess: RoPE turns, keeps lengths, and makes a logit a function of the distance, as the layer's name says.
# Who is hurt: whoever studies RoPE on V-JEPA 2 (longer clips, larger pictures, what attention knows of distance), or
#             trains it anew as the row "3-D RoPE" of a comparison: it is another encoding. And whoever carries the
#             weights over to an attention whose RoPE is right: they were not trained with it.
# Output seen (1,000 random vectors as query and as key at 64 times, logits by the square of a vector's length: their
# deviation at one distance, and that of their means over the distances; beside one angle for each pair):
#   VJEPA2Model: length 0.83 to 1.13 of its own, logits vary by 0.04 with the place, by 0.06 with the distance
#   formula: length 1.00 to 1.00 of its own, logits vary by 0.00 with the place, by 0.06 with the distance
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet transformers==5.24.0 torch==2.13.0 numpy==2.3.5
cat > "$folder/seen.py" <<'PYTHON'
import torch
from transformers import VJEPA2Config, VJEPA2Model

torch.set_grad_enabled(False)
torch.manual_seed(0)
sizes = {"hidden_size": 128, "num_attention_heads": 2, "num_hidden_layers": 1, "pred_num_hidden_layers": 1}
model = VJEPA2Model(VJEPA2Config(pred_hidden_size=24, pred_num_attention_heads=2, **sizes)).eval()
attention = model.encoder.layer[0].attention
vectors = torch.randn(1000, attention.attention_head_size)
times, nothing = torch.arange(64), torch.zeros(64, dtype=torch.long)
# As many heads as vectors; the first channels are those of the time.
given = vectors[None, :, None].expand(1, -1, 64, -1)
turned = attention.apply_rotary_embeddings(given, (times, nothing, nothing))[0]

of_time = attention.d_dim
frequencies = 10000.0 ** -(torch.arange(0, of_time, 2) / of_time)
angles = torch.polar(torch.ones(64, of_time // 2), times[:, None] * frequencies)
pairs = torch.view_as_complex(given[0, ..., :of_time].unflatten(-1, (-1, 2)).contiguous())
formula = torch.cat([torch.view_as_real(pairs * angles).flatten(-2), given[0, ..., of_time:]], -1)

for name, found in (("VJEPA2Model", turned), ("formula", formula)):
    length = found.norm(dim=-1) / vectors.norm(dim=-1, keepdim=True)
    logits = found @ found.transpose(1, 2) / vectors.square().sum(-1)[:, None, None]
    alike = [logits.diagonal(distance, 1, 2) for distance in range(63)]
    place = float(torch.stack([each.std(1) for each in alike]).mean())
    distance = float(torch.stack([each.mean(1) for each in alike]).std(0).mean())
    print(
        f"{name}: length {float(length.min()):.2f} to {float(length.max()):.2f} of its own, logits vary by {place:.2f} "
        f"with the place, by {distance:.2f} with the distance"
    )
PYTHON
"$folder/venv/bin/python" -W ignore "$folder/seen.py" 2> /dev/null | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
VJEPA2Model: length 0.83 to 1.13 of its own, logits vary by 0.04 with the place, by 0.06 with the distance
formula: length 1.00 to 1.00 of its own, logits vary by 0.00 with the place, by 0.06 with the distance
SEEN
echo "as described"

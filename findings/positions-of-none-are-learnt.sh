#!/usr/bin/env bash
# Library:    MONAI 1.6.1 with PyTorch 2.13.0 (CPU build), ViT and MaskedAutoEncoderViT with pos_embed_type="none", and
#             what else is built on PatchEmbeddingBlock.
# Behaviour:  "none" makes the table of "learnable", of zeros instead of small random numbers, adds it to the patches,
#             and trains it. A fresh model has no positions; a trained one has learnt a number for each patch and
#             channel, as with "learnable".
# Good guess: "none" is a Transformer without positions, which cannot tell where a patch stands. "sincos" was trained
#             in the same way by mistake, and is no longer (Project-MONAI/MONAI#7564).
# Who is hurt: whoever takes "none" for the row without positions of an ablation: it is a second row of learned ones
#             with another start. Where it comes close to the others, positions are said to be worth little, by a model
#             that has them.
# Way out:    model.patch_embedding.position_embeddings.requires_grad_(False), and decoder_pos_embedding likewise;
#             they stay zero.
# Output seen (pictures of 4×4 patches, one of which is bright: does it stand on the right-hand side? Nothing but its
# position tells, and log 2 is 0.69):
#   ViT, learnable: numbers trained for positions 768, loss below 0.05
#   ViT, sincos: numbers trained for positions 0, loss below 0.05
#   ViT, none: numbers trained for positions 768, loss below 0.05
#   ViT, none, its table not trained: numbers trained for positions 0, loss 0.69
#   MaskedAutoEncoderViT, none: numbers trained for positions 768 and 1536
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet monai==1.6.1 einops==0.8.2 torch==2.13.0 numpy==2.3.5
cat > "$folder/seen.py" <<'PYTHON'
import torch
from monai.networks.nets import MaskedAutoEncoderViT, ViT
from torch.nn.functional import cross_entropy

torch.set_num_threads(1)
sizes = {"in_channels": 1, "img_size": (32, 32), "patch_size": (8, 8), "spatial_dims": 2, "num_layers": 2}
sizes |= {"hidden_size": 48, "mlp_dim": 64, "num_heads": 4}
pictures = torch.zeros(16, 1, 32, 32)
for place in range(16):
    row, column = 8 * (place // 4), 8 * (place % 4)
    pictures[place, 0, row : row + 8, column : column + 8] = 3
side = (torch.arange(16) % 4 >= 2).long()


def trained(table):
    return table.numel() if table.requires_grad else 0


for name, kind in (
    ("learnable", "learnable"),
    ("sincos", "sincos"),
    ("none", "none"),
    ("none, its table not trained", "none"),
):
    torch.manual_seed(0)
    model = ViT(pos_embed_type=kind, classification=True, num_classes=2, post_activation=None, **sizes)
    table = model.patch_embedding.position_embeddings
    if name != kind:
        table.requires_grad_(False)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    for _ in range(600):
        optimizer.zero_grad()
        cross_entropy(model(pictures)[0], side).backward()
        optimizer.step()
    loss = float(cross_entropy(model.eval()(pictures)[0], side))
    found = "below 0.05" if loss < 0.05 else f"{loss:.2f}"
    print(f"ViT, {name}: numbers trained for positions {trained(table)}, loss {found}")

model = MaskedAutoEncoderViT(pos_embed_type="none", decoder_pos_embed_type="none", decoder_hidden_size=96, **sizes)
tables = trained(model.patch_embedding.position_embeddings), trained(model.decoder_pos_embedding)
print(f"MaskedAutoEncoderViT, none: numbers trained for positions {tables[0]} and {tables[1]}")
PYTHON
"$folder/venv/bin/python" -W ignore "$folder/seen.py" 2> /dev/null | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
ViT, learnable: numbers trained for positions 768, loss below 0.05
ViT, sincos: numbers trained for positions 0, loss below 0.05
ViT, none: numbers trained for positions 768, loss below 0.05
ViT, none, its table not trained: numbers trained for positions 0, loss 0.69
MaskedAutoEncoderViT, none: numbers trained for positions 768 and 1536
SEEN
echo "as described"

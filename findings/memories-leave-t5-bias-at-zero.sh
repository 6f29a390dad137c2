#!/usr/bin/env bash
# Library:    memorizing-transformers-pytorch 0.4.1 with PyTorch 2.13.0 (CPU build), MemorizingTransformer with
#             xl_max_memories: segments that see those before them, as in Transformer-XL, by T5's relative bias.
# Behaviour:  Keys are counted from the first memory on, and queries from 0 as well, though they stand behind the
#             memories. Distances are too small by the number of memories, and what is below 0 becomes 0. With as many
#             memories as tokens, or more, all keys of the segment itself have the bias of distance 0, so that their
#             order is lost, and the oldest memories have those of the segment's own tokens.
# Good guess: a text in segments, with room for all memories, is the text in one pass: one layer has the same keys. It
#             is so in x-transformers by the same author, where this was put right (lucidrains/x-transformers#103). The
#             first segment has no memories and is right, and the mask, beside the bias, counts from behind them.
# Who is hurt: whoever compares memories, or T5's bias against other encodings with memories: from the second segment on
#             the model knows the order of its own tokens by the mask alone, in training as in evaluation. Losses fall
#             all the same, as the first segment's do.
# Way out:    count the queries from behind the memories, as below.
# Output seen (one layer, no retrieval, no training, 3 segments of 64; largest change of the outputs against one pass,
# by segment; different buckets of the last token's 64 keys in the third segment):
#   memorizing-transformers: outputs off by below 1e-4, above 0.1, above 0.1; buckets 1
#   memorizing-transformers, queries behind the memories: outputs off by below 1e-4, below 1e-4, below 1e-4; buckets 27
#   x-transformers: outputs off by below 1e-4, below 1e-4, below 1e-4; buckets 27
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet x-transformers==2.31.10 einops-exts==0.0.4 filelock==4.3.1 joblib==1.6.0 \
  faiss-cpu==1.15.1 torch==2.13.0 numpy==2.3.5
# It asks for the build of faiss for CUDA.
"$folder/venv/bin/pip" install --quiet --no-deps memorizing-transformers-pytorch==0.4.1
cat > "$folder/seen.py" <<'PYTHON'
import torch
from memorizing_transformers_pytorch import MemorizingTransformer
from memorizing_transformers_pytorch.memorizing_transformers_pytorch import T5RelativePositionBias
from x_transformers import Decoder, TransformerWrapper

tokens = torch.randint(1, 50, (1, 192), generator=torch.Generator().manual_seed(0))


class Behind(T5RelativePositionBias):
    def forward(self, queries, keys, *, device):
        return super().forward(keys, keys, device=device)[:, :, -queries:]


def size(found):
    found = float(found.abs().max())
    return "below 1e-4" if found < 1e-4 else "above 0.1" if found > 0.1 else f"{found:.0e}"


@torch.no_grad()
def seen(name, read, bias):
    whole, _ = read(tokens, None)
    memories, changes = None, []
    for segment, at_once in zip(tokens.split(64, 1), whole.split(64, 1)):
        found, memories = read(segment, memories)
        changes.append(size(found - at_once))
    buckets = len(bias(64, 192).squeeze(0)[0, -1, -64:].unique())
    print(f"{name}: outputs off by {', '.join(changes)}; buckets {buckets}")


def memorizing(name, bias):
    torch.manual_seed(0)
    sizes = {"num_tokens": 50, "dim": 64, "depth": 1, "heads": 4, "dim_head": 16, "memorizing_layers": ()}
    model = MemorizingTransformer(**sizes, xl_max_memories=512).eval()
    model.rel_pos_bias = bias(scale=4, heads=4)
    seen(
        name,
        lambda text, memories: model(text, [], xl_memories=memories),
        lambda queries, keys: model.rel_pos_bias(queries, keys, device="cpu"),
    )


memorizing("memorizing-transformers", T5RelativePositionBias)
memorizing("memorizing-transformers, queries behind the memories", Behind)
torch.manual_seed(0)
layers = Decoder(dim=64, depth=1, heads=4, attn_dim_head=16, rel_pos_bias=True)
lengths = {"max_seq_len": 192, "max_mem_len": 512, "use_abs_pos_emb": False}
model = TransformerWrapper(num_tokens=50, attn_layers=layers, **lengths).eval()
seen("x-transformers", lambda text, memories: model(text, mems=memories, return_mems=True), layers.rel_pos)
PYTHON
"$folder/venv/bin/python" "$folder/seen.py" 2> /dev/null | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
memorizing-transformers: outputs off by below 1e-4, above 0.1, above 0.1; buckets 1
memorizing-transformers, queries behind the memories: outputs off by below 1e-4, below 1e-4, below 1e-4; buckets 27
x-transformers: outputs off by below 1e-4, below 1e-4, below 1e-4; buckets 27
SEEN
echo "as described"

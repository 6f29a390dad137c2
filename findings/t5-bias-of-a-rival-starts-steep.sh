#!/usr/bin/env bash
# Library:    x-transformers 2.11.0 with PyTorch 2.13.0 (CPU build), Decoder(rel_pos_bias=True): T5's relative bias.
# Behaviour:  Its numbers are drawn from N(0, 1) and multiplied by the square root of the head's width before they are
#             added to logits that are scaled. With 64 channels a fresh model has biases of 8 nats: most heads put nearly
#             all weight on the keys of one bucket before anything is learnt, and a step of the optimiser moves a bias
#             eight times as far as its parameter.
# Good guess: the bias begins near zero, as in T5 itself, where a fresh model attends evenly (transformers: N(0, 1/√512)
#             for a width of 512, added to logits that are not scaled), and a bias is its parameter.
# Who is hurt: papers that take this library's T5 bias as their rival: it starts from fixed random distances, learns them
#             at another rate than the one they report, and depends on the heads' width. Losses fall all the same.
# Output seen (512 channels, 8 heads, 256 tokens, no training):
#   x-transformers: deviation of the bias 8 nats, of its parameters 1; heads with more than half of the weight of the last
#   query on one key: 6 of 8
#   transformers' T5: deviation of the bias 0.0 nats
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet x-transformers==2.11.0 transformers==5.24.0 torch==2.13.0 numpy==2.3.5
cat > "$folder/seen.py" <<'PYTHON'
import torch
from transformers import T5Config, T5Model
from x_transformers import Decoder, TransformerWrapper

torch.manual_seed(0)
decoder = Decoder(dim=512, depth=1, heads=8, attn_dim_head=64, rel_pos_bias=True)
model = TransformerWrapper(num_tokens=50, max_seq_len=256, attn_layers=decoder, use_abs_pos_emb=False).eval()
with torch.no_grad():
    (bias,) = (each for each in model.modules() if type(each).__name__ == "RelativePositionBias")
    sizes = float(bias(256, 256).std()), float(bias.relative_attention_bias.weight.std())
    _, seen = model(torch.randint(50, (1, 256)), return_intermediates=True)
    weights = seen.attn_intermediates[0].post_softmax_attn[0, :, -1]
    steep = int((weights.amax(-1) > 0.5).sum())
    print(f"x-transformers: deviation of the bias {sizes[0]:.0f} nats, of its parameters {sizes[1]:.0f};", end=" ")
    print(f"heads with more than half of the weight of the last query on one key: {steep} of 8")
    config = T5Config(d_model=512, d_kv=64, num_heads=8, d_ff=64, num_layers=1, vocab_size=50)
    attention = T5Model(config).decoder.block[0].layer[0].SelfAttention
    print(f"transformers' T5: deviation of the bias {float(attention.compute_bias(256, 256).std()):.1f} nats")
PYTHON
"$folder/venv/bin/python" -W ignore "$folder/seen.py" 2> /dev/null | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
x-transformers: deviation of the bias 8 nats, of its parameters 1; heads with more than half of the weight of the last query on one key: 6 of 8
transformers' T5: deviation of the bias 0.0 nats
SEEN
echo "as described"

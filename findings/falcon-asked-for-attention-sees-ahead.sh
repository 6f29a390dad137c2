#!/usr/bin/env bash
# Library:    transformers 5.24.0 with PyTorch 2.13.0 (CPU build), FalconForCausalLM with RoPE and attention "sdpa".
# Behaviour:  Asked for its attention weights the model computes them by other code, which adds the mask to the logits.
#             The mask of "sdpa" is of truth values: a visible key gets 1 more and a hidden one nothing, so that every
#             token attends to those behind it, and the logits of the same call are those of a model that reads ahead.
#             In 4.57.1 the mask was of numbers, and nothing was seen.
# Good guess: output_attentions only looks, and a causal model is causal. Shapes, sums of rows and the logits' size give
#             no sign; with attention "eager" all is well.
# Who is hurt: whoever draws attention maps or measures distances of attention on Falcon, and whoever scores a text in the
#             call that returns them: the loss is that of a model that has seen the next token.
# Output seen (weight that the first of 12 tokens puts on later ones, of all 4 heads; change of its logits with the last):
#   5.24.0, logits alone: logits change below 1e-6
#   5.24.0, asked for attention: weight on later tokens above 1, logits change above 0.01
#   4.57.1, logits alone: logits change below 1e-6
#   4.57.1, asked for attention: weight on later tokens below 1e-6, logits change below 1e-6
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/seen.py" <<'PYTHON'
import torch
import transformers
from transformers import FalconConfig, FalconForCausalLM

config = FalconConfig(
    vocab_size=50, hidden_size=64, num_hidden_layers=1, num_attention_heads=4, alibi=False,
    new_decoder_architecture=False, multi_query=False, parallel_attn=False, bias=False,
)  # fmt: skip
torch.manual_seed(0)
model = FalconForCausalLM._from_config(config, attn_implementation="sdpa").eval()
# So that the layer's share of the logits is not lost beside the embedding's.
model.transformer.h[0].self_attention.dense.weight.data.mul_(30)
text = torch.arange(12)[None] * 7 % 50
other = text.clone()
other[0, -1] = 3


def size(number):
    bounds = ((1e-6, "below 1e-6"), (0.01, f"{number:.0e}"), (1, "above 0.01"))
    return next((word for bound, word in bounds if number < bound), "above 1")


def change(**asked):
    one, two = (model(tokens, **asked).logits[0, 0] for tokens in (text, other))
    return size(float((one - two).abs().max()))


with torch.no_grad():
    ahead = float(model(text, output_attentions=True).attentions[0][0, :, 0, 1:].sum())
    print(f"{transformers.__version__}, logits alone: logits change {change()}")
    found = f"weight on later tokens {size(ahead)}, logits change {change(output_attentions=True)}"
    print(f"{transformers.__version__}, asked for attention: {found}")
PYTHON
for version in 5.24.0 4.57.1; do
  "${PYTHON:-python3}" -m venv "$folder/$version"
  "$folder/$version/bin/pip" install --quiet "transformers==$version" torch==2.13.0 numpy==2.3.5
  "$folder/$version/bin/python" -W ignore "$folder/seen.py" 2> /dev/null
done | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
5.24.0, logits alone: logits change below 1e-6
5.24.0, asked for attention: weight on later tokens above 1, logits change above 0.01
4.57.1, logits alone: logits change below 1e-6
4.57.1, asked for attention: weight on later tokens below 1e-6, logits change below 1e-6
SEEN
echo "as described"

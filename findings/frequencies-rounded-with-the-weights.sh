#!/usr/bin/env bash
# Library:    transformers 5.24.0 with PyTorch 2.13.0 (CPU build), the rotary encoding of LlamaForCausalLM.
# Behaviour:  from_pretrained(..., dtype=torch.bfloat16) keeps RoPE's frequencies in float32. Loaded in float32 and
#             then cast by .to(torch.bfloat16), the same model has frequencies rounded to 8 bits, and its angles are
#             wrong by more than a radian at position 8,191. .half() rounds them to 11 bits, and is wrong there as well.
# Good guess: both ways give one bfloat16 model, as the weights are equal bit by bit; and the forward pass computes
#             its angles in float32, which is true, from frequencies that were rounded before.
# Who is hurt: whoever measures long contexts with a model that was cast: short texts look right, and what is seen far
#             out is the rounding, not the encoding. The frequencies are a buffer that is not saved, so that no
#             comparison of state_dict() shows it.
# Way out:    give the dtype to from_pretrained, or put model.model.rotary_emb.inv_freq back after the cast.
# Output seen:
#   weights equal: True
#   dtype given to from_pretrained: frequencies float32, largest error of a cosine at 8191: below 0.005
#   .to(torch.bfloat16): frequencies bfloat16, largest error of a cosine at 8191: above 0.5
#   .half(): frequencies float16, largest error of a cosine at 8191: above 0.5
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet transformers==5.24.0 torch==2.13.0 numpy==2.3.5
cat > "$folder/seen.py" <<'PYTHON'
import sys

import torch
from transformers import LlamaConfig, LlamaForCausalLM

sizes = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4}
LlamaForCausalLM(LlamaConfig(vocab_size=50, max_position_embeddings=16384, **sizes)).save_pretrained(sys.argv[1])
exact = 8191 * 10000.0 ** (-torch.arange(0, 16, 2, dtype=torch.float64) / 16)


def told(how, model):
    x = torch.zeros(1, 1, 64, dtype=torch.float32)
    cosines, _ = model.model.rotary_emb(x, torch.tensor([[8191]]))
    error = float((cosines[0, 0, :8].double() - exact.cos()).abs().max())
    size = "above 0.5" if error > 0.5 else "below 0.005" if error < 0.005 else f"{error:.2g}"
    kind = str(model.model.rotary_emb.inv_freq.dtype).removeprefix("torch.")
    print(f"{how}: frequencies {kind}, largest error of a cosine at 8191: {size}")


def read(**options):
    return LlamaForCausalLM.from_pretrained(sys.argv[1], **options)


given, cast = read(dtype=torch.bfloat16), read().to(torch.bfloat16)
pairs = zip(given.state_dict().values(), cast.state_dict().values(), strict=True)
print("weights equal:", all(torch.equal(one, other) for one, other in pairs))
told("dtype given to from_pretrained", given)
told(".to(torch.bfloat16)", cast)
told(".half()", read().half())
PYTHON
"$folder/venv/bin/python" -W ignore "$folder/seen.py" "$folder/model" 2> /dev/null | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
weights equal: True
dtype given to from_pretrained: frequencies float32, largest error of a cosine at 8191: below 0.005
.to(torch.bfloat16): frequencies bfloat16, largest error of a cosine at 8191: above 0.5
.half(): frequencies float16, largest error of a cosine at 8191: above 0.5
SEEN
echo "as described"

#!/usr/bin/env bash
# Library:    transformers 5.24.0 with PyTorch 2.13.0 (CPU build), LlamaForCausalLM with rope_type "dynamic".
# Behaviour:  The base is that of the longest row of a batch, padding included, for all of its rows. A text within the
#             trained length has one set of logits alone, and others beside a longer text or behind right padding,
#             though the attention mask hides both from it.
# Good guess: rows of a batch are computed apart, and masked padding changes nothing, as with every other rope_type
#             that has one set of frequencies. With "linear" and "yarn" both hold to rounding.
# Who is hurt: whoever measures perplexity or a task by length in batches: scores inside the trained length depend on
#             the batch size and on how texts were sorted. Batches of one, or of equal lengths, do not show it.
# Output seen (largest difference of a logit of a text of 40 tokens, trained length 64):
#   default: beside 128 tokens below 1e-4, with 88 tokens of masked padding below 1e-4
#   linear: beside 128 tokens below 1e-4, with 88 tokens of masked padding below 1e-4
#   yarn: beside 128 tokens below 1e-4, with 88 tokens of masked padding below 1e-4
#   dynamic: beside 128 tokens above 0.1, with 88 tokens of masked padding above 0.1
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet transformers==5.24.0 torch==2.13.0 numpy==2.3.5
cat > "$folder/seen.py" <<'PYTHON'
import torch
from transformers import LlamaConfig, LlamaForCausalLM

sizes = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
short, long = torch.arange(40) % 50, torch.arange(128) * 7 % 50


def logits(model, rows):
    ids = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.long)
    mask = torch.zeros_like(ids)
    for number, row in enumerate(rows):
        ids[number, : len(row)], mask[number, : len(row)] = row, 1
    with torch.no_grad():
        return model(ids, attention_mask=mask).logits[0, :40]


def padded(model):
    ids, mask = torch.zeros(1, 128, dtype=torch.long), torch.zeros(1, 128, dtype=torch.long)
    ids[0, :40], mask[0, :40] = short, 1
    with torch.no_grad():
        return model(ids, attention_mask=mask).logits[0, :40]


def size(one, other):
    found = float((one - other).abs().max())
    return "below 1e-4" if found < 1e-4 else "above 0.1" if found > 0.1 else f"{found:.0e}"


for kind in ("default", "linear", "yarn", "dynamic"):
    torch.manual_seed(0)
    scaling = {} if kind == "default" else {"factor": 4.0, "original_max_position_embeddings": 64}
    rope = {"rope_type": kind, "rope_theta": 10000.0, **scaling}
    config = LlamaConfig(
        vocab_size=50, max_position_embeddings=64, rope_parameters=rope, initializer_range=0.2, **sizes
    )
    model = LlamaForCausalLM(config).eval()
    alone = logits(model, [short])
    beside, behind = size(alone, logits(model, [short, long])), size(alone, padded(model))
    print(f"{kind}: beside 128 tokens {beside}, with 88 tokens of masked padding {behind}")
PYTHON
"$folder/venv/bin/python" -W ignore "$folder/seen.py" 2> /dev/null | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
default: beside 128 tokens below 1e-4, with 88 tokens of masked padding below 1e-4
linear: beside 128 tokens below 1e-4, with 88 tokens of masked padding below 1e-4
yarn: beside 128 tokens below 1e-4, with 88 tokens of masked padding below 1e-4
dynamic: beside 128 tokens above 0.1, with 88 tokens of masked padding above 0.1
SEEN
echo "as described"

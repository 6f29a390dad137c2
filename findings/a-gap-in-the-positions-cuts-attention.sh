#!/usr/bin/env bash
# Library:    transformers 5.24.0 with PyTorch 2.13.0 (CPU build), LlamaForCausalLM with `position_ids` of one's own.
# Behaviour:  Without a cache and an attention mask the model reads every step of `position_ids` other than 1 as the
#             start of another text packed into the row, and hides all that stands before. A gap in the positions of
#             one text cuts attention there; positions 0, 2, 4, … leave each token alone with itself. With a cache,
#             which is the default, nothing is cut. Checkpointing of activations switches the cache off, which it
#             says, and so changes the loss, which it does not say.
# Good guess: position_ids say where tokens stand, and nothing of who sees whom. A packed text starts anew at 0; the
#             guide to training without padding speaks of FlashAttention, and the mask of sdpa and eager is made so
#             too. A cache and checkpointing save time and memory, and leave logits alone.
# Who is hurt: whoever trains with skipped positions (PoSE, Zhu et al. 2024), random ones (Ruoss et al. 2023) or
#             interpolated ones, 0, 1/4, 2/4, … (Chen et al. 2023): with checkpointing they train a model whose
#             attention ends at each gap, and evaluate it whole. A loss falls in both cases.
# Way out:    attention_mask=torch.ones_like(input_ids).
# Output seen (largest change of the logits of the last 12 of 24 tokens when the first one changes; difference of the
# loss with checkpointing):
#   consecutive from 5: change with a cache above 0.01, without one above 0.01; loss differs by below 1e-5
#   0-11 and 30-41: change with a cache above 0.01, without one below 1e-5; loss differs by above 0.01
#   every second: change with a cache above 0.01, without one below 1e-5; loss differs by above 0.01
#   every quarter: change with a cache above 0.01, without one below 1e-5; loss differs by above 0.01
#   every second, mask of ones: change with a cache above 0.01, without one above 0.01; loss differs by below 1e-5
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet transformers==5.24.0 torch==2.13.0 numpy==2.3.5
cat > "$folder/seen.py" <<'PYTHON'
import torch
from transformers import LlamaConfig, LlamaForCausalLM

torch.manual_seed(0)
sizes = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
model = LlamaForCausalLM(LlamaConfig(vocab_size=50, initializer_range=0.2, **sizes)).train()
tokens = torch.arange(24)[None] * 7 % 50
other = tokens.clone()
other[:, 0] = 3


def size(found):
    found = float(found.detach().abs().max())
    return "below 1e-5" if found < 1e-5 else "above 0.01" if found > 0.01 else f"{found:.0e}"


def change(**given):
    return size((model(tokens, **given).logits - model(other, **given).logits)[:, 12:])


def loss(positions, mask):
    return model(tokens, position_ids=positions, attention_mask=mask, labels=tokens).loss


place = torch.arange(24)[None]
ones = torch.ones_like(tokens)
for name, positions, mask in (
    ("consecutive from 5", place + 5, None),
    ("0-11 and 30-41", place + 18 * (place > 11), None),
    ("every second", place * 2, None),
    ("every quarter", place / 4, None),
    ("every second, mask of ones", place * 2, ones),
):
    given = {"position_ids": positions, "attention_mask": mask}
    cached, uncached = change(**given), change(use_cache=False, **given)
    plain = loss(positions, mask)
    model.activation_checkpointing_enable()
    difference = size(loss(positions, mask) - plain)
    model.activation_checkpointing_disable()
    print(f"{name}: change with a cache {cached}, without one {uncached}; loss differs by {difference}")
PYTHON
"$folder/venv/bin/python" -W ignore "$folder/seen.py" 2> /dev/null | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
consecutive from 5: change with a cache above 0.01, without one above 0.01; loss differs by below 1e-5
0-11 and 30-41: change with a cache above 0.01, without one below 1e-5; loss differs by above 0.01
every second: change with a cache above 0.01, without one below 1e-5; loss differs by above 0.01
every quarter: change with a cache above 0.01, without one below 1e-5; loss differs by above 0.01
every second, mask of ones: change with a cache above 0.01, without one above 0.01; loss differs by below 1e-5
SEEN
echo "as described"

#!/usr/bin/env bash
# Library:    transformers 5.24.0 with PyTorch 2.13.0 (CPU build), FalconForCausalLM with alibi=True (falcon-rw).
# Behaviour:  The model adds ALiBi, divided by the square root of the head's width, to the attention mask. The attention
#             of "sdpa" takes that mask and nothing else; that of "eager" takes it and adds the same bias once more. One
#             set of weights is two models: with "eager" all slopes are twice as steep. With one head of 16 channels the
#             slope of a token is 2^-8 / 4 by "sdpa", 2 · 2^-8 / 4 by "eager", and 2^-8 in the paper (Press et al. 2022).
# Good guess: the implementations of attention agree to rounding, as those of Falcon with RoPE do, and the slopes are
#             those of the paper.
# Who is hurt: whoever compares extrapolation of ALiBi on Falcon's weights, or carries them over to another library.
# Output seen:
#   alibi: eager against sdpa above 0.01
#   rope: eager against sdpa below 1e-5
#   alibi, eager: log of the weight of a key by that of the key before, in units of the paper's slope: 0.5
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet transformers==5.24.0 torch==2.13.0 numpy==2.3.5
cat > "$folder/seen.py" <<'PYTHON'
import torch
from transformers import FalconConfig, FalconForCausalLM


def model(attention, alibi, heads=4):
    config = FalconConfig(
        vocab_size=50, hidden_size=16 * heads, num_hidden_layers=1, num_attention_heads=heads, alibi=alibi,
        new_decoder_architecture=False, multi_query=False, parallel_attn=False, bias=False,
    )  # fmt: skip
    torch.manual_seed(0)
    made = FalconForCausalLM._from_config(config, attn_implementation=attention).eval()
    # So that the layer's share of the logits is not lost beside the embedding's.
    made.transformer.h[0].self_attention.dense.weight.data.mul_(30)
    return made


def size(one, other):
    found = float((one - other).abs().max())
    return "below 1e-5" if found < 1e-5 else "above 0.01" if found > 0.01 else f"{found:.0e}"


tokens = torch.arange(12)[None] * 7 % 50
with torch.no_grad():
    for name, alibi in (("alibi", True), ("rope", False)):
        difference = size(*(model(attention, alibi)(tokens).logits for attention in ("eager", "sdpa")))
        print(f"{name}: eager against sdpa {difference}")
    one = model("eager", True, heads=1)
    queries_and_keys = one.transformer.h[0].self_attention.query_key_value.weight.data.view(1, 3, 16, 16)[:, :2]
    queries_and_keys.zero_()
    weights = one(tokens, output_attentions=True).attentions[0][0, 0, -1].double()
    slope = float((weights[-1] / weights[-2]).log()) / 2**-8
    by = "log of the weight of a key by that of the key before, in units of the paper's slope"
    print(f"alibi, eager: {by}: {slope:.1f}")
PYTHON
"$folder/venv/bin/python" -W ignore "$folder/seen.py" 2> /dev/null | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
alibi: eager against sdpa above 0.01
rope: eager against sdpa below 1e-5
alibi, eager: log of the weight of a key by that of the key before, in units of the paper's slope: 0.5
SEEN
echo "as described"

#!/usr/bin/env bash
# Library:    x-transformers 2.31.10 with PyTorch 2.13.0 (CPU build), Decoder(attn_data_dependent_alibi=True): the
#             forget gates of the Forgetting Transformer (Lin et al. 2025).
# Behaviour:  The bias of a key is the sum of the log gates between it and the query. Decoding with a cache computes
#             the gate of the new token alone: the sum over this one token is 0, and 0 is broadcast over all keys of
#             the cache. Every token that `generate` writes after the first attends as if nothing were ever forgotten.
# Good guess: a cache saves time and changes no token, as with fixed ALiBi, RoPE, T5's bias and CoPE in this library.
#             `generate` takes one by default, and does without where a network says that it cannot be cached; this
#             one says that it can.
# Who is hurt: whoever compares this encoding by what is generated (retrieval, copying, answers on long texts):
#             perplexity is that of the trained model, generation that of one whose encoding is gone.
# Way out:    generate(..., cache_kv=False).
# Output seen (one layer, untrained, gates about one half, 40 greedy tokens after 100; logits of one cached step):
#   fixed ALiBi: tokens that the cache changes: 0 of 40
#   forget gates: tokens that the cache changes: more than half
#   forget gates, cached step against a full pass: above 0.1
#   forget gates, cached step against a full pass with all gates open: below 1e-5
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet x-transformers==2.31.10 torch==2.13.0 numpy==2.3.5
cat > "$folder/seen.py" <<'PYTHON'
import torch
from x_transformers import AutoregressiveWrapper, Decoder, TransformerWrapper

tokens = torch.arange(100)[None] * 7 % 50


def model(**encoding):
    torch.manual_seed(0)
    layers = Decoder(dim=64, depth=1, heads=4, attn_dim_head=16, **encoding)
    return TransformerWrapper(num_tokens=50, max_seq_len=256, use_abs_pos_emb=False, attn_layers=layers).eval()


def changed(one):
    writer = AutoregressiveWrapper(one)
    cached, whole = (writer.generate(tokens, 40, temperature=0.0, cache_kv=cache) for cache in (True, False))
    found = int((cached != whole).sum())
    return "more than half" if found > 20 else f"{found} of 40"


def size(found):
    found = float(found.abs().max())
    return "below 1e-5" if found < 1e-5 else "above 0.1" if found > 0.1 else f"{found:.0e}"


print(f"fixed ALiBi: tokens that the cache changes: {changed(model(alibi_pos_bias=True))}")
# A bias of 0 in place of 5, with which a gate begins open and only training would close it.
forgetting = model(attn_data_dependent_alibi=True, attn_data_dependent_alibi_kwargs={"bias_init": 0.0})
print(f"forget gates: tokens that the cache changes: {changed(forgetting)}")
with torch.no_grad():
    _, cache = forgetting(tokens[:, :-1], return_intermediates=True)
    step = forgetting(tokens, cache=cache)[:, -1]
    print(f"forget gates, cached step against a full pass: {size(step - forgetting(tokens)[:, -1])}")
    for part in forgetting.modules():
        if hasattr(part, "to_forget_gates"):
            part.post_log_scale = 0.0
    open_gates = forgetting(tokens)[:, -1]
    print(f"forget gates, cached step against a full pass with all gates open: {size(step - open_gates)}")
PYTHON
"$folder/venv/bin/python" "$folder/seen.py" 2> /dev/null | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
fixed ALiBi: tokens that the cache changes: 0 of 40
forget gates: tokens that the cache changes: more than half
forget gates, cached step against a full pass: above 0.1
forget gates, cached step against a full pass with all gates open: below 1e-5
SEEN
echo "as described"

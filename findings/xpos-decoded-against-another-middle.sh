#!/usr/bin/env bash
# Library:    rotary-embedding-torch 0.9.1 with PyTorch 2.13.0 (CPU build), RotaryEmbedding(use_xpos=True).
# Behaviour:  XPos scales a query by a power of its position, a key by the inverse, and counts positions from the
#             middle of the text, which cancels. rotate_queries_with_cached_keys counts the keys from the middle of
#             the cache and the queries from the middle of themselves. With one query at a time the logit of each
#             channel is multiplied by a factor below 1 that shrinks exponentially with the length of the cache: at
#             4,096 keys that of a token with itself is a quarter. The function turns both by the right angles.
# Good guess: it is the function that the package names for inference with a cache, it takes XPos without complaint,
#             and with RoPE it agrees with the full pass. What is added to a logit for all keys alike the softmax
#             would forgive; a factor, different for each channel, it does not.
# Who is hurt: whoever trains with XPos, whose purpose is length, and generates: attention is flatter than in training,
#             and the more so the longer the text, which looks like poor extrapolation. Perplexity, by the full pass,
#             is right.
# Way out:    give the whole text as queries and take the last, or rotate_queries_and_keys.
# Output seen (logit of the last token with itself by that of the full pass, queries and keys all ones, 32 channels):
#   RoPE, 64 keys: one query 1.00, all queries 1.00
#   RoPE, 1024 keys: one query 1.00, all queries 1.00
#   RoPE, 4096 keys: one query 1.00, all queries 1.00
#   XPos, 64 keys: one query 0.97, all queries 1.00
#   XPos, 1024 keys: one query 0.62, all queries 1.00
#   XPos, 4096 keys: one query 0.25, all queries 1.00
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet rotary-embedding-torch==0.9.1 torch==2.13.0 numpy==2.3.5
cat > "$folder/seen.py" <<'PYTHON'
import torch
from rotary_embedding_torch import RotaryEmbedding


def kept(length, queries, **options):
    rotary = RotaryEmbedding(dim=32, **options)
    ones = torch.ones(1, 1, length, 32)
    rotated = rotary.rotate_queries_with_cached_keys(ones[:, :, -queries:], ones)
    query, key = (part[0, 0, -1].double() for part in rotated)
    # At distance 0 nothing is turned or scaled, so that the product of two vectors of ones is their width.
    return float(query @ key) / 32


for name, options in (("RoPE", {}), ("XPos", {"use_xpos": True})):
    for length in (64, 1024, 4096):
        one, all_of_them = kept(length, 1, **options), kept(length, length, **options)
        print(f"{name}, {length} keys: one query {one:.2f}, all queries {all_of_them:.2f}")
PYTHON
"$folder/venv/bin/python" "$folder/seen.py" 2> /dev/null | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
RoPE, 64 keys: one query 1.00, all queries 1.00
RoPE, 1024 keys: one query 1.00, all queries 1.00
RoPE, 4096 keys: one query 1.00, all queries 1.00
XPos, 64 keys: one query 0.97, all queries 1.00
XPos, 1024 keys: one query 0.62, all queries 1.00
XPos, 4096 keys: one query 0.25, all queries 1.00
SEEN
echo "as described"

#!/usr/bin/env bash
# Library:    rotary-embedding-torch 0.9.1 with PyTorch 2.13.0 (CPU build), RotaryEmbedding as its README uses it.
# Behaviour:  Positions are counted in the dtype of the queries: bfloat16 counts from 1,024 to 2,047 in steps of 8, so
#             that 8 neighbours are turned alike. The angles are then kept for all later calls of that length or less,
#             whatever their dtype. So a float32 call after one in bfloat16 has the rounded angles, and a bfloat16
#             call after one in float32 the exact ones: one module, one input, and the answer depends on what was
#             asked before.
# Good guess: a cache of angles depends on positions alone, as the frequencies stay in float32 and so does the cache;
#             and queries in float32 get angles in float32.
# Who is hurt: whoever trains under autocast, where a projection gives queries in bfloat16, and evaluates in float32 to
#             be exact: the angles stay those of training, and a fresh process gives another loss. And whoever
#             compares precisions in one process: the first one decides for both.
# Way out:    RotaryEmbedding(cache_if_possible=False) with queries in float32, or one call in float32 of the full
#             length first.
# Output seen (different rotations among the last 16 of 2,000 positions):
#   float32 first: 16, bfloat16 after it: 16
#   bfloat16 first: 3, float32 after it: 3
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet rotary-embedding-torch==0.9.1 torch==2.13.0 numpy==2.3.5
cat > "$folder/seen.py" <<'PYTHON'
import torch
from rotary_embedding_torch import RotaryEmbedding


def distinct(rotary, dtype):
    # One vector at every place: rotated, it differs from place to place by its angles alone.
    rotated = rotary.rotate_queries_or_keys(torch.ones(1, 1, 2000, 64, dtype=dtype))
    return len(rotated[0, 0, -16:].unique(dim=0))


for first, second in (("float32", "bfloat16"), ("bfloat16", "float32")):
    rotary = RotaryEmbedding(dim=64)
    before, after = (distinct(rotary, getattr(torch, dtype)) for dtype in (first, second))
    print(f"{first} first: {before}, {second} after it: {after}")
PYTHON
"$folder/venv/bin/python" "$folder/seen.py" 2> /dev/null | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
float32 first: 16, bfloat16 after it: 16
bfloat16 first: 3, float32 after it: 3
SEEN
echo "as described"

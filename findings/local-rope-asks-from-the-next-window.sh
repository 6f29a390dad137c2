#!/usr/bin/env bash
# Library:    local-attention 1.11.2 with PyTorch 2.13.0 (CPU build), LocalAttention(causal=False), which looks one
#             window back and one ahead by default, and its rotary encoding, which is on where `dim` is given.
# Behaviour:  The keys of the three windows are turned by positions 0 to 3w - 1, and the queries of the middle one by
#             the last w of these: they ask as if they stood in the window ahead. For RoPE a token stands w places
#             from itself, and at its own place the token w after it. Causal attention and look_forward=0 have no
#             window ahead and are right.
# Good guess: RoPE depends on distance, and a token is at distance 0 from itself, looking both ways as looking back.
# Who is hurt: whoever compares encodings in encoders with local windows: RoPE prefers what is a window ahead, by an
#             amount that depends on the window's size, and what the table says of RoPE is said of another encoding. A
#             model can learn to turn it back, frequency by frequency, so that losses fall all the same.
# Way out:    use_rotary_pos_emb=False, with queries and keys that were turned before.
# Output seen (3 windows of 16, queries and keys all alike, a query of the middle window; error of its attention
# weights against RoPE's formula, where the query stands and with the query 16 places ahead):
#   causal: strongest key at distance 0; error below 1e-5
#   both ways, look_forward=0: strongest key at distance 0; error below 1e-5
#   both ways: strongest key at distance 16; error above 0.5, with the query 16 places ahead below 1e-5
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet local-attention==1.11.2 torch==2.13.0 numpy==2.3.5
cat > "$folder/seen.py" <<'PYTHON'
import numpy as np
import torch
from local_attention import LocalAttention

width, window = 64, 16


def weights(**options):
    attention = LocalAttention(dim=width, window_size=window, **options)
    # One vector at every place, so that logits differ by position alone; values are one-hot and show the weights.
    alike = torch.full((1, 3 * window, width), 3.0)
    return attention(alike, alike, torch.eye(3 * window)[None])[0].double().numpy()


def formula(query, keys):
    """Weights by Su et al. 2021: each pair of channels gives the cosine of distance times frequency."""
    frequencies = 10000.0 ** -(np.arange(0, width, 2) / width)
    logits = 2 * 9 * np.cos((keys - query)[:, None] * frequencies).sum(1) / np.sqrt(width)
    made = np.exp(logits - logits.max())
    return made / made.sum()


def size(error):
    return "below 1e-5" if error < 1e-5 else "above 0.5" if error > 0.5 else f"{error:.0e}"


query = window + 4
for name, options, keys in (
    ("causal", {"causal": True}, np.arange(query + 1)),
    ("both ways, look_forward=0", {"causal": False, "look_forward": 0}, np.arange(2 * window)),
    ("both ways", {"causal": False}, np.arange(3 * window)),
):
    found = weights(**options)[query]
    as_it_stands, ahead = (abs(found[keys] - formula(query + by, keys)).max() for by in (0, window))
    more = "" if as_it_stands < 1e-5 else f", with the query {window} places ahead {size(ahead)}"
    print(f"{name}: strongest key at distance {found.argmax() - query}; error {size(as_it_stands)}{more}")
PYTHON
"$folder/venv/bin/python" -W ignore "$folder/seen.py" 2> /dev/null | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
causal: strongest key at distance 0; error below 1e-5
both ways, look_forward=0: strongest key at distance 0; error below 1e-5
both ways: strongest key at distance 16; error above 0.5, with the query 16 places ahead below 1e-5
SEEN
echo "as described"

#!/usr/bin/env bash
# Library:    x-transformers 2.31.10 with PyTorch 2.13.0 (CPU build), Decoder(attn_num_mem_kv=...), learned keys and
#             values that every token sees (Sukhbaatar et al. 2019), with rotary_pos_emb or rotary_xpos.
# Behaviour:  The learned keys are added after the others were turned, and meet queries that are turned by where they
#             stand in the row. So their logits depend on absolute positions: a text behind masked padding, as beside
#             a longer one in a batch, has other outputs. XPos scales queries by powers of their distance from the
#             middle of the row as well, which the inverse powers of the keys take back and the learned keys do not:
#             what is put out for a token depends on how long the text behind it is.
# Good guess: RoPE and XPos are relative, padding is masked, and a causal model's outputs do not change when a text
#             goes on. All that holds without the learned keys, and with them for ALiBi and T5's bias, which give them
#             no position.
# Who is hurt: whoever compares encodings with learned keys on. RoPE's row has absolute positions as well, of which those
#             beyond the trained length were never seen, so that extrapolation is blamed on RoPE. With XPos the loss of
#             the first tokens changes with the length of the text that is evaluated.
# Output seen (two layers, no training; largest change of the outputs of 64 tokens when 960 tokens follow, and when 960
# places of masked padding stand before):
#   ALiBi, 0 learned keys: text goes on below 1e-4, padded below 1e-4
#   T5, 0 learned keys: text goes on below 1e-4, padded below 1e-4
#   RoPE, 0 learned keys: text goes on below 1e-4, padded below 1e-4
#   XPos, 0 learned keys: text goes on below 1e-4, padded below 1e-4
#   ALiBi, 16 learned keys: text goes on below 1e-4, padded below 1e-4
#   T5, 16 learned keys: text goes on below 1e-4, padded below 1e-4
#   RoPE, 16 learned keys: text goes on below 1e-4, padded above 0.1
#   XPos, 16 learned keys: text goes on above 0.1, padded above 0.1
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet x-transformers==2.31.10 torch==2.13.0 numpy==2.3.5
cat > "$folder/seen.py" <<'PYTHON'
import torch
from x_transformers import Decoder, TransformerWrapper

tokens = torch.randint(1, 50, (1, 1024), generator=torch.Generator().manual_seed(0))
text, padding = tokens[:, :64], torch.zeros(1, 960, dtype=torch.long)


def size(found):
    found = float(found.abs().max())
    return "below 1e-4" if found < 1e-4 else "above 0.1" if found > 0.1 else f"{found:.0e}"


@torch.no_grad()
def seen(name, learned, **encoding):
    torch.manual_seed(0)
    layers = Decoder(dim=64, depth=2, heads=4, attn_dim_head=64, attn_num_mem_kv=learned, verbose=False, **encoding)
    model = TransformerWrapper(num_tokens=50, max_seq_len=2048, use_abs_pos_emb=False, attn_layers=layers).eval()
    alone, goes_on = model(text), model(tokens)[:, :64]
    padded = model(torch.cat([padding, text], 1), seq_start_pos=torch.tensor([960]))[:, 960:]
    print(f"{name}, {learned} learned keys: text goes on {size(goes_on - alone)}, padded {size(padded - alone)}")


for learned in (0, 16):
    seen("ALiBi", learned, alibi_pos_bias=True)
    seen("T5", learned, rel_pos_bias=True)
    seen("RoPE", learned, rotary_pos_emb=True)
    seen("XPos", learned, rotary_xpos=True)
PYTHON
"$folder/venv/bin/python" "$folder/seen.py" 2> /dev/null | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
ALiBi, 0 learned keys: text goes on below 1e-4, padded below 1e-4
T5, 0 learned keys: text goes on below 1e-4, padded below 1e-4
RoPE, 0 learned keys: text goes on below 1e-4, padded below 1e-4
XPos, 0 learned keys: text goes on below 1e-4, padded below 1e-4
ALiBi, 16 learned keys: text goes on below 1e-4, padded below 1e-4
T5, 16 learned keys: text goes on below 1e-4, padded below 1e-4
RoPE, 16 learned keys: text goes on below 1e-4, padded above 0.1
XPos, 16 learned keys: text goes on above 0.1, padded above 0.1
SEEN
echo "as described"

#!/usr/bin/env bash
# Library:    transformers 5.24.0 with PyTorch 2.13.0 (CPU build): BLOOM, Falcon and MPT, which all have ALiBi.
# Behaviour:  BLOOM and Falcon add slope × number of the key, which by the softmax is as good as slope × distance, and
#             round it: BLOOM to the dtype of the model, Falcon to bfloat16 even in float32. Between 1,024 and 2,047
#             bfloat16 counts in steps of 8, so that at the end of a text of 2,048 tokens the last keys share 3 weights
#             among 16, and a neighbour counts as much as the eighth before it. MPT counts from the end, where small
#             numbers are exact, and has 16 of 16.
# Good guess: ALiBi has no parameters and only a straight line to add; what is lost in bfloat16 is lost far away, where
#             the bias is large and the weight small. It is lost at the nearest keys, and more with every doubling.
# Who is hurt: whoever evaluates BLOOM-like models beyond 256 tokens in bfloat16, in which they are distributed, and reads
#             a loss at long lengths as ALiBi's; and Falcon's users in any precision.
# Output seen (distinct weights of the last query on the last 16 of 2,048 keys, queries and keys zero, all heads alike):
#   bloom float32: 16
#   bloom bfloat16: 3
#   falcon float32: 3
#   falcon bfloat16: 2
#   mpt float32: 16
#   mpt bfloat16: 16
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet transformers==5.24.0 torch==2.13.0 numpy==2.3.5
cat > "$folder/seen.py" <<'PYTHON'
import torch
from transformers import BloomConfig, BloomForCausalLM, FalconConfig, FalconForCausalLM, MptConfig, MptForCausalLM


def bloom():
    made = BloomForCausalLM(BloomConfig(vocab_size=50, hidden_size=64, n_layer=1, n_head=8))
    attention = made.transformer.h[0].self_attention.query_key_value
    attention.weight.data.view(8, 3, 8, 64)[:, :2] = 0
    attention.bias.data.zero_()
    return made


def falcon():
    config = FalconConfig(
        vocab_size=50, hidden_size=64, num_hidden_layers=1, num_attention_heads=8, alibi=True, bias=False,
        new_decoder_architecture=False, multi_query=False, parallel_attn=False,
    )  # fmt: skip
    made = FalconForCausalLM(config)
    made.transformer.h[0].self_attention.query_key_value.weight.data.view(8, 3, 8, 64)[:, :2] = 0
    return made


def mpt():
    made = MptForCausalLM(MptConfig(vocab_size=50, d_model=64, n_layers=1, n_heads=8, max_seq_len=2048))
    made.transformer.blocks[0].attn.Wqkv.weight.data[:128] = 0
    return made


text = torch.zeros(1, 2048, dtype=torch.long)
for make in (bloom, falcon, mpt):
    for dtype in (torch.float32, torch.bfloat16):
        model = make().to(dtype).eval()
        model.set_attn_implementation("eager")
        with torch.no_grad():
            weights = model(text, output_attentions=True).attentions[0][0, :, -1, -16:]
        counts = sorted({len(head.unique()) for head in weights})
        print(f"{make.__name__} {str(dtype).removeprefix('torch.')}: {', '.join(map(str, counts))}")
PYTHON
"$folder/venv/bin/python" -W ignore "$folder/seen.py" 2> /dev/null | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
bloom float32: 16
bloom bfloat16: 3
falcon float32: 3
falcon bfloat16: 2
mpt float32: 16
mpt bfloat16: 16
SEEN
echo "as described"

#!/usr/bin/env bash
# Library:    Composer (mosaicml 0.32.1) on GPT-2 of transformers 4.53.3 beside 4.47.1, both of which it allows, with
#             PyTorch 2.13.0 (CPU build), which is newer than it asks for.
# Behaviour:  apply_alibi sets the learned positions of GPT-2 to zero, freezes them, and puts a method _attn with
#             ALiBi's bias in place of the model's. From 4.48 on GPT-2 has no such method and calls none, and before
#             that only "eager" attention called it, which is not the default. What is left has no positions at all.
#             "2 instances of ALiBi added" is logged; the warning of no effect is for models of unknown classes.
# Good guess: the algorithm that the package is known for is at work where it says so, on a model that it supports and
#             a version that it allows. Losses fall, as a causal mask tells something of where a token stands, and
#             longer texts than in training run, since the table of zeros is as long as one likes.
# Who is hurt: whoever compares ALiBi with learned positions by this algorithm, or trains short and tests long by it:
#             the row "ALiBi" is that of a model without an encoding, and so is what is saved.
# Way out:    transformers 4.47 with attn_implementation="eager".
# Output seen (one layer; change of the last token's logits when the first 20 of 40 tokens stand in the other order):
#   4.47.1, eager, learned positions: above 0.1
#   4.47.1, eager, ALiBi: above 0.1; said: 2 instances of ALiBi added
#   4.47.1, sdpa, learned positions: above 0.1
#   4.47.1, sdpa, ALiBi: below 1e-4; said: 2 instances of ALiBi added
#   4.53.3, eager, learned positions: above 0.1
#   4.53.3, eager, ALiBi: below 1e-4; said: 2 instances of ALiBi added
#   4.53.3, sdpa, learned positions: above 0.1
#   4.53.3, sdpa, ALiBi: below 1e-4; said: 2 instances of ALiBi added
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet transformers==4.53.3 tokenizers==0.21.4 torch==2.13.0 numpy==2.2.6 \
  coolname==2.2.0 importlib-metadata==8.7.0 mosaicml-cli==0.7.5 packaging==25.0 pillow==11.3.0 psutil==7.2.2 \
  py-cpuinfo==9.0.0 tabulate==0.9.0 torch-optimizer==0.3.0 torchmetrics==1.7.4
"$folder/venv/bin/pip" install --quiet --no-deps mosaicml==0.32.1 torchvision==0.28.0
"$folder/venv/bin/pip" install --quiet --no-deps --target "$folder/4.47.1" transformers==4.47.1
cat > "$folder/seen.py" <<'PYTHON'
import logging

import torch

try:
    import torchvision  # noqa: F401
except RuntimeError:
    # Its build for CUDA lacks its operators beside a CPU build of PyTorch; none of them is used here.
    library = torch.library.Library("torchvision", "FRAGMENT")
    for operator in ("nms", "qnms"):
        library.define(f"{operator}(Tensor boxes, Tensor scores, float threshold) -> Tensor")

import transformers
from composer.algorithms.alibi import apply_alibi
from transformers import GPT2Config, GPT2LMHeadModel

tokens = torch.arange(2, 42)[None]
turned = torch.cat([tokens[:, :20].flip(1), tokens[:, 20:]], 1)
said = []
logger = logging.getLogger("composer.algorithms.alibi.alibi")
logger.setLevel(logging.INFO)
logger.addHandler(logging.Handler())
logger.handlers[0].emit = lambda record: said.append(record.getMessage().strip())


@torch.no_grad()
def seen(attention, alibi):
    sizes = {"vocab_size": 50, "n_embd": 64, "n_layer": 1, "n_head": 4, "n_positions": 64}
    torch.manual_seed(0)
    model = GPT2LMHeadModel._from_config(GPT2Config(**sizes), attn_implementation=attention).eval()
    for weights in model.parameters():
        # So that the layer's share of the logits is not lost beside the embedding's.
        if weights.dim() == 2:
            torch.nn.init.normal_(weights, std=0.3)
    if alibi:
        apply_alibi(model, max_sequence_length=64)
    change = float((model(tokens).logits[:, -1] - model(turned).logits[:, -1]).abs().max())
    change = "below 1e-4" if change < 1e-4 else "above 0.1" if change > 0.1 else f"{change:.0e}"
    name = f"ALiBi: {change}; said: {said.pop()}" if alibi else f"learned positions: {change}"
    print(f"{transformers.__version__}, {attention}, {name}")


for attention in ("eager", "sdpa"):
    seen(attention, alibi=False)
    seen(attention, alibi=True)
PYTHON
(
  PYTHONPATH="$folder/4.47.1" "$folder/venv/bin/python" "$folder/seen.py"
  "$folder/venv/bin/python" "$folder/seen.py"
) 2> /dev/null | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
4.47.1, eager, learned positions: above 0.1
4.47.1, eager, ALiBi: above 0.1; said: 2 instances of ALiBi added
4.47.1, sdpa, learned positions: above 0.1
4.47.1, sdpa, ALiBi: below 1e-4; said: 2 instances of ALiBi added
4.53.3, eager, learned positions: above 0.1
4.53.3, eager, ALiBi: below 1e-4; said: 2 instances of ALiBi added
4.53.3, sdpa, learned positions: above 0.1
4.53.3, sdpa, ALiBi: below 1e-4; said: 2 instances of ALiBi added
SEEN
echo "as described"

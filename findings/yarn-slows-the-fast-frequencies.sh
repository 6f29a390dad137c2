#!/usr/bin/env bash
# Library:    litgpt 0.5.13 with PyTorch 2.13.0 (CPU build), GPT with `rope_adjustments` of YaRN (Peng et al. 2023).
# Behaviour:  YaRN keeps the frequencies that turn more than beta_fast times within the trained length, divides those
#             that turn less than beta_slow times by the factor, and blends between. Here the ramp is put on the other
#             side: fast frequencies are divided by the factor, and slow ones are left as they are. Without mscale, an
#             option, the factor on the cosines that YaRN brings along is left out as well.
# Good guess: beta_fast and beta_slow mean what they mean in the paper and in DeepSeek's configurations, and what the
#             rule of Llama 3.1, beside it in the same function, does right. The library compares YaRN with another
#             implementation in a test, in which both are given its own table of cosines and sines.
# Who is hurt: whoever extends a model by YaRN, or compares it with interpolation and Llama 3.1's rule: neighbouring
#             tokens are crowded together by the factor, which is what YaRN was made to avoid, and the slow channels
#             get angles that training never reached. What the table says of YaRN is said of its opposite.
# Way out:    the inverse of the factor, and rope_condense_ratio=8 for a factor of 8, which divides all frequencies. The
#             factor on the cosines is to be put on the scale of attention by oneself.
# Output seen (128 channels, base 10,000, factor 8, trained length 4,096; by how much the frequency of a pair is
# divided, measured by the angle between positions 0 and 1, and the factor on the cosines):
#   litgpt, linear: fastest by 8.00, middle by 8.00, slowest by 8.00; cosines times 1.00
#   litgpt, llama3: fastest by 1.00, middle by 1.00, slowest by 8.00; cosines times 1.00
#   litgpt, yarn: fastest by 8.00, middle by 1.89, slowest by 1.00; cosines times 1.00
#   litgpt, yarn of the inverse factor: fastest by 1.00, middle by 1.68, slowest by 8.00; cosines times 1.00
#   formula of YaRN: fastest by 1.00, middle by 1.68, slowest by 8.00; cosines times 1.21
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet litgpt==0.5.13 torch==2.13.0 numpy==2.3.5
cat > "$folder/seen.py" <<'PYTHON'
import math

import torch
from litgpt import GPT, Config

channels, base, factor, trained = 128, 10000, 8.0, 4096
plain = base ** (-torch.arange(0, channels, 2) / channels)
sizes = {"n_layer": 1, "n_head": 1, "n_embd": channels, "head_size": channels, "rotary_percentage": 1.0}


def shown(name, frequencies, cosines):
    fastest, middle, slowest = (plain / frequencies)[[0, 32, 63]]
    by = f"fastest by {fastest:.2f}, middle by {middle:.2f}, slowest by {slowest:.2f}"
    print(f"{name}: {by}; cosines times {cosines:.2f}")


def seen(name, condense=1, **adjustments):
    lengths = {"block_size": 32768, "rope_base": base, "rope_condense_ratio": condense}
    model = GPT(Config(**sizes, **lengths, padded_vocab_size=64, rope_adjustments=adjustments))
    angles = torch.atan2(model.sin[1], model.cos[1])[: channels // 2]
    shown(f"litgpt, {name}", angles, float(model.cos[0, 0]))


seen("linear", factor=factor)
seen("llama3", factor=factor, low_freq_factor=1.0, high_freq_factor=4.0, original_max_seq_len=trained)
betas = {"beta_fast": 32.0, "beta_slow": 1.0, "original_max_seq_len": trained}
seen("yarn", factor=factor, **betas)
seen("yarn of the inverse factor", condense=8, factor=1 / factor, **betas)


def pair(turns):
    return channels * math.log(trained / (2 * math.pi * turns)) / (2 * math.log(base))


first, last = math.floor(pair(32)), math.ceil(pair(1))
slow = ((torch.arange(channels // 2) - first) / (last - first)).clamp(0, 1)
shown("formula of YaRN", plain * (1 - slow) + plain / factor * slow, 0.1 * math.log(factor) + 1)
PYTHON
"$folder/venv/bin/python" "$folder/seen.py" 2> /dev/null | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
litgpt, linear: fastest by 8.00, middle by 8.00, slowest by 8.00; cosines times 1.00
litgpt, llama3: fastest by 1.00, middle by 1.00, slowest by 8.00; cosines times 1.00
litgpt, yarn: fastest by 8.00, middle by 1.89, slowest by 1.00; cosines times 1.00
litgpt, yarn of the inverse factor: fastest by 1.00, middle by 1.68, slowest by 8.00; cosines times 1.00
formula of YaRN: fastest by 1.00, middle by 1.68, slowest by 8.00; cosines times 1.21
SEEN
echo "as described"

#!/usr/bin/env bash
# Library:    keras-hub 0.32.0 (Keras 3.15.1 on PyTorch 2.13.0, CPU build), RotaryEmbedding(rope_type="dynamic").
# Behaviour:  The exponent of NTK-aware scaling, d / (d - 2), is put on the divisor of the frequencies instead of on
#             that of the base. All frequencies are divided by one number, factor^(d / (d - 2)): position
#             interpolation, a little stronger than "linear" with the same factor. The text's length plays no part in
#             it.
# Good guess: "dynamic" keeps the fastest frequency, divides the slowest by the factor and the others by powers
#             between, and only as far as a text is longer than the trained length. "linear" and "yarn" beside it are
#             as published.
# Who is hurt: whoever compares linear, dynamic NTK and YaRN by this layer: the row "dynamic" is a second row of
#             interpolation under another name, and says that NTK-aware scaling does not help. Texts of the trained
#             length, which dynamic NTK leaves as they are, are interpolated as well.
# Way out:    rope_type="linear" with scaling_factor=1 and max_wavelength=base * factor ** (d / (d - 2)).
# Output seen (64 channels, base 10,000, factor 8; by how much the frequency of a pair is divided, measured by the
# angle between positions 0 and 1):
#   linear: fastest by 8.00, middle by 8.00, slowest by 8.00
#   yarn: fastest by 1.00, middle by 1.68, slowest by 8.00
#   dynamic: fastest by 8.56, middle by 8.56, slowest by 8.56
#   dynamic, a text of 2 tokens: fastest by 8.56, middle by 8.56, slowest by 8.56
#   formula, NTK with a factor of 8: fastest by 1.00, middle by 2.92, slowest by 8.00
#   linear with the base of NTK: fastest by 1.00, middle by 2.92, slowest by 8.00
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet keras==3.15.1 torch==2.13.0 numpy==2.3.5 \
  regex==2026.11.19 tokenizers==0.23.3 sentencepiece==0.2.3 safetensors==0.8.0
# Its other requirements, TensorFlow among them, serve its data and presets.
"$folder/venv/bin/pip" install --quiet --no-deps keras-hub==0.32.0
cat > "$folder/seen.py" <<'PYTHON'
import os

os.environ["KERAS_BACKEND"] = "torch"

import keras
import keras_hub
import numpy as np

width, base, factor = 64, 10000.0, 8.0
pairs = np.arange(0, width, 2) / width
plain = base**-pairs


def frequencies(kind, tokens, **options):
    """The turn from position 0 to 1 of each pair of channels, in a text of so many tokens."""
    layer = keras_hub.layers.RotaryEmbedding(rope_type=kind, **{"scaling_factor": factor} | options)
    text = np.zeros((1, tokens, width), "float32")
    text[..., : width // 2] = 1
    turned = keras.ops.convert_to_numpy(layer(text))[0, 1]
    return np.arctan2(turned[width // 2 :], turned[: width // 2])


def said(found):
    fastest, middle, slowest = (plain / found)[[0, 16, -1]]
    return f"fastest by {fastest:.2f}, middle by {middle:.2f}, slowest by {slowest:.2f}"


for kind in ("linear", "yarn", "dynamic"):
    print(f"{kind}: {said(frequencies(kind, 64))}")
print(f"dynamic, a text of 2 tokens: {said(frequencies('dynamic', 2))}")
exponent = width / (width - 2)
print(f"formula, NTK with a factor of 8: {said((base * factor**exponent) ** -pairs)}")
found = frequencies("linear", 64, scaling_factor=1.0, max_wavelength=base * factor**exponent)
print(f"linear with the base of NTK: {said(found)}")
PYTHON
"$folder/venv/bin/python" -W ignore "$folder/seen.py" 2> /dev/null | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
linear: fastest by 8.00, middle by 8.00, slowest by 8.00
yarn: fastest by 1.00, middle by 1.68, slowest by 8.00
dynamic: fastest by 8.56, middle by 8.56, slowest by 8.56
dynamic, a text of 2 tokens: fastest by 8.56, middle by 8.56, slowest by 8.56
formula, NTK with a factor of 8: fastest by 1.00, middle by 2.92, slowest by 8.00
linear with the base of NTK: fastest by 1.00, middle by 2.92, slowest by 8.00
SEEN
echo "as described"

#!/usr/bin/env bash
# Library:    transformers 5.24.0 with PyTorch 2.13.0 (CPU build), SwinModel and DonutSwinModel in evaluation mode.
# Behaviour:  Where a stage's map is no larger than a window, there is nothing to shift, and the layer says so to
#             itself: it sets its own shift to 0, and nothing sets it back. With the usual configuration (224×224,
#             windows of 7) the last stage shifts its windows on pictures of 448×448 until the model has seen one
#             picture of 224×224 or 224×448, and never again. Saving and loading brings the shift back.
# Good guess: a model in evaluation mode maps a picture to one output. Swinv2Model decides about the shift when it is
#             built.
# Who is hurt: whoever evaluates one model at several sizes, or trains at several: the score at the larger size depends
#             on whether the smaller one came before, and windows of the last stage do not see one another where they
#             did in the training. What is loaded from disk is another model than the one that was just evaluated.
# Way out:    a fresh model for each size.
# Output seen (a picture of 448×448: shift of the last block, and how far the output lies from the new model's):
#   SwinModel, new: shift 3
#   SwinModel, after a picture of 224×224: shift 0, output off by above 0.1
#   SwinModel, saved and loaded: shift 3, output off by below 1e-4
#   SwinModel, after a picture of 224×448: shift 0, output off by above 0.1
#   DonutSwinModel, new: shift 3
#   DonutSwinModel, after a picture of 224×224: shift 0, output off by above 0.1
#   DonutSwinModel, saved and loaded: shift 3, output off by below 1e-4
#   DonutSwinModel, after a picture of 224×448: shift 0, output off by above 0.1
#   Swinv2Model, new: shift 0
#   Swinv2Model, after a picture of 224×224: shift 0, output off by below 1e-4
#   Swinv2Model, saved and loaded: shift 0, output off by below 1e-4
#   Swinv2Model, after a picture of 224×448: shift 0, output off by below 1e-4
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet transformers==5.24.0 torch==2.13.0 numpy==2.3.5
cat > "$folder/seen.py" <<'PYTHON'
import sys

import torch
from transformers import DonutSwinConfig, DonutSwinModel, SwinConfig, SwinModel, Swinv2Config, Swinv2Model

torch.set_grad_enabled(False)
sizes = {"embed_dim": 16, "depths": [2, 2, 2, 2], "num_heads": [1, 2, 4, 8], "initializer_range": 0.2}


def picture(height, width):
    return torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(height + width))


for configuration, made in ((SwinConfig, SwinModel), (DonutSwinConfig, DonutSwinModel), (Swinv2Config, Swinv2Model)):
    torch.manual_seed(0)
    # The size and the window are those of the published configurations.
    model = made(configuration(image_size=224, window_size=7, **sizes)).eval()
    first = model(picture(448, 448)).last_hidden_state
    print(f"{made.__name__}, new: shift {int(model.encoder.layers[-1].blocks[-1].shift_size)}")

    def show(name):
        found = float((model(picture(448, 448)).last_hidden_state - first).abs().max())
        shift = int(model.encoder.layers[-1].blocks[-1].shift_size)
        size = "above 0.1" if found > 0.1 else "below 1e-4" if found < 1e-4 else f"{found:.0e}"
        print(f"{made.__name__}, {name}: shift {shift}, output off by {size}")

    model(picture(224, 224))
    show("after a picture of 224×224")
    model.save_pretrained(f"{sys.argv[1]}/{made.__name__}")
    model = made.from_pretrained(f"{sys.argv[1]}/{made.__name__}").eval()
    show("saved and loaded")
    model(picture(224, 448))
    show("after a picture of 224×448")
PYTHON
"$folder/venv/bin/python" -W ignore "$folder/seen.py" "$folder" 2> /dev/null | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
SwinModel, new: shift 3
SwinModel, after a picture of 224×224: shift 0, output off by above 0.1
SwinModel, saved and loaded: shift 3, output off by below 1e-4
SwinModel, after a picture of 224×448: shift 0, output off by above 0.1
DonutSwinModel, new: shift 3
DonutSwinModel, after a picture of 224×224: shift 0, output off by above 0.1
DonutSwinModel, saved and loaded: shift 3, output off by below 1e-4
DonutSwinModel, after a picture of 224×448: shift 0, output off by above 0.1
Swinv2Model, new: shift 0
Swinv2Model, after a picture of 224×224: shift 0, output off by below 1e-4
Swinv2Model, saved and loaded: shift 0, output off by below 1e-4
Swinv2Model, after a picture of 224×448: shift 0, output off by below 1e-4
SEEN
echo "as described"

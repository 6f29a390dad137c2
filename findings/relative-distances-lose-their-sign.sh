#!/usr/bin/env bash
# Library:    SpeechBrain 1.1.2 with PyTorch 2.13.0 (CPU build), attention_type="RelPosMHAXL": the relative positions of
#             Transformer-XL (Dai et al. 2019) as in the Conformer.
# Behaviour:  The table of sinusoids is filled for distances back and ahead apart, and both halves get the sine of the
#             distance without its sign (speechbrain/speechbrain#3070, open). A key 3 places ahead has the row of a key
#             3 places back. An encoder of attention alone cannot tell a text from its mirror image: it gives the
#             mirror image of the outputs. In a Conformer the convolution is all that knows left from right.
# Good guess: the sine is odd, by which it tells i - j from j - i, as in the paper; the table has 2n - 1 rows, one for
#             each signed distance, as in ESPnet. Shapes fit, and a causal model, which looks back alone, is right.
# Who is hurt: whoever compares the attention types of one encoder, "regularMHA" with sines, "RelPosMHAXL", "RoPEMHA":
#             the relative row is that of an encoding without a direction, and loses where order tells; and whoever
#             brings weights of a Conformer from another library.
# Way out:    a subclass that gives the sines of the second half their sign, as below.
# Output seen (two layers, 40 tokens, no training; change of the outputs when the text is mirrored, and mirrored back):
#   rows of the table: 79, different 40
#   regularMHA, transformer: above 0.1
#   RoPEMHA, transformer: above 0.1
#   RelPosMHAXL, transformer: below 1e-4
#   RelPosMHAXL, conformer: above 0.1
#   RelPosMHAXL, transformer, sines with their sign: above 0.1
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.13.0 numpy==2.3.5 scipy==1.16.3 hyperpyyaml==1.2.3 \
  huggingface_hub==2.4.0 packaging==26.4 requests==2.34.2 tqdm==4.70.1
# Its other requirements read and write sound.
"$folder/venv/bin/pip" install --quiet --no-deps speechbrain==1.1.2
cat > "$folder/seen.py" <<'PYTHON'
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType

import torch

# Asked for by the package as a whole, and not used by its attention.
sys.modules["torchaudio"] = ModuleType("torchaudio")
sys.modules["torchaudio"].__spec__ = ModuleSpec("torchaudio", None)
sys.modules["torchaudio"].__version__ = "2.11.0"
from speechbrain.lobes.models.transformer.TransformerASR import TransformerASR  # noqa: E402
from speechbrain.nnet.attention import RelPosEncXL  # noqa: E402

x = torch.randn(1, 40, 64, generator=torch.Generator().manual_seed(0))


class Signed(RelPosEncXL):
    def make_pe(self, seq_len):
        table = super().make_pe(seq_len)
        table[:, seq_len:, 0::2] *= -1
        return table


@torch.no_grad()
def seen(name, attention, encoder, table=None):
    torch.manual_seed(0)
    sizes = {"tgt_vocab": 10, "input_size": 64, "d_model": 64, "nhead": 4, "d_ffn": 64}
    layers = {"num_encoder_layers": 2, "num_decoder_layers": 0, "encoder_module": encoder}
    model = TransformerASR(**sizes, **layers, attention_type=attention, normalize_before=True, causal=False).eval()
    if table:
        model.positional_encoding = table
    change = float((model.encode(x) - model.encode(x.flip(1)).flip(1)).abs().max())
    print(f"{name}: {'below 1e-4' if change < 1e-4 else 'above 0.1' if change > 0.1 else f'{change:.0e}'}")


rows = RelPosEncXL(64).make_pe(40)[0]
print(f"rows of the table: {len(rows)}, different {len(rows.unique(dim=0))}")
seen("regularMHA, transformer", "regularMHA", "transformer")
seen("RoPEMHA, transformer", "RoPEMHA", "transformer")
seen("RelPosMHAXL, transformer", "RelPosMHAXL", "transformer")
seen("RelPosMHAXL, conformer", "RelPosMHAXL", "conformer")
seen("RelPosMHAXL, transformer, sines with their sign", "RelPosMHAXL", "transformer", Signed(64))
PYTHON
"$folder/venv/bin/python" "$folder/seen.py" 2> /dev/null | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
rows of the table: 79, different 40
regularMHA, transformer: above 0.1
RoPEMHA, transformer: above 0.1
RelPosMHAXL, transformer: below 1e-4
RelPosMHAXL, conformer: above 0.1
RelPosMHAXL, transformer, sines with their sign: above 0.1
SEEN
echo "as described"

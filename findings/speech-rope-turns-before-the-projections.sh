#!/usr/bin/env bash
# Library:    transformers 5.24.0 with PyTorch 2.13.0 (CPU build): Wav2Vec2-Conformer, Wav2Vec2-BERT and SeamlessM4T with
#             position_embeddings_type="rotary".
# Behaviour:  The hidden states are turned, and projected to queries and keys afterwards. A projection does not commute
#             with a rotation, so that the angles of two tokens do not cancel to that of their distance: two equal
#             tokens have another logit at every place. With random weights logits vary five times as much with the
#             place of a pair as with its distance. fairseq, for whose weights it was written, does the same.
# Good guess: queries and keys are turned, as in the paper that the class names (Su et al. 2021), so that logits know of
#             distances alone, as with "relative" beside it. The configuration says "rotary" and no more.
# Who is hurt: whoever compares "relative" with "rotary" on speech: the second row is one of absolute positions, and
#             where it fails on longer recordings, whose places were never seen, RoPE is said to fail. And whoever
#             carries the published weights over to an attention whose RoPE is that of the paper.
# Way out:    to train anew: position_embeddings_type=None, and forward hooks that turn what linear_q and linear_k give.
# Output seen (all tokens of a recording alike, logits beside that of a token with itself: their deviation over the
# places at one distance, and that of their means over the distances from -10 to 10):
#   Wav2Vec2ConformerModel, relative: logits vary by 0.00 with the place, by 0.38 with the distance
#   Wav2Vec2ConformerModel, rotary: logits vary by 0.68 with the place, by 0.13 with the distance
#   Wav2Vec2BertModel, relative: logits vary by 0.00 with the place, by 0.36 with the distance
#   Wav2Vec2BertModel, rotary: logits vary by 0.66 with the place, by 0.12 with the distance
#   SeamlessM4TModel, relative: logits vary by 0.00 with the place, by 0.34 with the distance
#   SeamlessM4TModel, rotary: logits vary by 0.64 with the place, by 0.11 with the distance
#   Wav2Vec2ConformerModel, None and the two hooks: logits vary by 0.00 with the place, by 0.53 with the distance
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet transformers==5.24.0 torch==2.13.0 numpy==2.3.5
cat > "$folder/seen.py" <<'PYTHON'
import torch
import transformers

torch.set_grad_enabled(False)
torch.manual_seed(0)
width, heads, tokens, near = 64, 2, 200, 10
sizes = {"hidden_size": width, "intermediate_size": width, "num_attention_heads": heads, "num_hidden_layers": 1}
whole = {"vocab_size": 64, "speech_encoder_intermediate_size": width, "speech_encoder_layers": 1}
whole |= {f"{part}_layers": 1 for part in ("encoder", "decoder", "t2u_encoder", "t2u_decoder")}
parts = ("speech_encoder", "encoder", "decoder", "t2u_encoder", "t2u_decoder")
whole |= {f"{part}_attention_heads": heads for part in parts}
x = torch.randn(32, 1, width).expand(32, tokens, width)


def attention(name, kind):
    more = whole if name == "SeamlessM4T" else {}
    options = sizes | more | {"position_embeddings_type": kind, "attn_implementation": "eager"}
    model = getattr(transformers, f"{name}Model")(getattr(transformers, f"{name}Config")(**options))
    encoder = getattr(model, "speech_encoder", model).encoder
    layer = encoder.layers[0].self_attn.eval()
    for weight in layer.parameters():
        weight.normal_(std=width**-0.5)
    return layer, encoder.embed_positions and encoder.embed_positions(x)


def seen(name, kind, layer, angles=None, when=""):
    logits = layer(x, relative_position_embeddings=angles, output_attentions=True)[1].double().log()
    place = torch.arange(near, tokens - near)[:, None]
    logits = logits[:, :, place, place + torch.arange(-near, near + 1)] - logits[:, :, place, place]
    at, between = float(logits.std(-2).mean()), float(logits.mean(-2).std(-1).mean())
    vary = f"logits vary by {at:.2f} with the place, by {between:.2f} with the distance"
    print(f"{name}Model, {kind}{when}: {vary}")


for name in ("Wav2Vec2Conformer", "Wav2Vec2Bert", "SeamlessM4T"):
    for kind in ("relative", "rotary"):
        seen(name, kind, *attention(name, kind))

cosines, sines = attention("Wav2Vec2Conformer", "rotary")[1]


def turned(projection, arguments, found):
    found = found.unflatten(-1, (heads, -1))
    first, second = found.chunk(2, -1)
    return (found * cosines[:, 0] + torch.cat([-second, first], -1) * sines[:, 0]).flatten(-2)


layer, _ = attention("Wav2Vec2Conformer", None)
for projection in (layer.linear_q, layer.linear_k):
    projection.register_forward_hook(turned)
seen("Wav2Vec2Conformer", None, layer, when=" and the two hooks")
PYTHON
"$folder/venv/bin/python" -W ignore "$folder/seen.py" 2> /dev/null | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
Wav2Vec2ConformerModel, relative: logits vary by 0.00 with the place, by 0.38 with the distance
Wav2Vec2ConformerModel, rotary: logits vary by 0.68 with the place, by 0.13 with the distance
Wav2Vec2BertModel, relative: logits vary by 0.00 with the place, by 0.36 with the distance
Wav2Vec2BertModel, rotary: logits vary by 0.66 with the place, by 0.12 with the distance
SeamlessM4TModel, relative: logits vary by 0.00 with the place, by 0.34 with the distance
SeamlessM4TModel, rotary: logits vary by 0.64 with the place, by 0.11 with the distance
Wav2Vec2ConformerModel, None and the two hooks: logits vary by 0.00 with the place, by 0.53 with the distance
SEEN
echo "as described"

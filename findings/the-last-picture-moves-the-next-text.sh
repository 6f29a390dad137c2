#!/usr/bin/env bash
# Library:    transformers, Qwen2-VL, Qwen2.5-VL and Qwen3-VL with their M-RoPE: 4.57.1 beside 5.24.0, with PyTorch
#             2.13.0 (CPU build).
# Behaviour:  A picture takes fewer positions than tokens, and by how many is kept in the model, not in the cache. In
#             version 5 a text without a picture leaves that number as it was, and a step with a cache counts from it:
#             behind a picture of 8×12 tokens, read in any call before, the second half of a text stands 84 positions
#             before the place where it belongs. One pass over the whole text is right, and a step with an attention
#             mask fails. Two prompts with a cache each, read by turns, take each other's number; that is so in
#             version 4 as well.
# Good guess: what a prompt was is kept in its cache, and a text alone has the positions 0, 1, 2, … that version 4
#             gives it.
# Who is hurt: whoever reads long texts in chunks, or decodes by a loop of one's own, with a model that has seen a
#             picture before: perplexity depends on what was evaluated first, and is right in a fresh process.
#             `generate` sets the number anew for each new prompt, though not for one that goes on from a cache.
# Way out:    model.model.rope_deltas = None before a text; position_ids of one's own for prompts that take turns.
# Output seen (20 tokens by a cache behind 20 others, largest difference of a logit from one pass; and 10 tokens by the
# cache behind a picture of 8×12 tokens):
#   4.57.1, Qwen2VL: text below 1e-4, text after a picture below 1e-4; picture below 1e-4, after another one above 0.1
#   4.57.1, Qwen2_5_VL: text below 1e-4, text after a picture below 1e-4; picture below 1e-4, after another one above 0.1
#   4.57.1, Qwen3VL: text below 1e-4, text after a picture below 1e-4; picture below 1e-4, after another one above 0.1
#   5.24.0, Qwen2VL: text below 1e-4, text after a picture above 0.1; picture below 1e-4, after another one above 0.1
#   5.24.0, Qwen2_5_VL: text below 1e-4, text after a picture above 0.1; picture below 1e-4, after another one above 0.1
#   5.24.0, Qwen3VL: text below 1e-4, text after a picture above 0.1; picture below 1e-4, after another one above 0.1
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
for version in 4.57.1 5.24.0; do
  "${PYTHON:-python3}" -m venv "$folder/$version"
  "$folder/$version/bin/pip" install --quiet "transformers==$version" torch==2.13.0 numpy==2.3.5
done
cat > "$folder/seen.py" <<'PYTHON'
import torch
import transformers
from transformers import (
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
)

torch.set_grad_enabled(False)
five = transformers.__version__.startswith("5")
image = 6
text = {
    "vocab_size": 50, "hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 4, "head_dim": 16, "initializer_range": 0.2, "bos_token_id": 1, "eos_token_id": 2,
    "pad_token_id": 0, "rope_scaling": {"type": "mrope", "rope_type": "default", "mrope_section": [2, 3, 3]},
}  # fmt: skip
eyes = {"depth": 1, "num_heads": 2, "patch_size": 14, "temporal_patch_size": 2, "spatial_merge_size": 2}
narrow = {"hidden_size": 32, "out_hidden_size": 64, "intermediate_size": 32}
kinds = (
    (Qwen2VLConfig, Qwen2VLForConditionalGeneration, {"embed_dim": 32, "hidden_size": 64}),
    (Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration, narrow),
    (Qwen3VLConfig, Qwen3VLForConditionalGeneration, {**narrow, "deepstack_visual_indexes": [0]}),
)


def told(tokens):
    # Version 5 asks for the kind of each token, which its processors give: 1 for a picture.
    return {"mm_token_type_ids": (tokens == image).int()} if five else {}


def picture(rows, columns):
    tokens = torch.tensor([[10, 5] + [image] * rows * columns + [4, 12]])
    patches = torch.randn(4 * rows * columns, 3 * 2 * 14 * 14)
    return tokens, {"image_grid_thw": torch.tensor([[1, 2 * rows, 2 * columns]]), "pixel_values": patches}


def said(number):
    return "above 0.1" if number > 0.1 else "below 1e-4" if number < 1e-4 else f"{number:.0e}"


for configuration, made, own in kinds:
    torch.manual_seed(0)
    marks = {"image_token_id": image, "video_token_id": 7, "vision_start_token_id": 5, "vision_end_token_id": 4}
    model = made(configuration(text_config=text, vision_config={**eyes, **own}, **marks)).eval()

    def read(tokens, **seen):
        return model(tokens, use_cache=True, **seen, **(told(tokens) if seen else {}))

    def go_on(before, start, tokens):
        if five:
            return model(tokens, use_cache=True, cache=before.cache).logits
        steps = torch.arange(start, start + tokens.shape[1])
        return model(tokens, use_cache=True, past_key_values=before.past_key_values, cache_position=steps).logits

    words = torch.arange(40)[None] * 7 % 40 + 8
    large, of_large = picture(8, 12)
    small, of_small = picture(2, 2)

    full = read(words).logits[:, 20:]
    found = [float((go_on(read(words[:, :20]), 20, words[:, 20:]) - full).abs().max())]
    read(large, **of_large)
    found.append(float((go_on(read(words[:, :20]), 20, words[:, 20:]) - full).abs().max()))

    full = read(torch.cat([large, words[:, :10]], 1), **of_large).logits[:, -10:]
    found.append(float((go_on(read(large, **of_large), large.shape[1], words[:, :10]) - full).abs().max()))
    before = read(large, **of_large)
    read(small, **of_small)
    found.append(float((go_on(before, large.shape[1], words[:, :10]) - full).abs().max()))
    alone, after, picture_alone, picture_after = map(said, found)
    print(
        f"{transformers.__version__}, {made.__name__.split('For')[0]}: text {alone}, text after a picture {after}; "
        f"picture {picture_alone}, after another one {picture_after}"
    )
PYTHON
for version in 4.57.1 5.24.0; do
  "$folder/$version/bin/python" -W ignore "$folder/seen.py" 2> /dev/null
done | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
4.57.1, Qwen2VL: text below 1e-4, text after a picture below 1e-4; picture below 1e-4, after another one above 0.1
4.57.1, Qwen2_5_VL: text below 1e-4, text after a picture below 1e-4; picture below 1e-4, after another one above 0.1
4.57.1, Qwen3VL: text below 1e-4, text after a picture below 1e-4; picture below 1e-4, after another one above 0.1
5.24.0, Qwen2VL: text below 1e-4, text after a picture above 0.1; picture below 1e-4, after another one above 0.1
5.24.0, Qwen2_5_VL: text below 1e-4, text after a picture above 0.1; picture below 1e-4, after another one above 0.1
5.24.0, Qwen3VL: text below 1e-4, text after a picture above 0.1; picture below 1e-4, after another one above 0.1
SEEN
echo "as described"

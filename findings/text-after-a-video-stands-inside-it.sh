#!/usr/bin/env bash
# Library:    transformers, Qwen2-VL and Qwen2.5-VL with their M-RoPE: 4.57.1 beside 5.24.0, with PyTorch 2.13.0 (CPU
#             build).
# Behaviour:  Version 5 goes on counting behind a video by the height or width of its frames, whichever is more, and
#             leaves its times out. Once there are more times than that, the text behind the video has positions that
#             the video has as well. What is generated then is counted from behind the last of all: the question
#             stands in the middle of the video, and its answer as far away as the video is long.
# Good guess: text goes on one behind the largest position of what comes before it, as the paper says (Wang et al.
#             2024) and as version 4 does it; a cache changes no logits.
# Who is hurt: whoever evaluates these models on videos, or trains them on: published weights read positions that they
#             were not trained with, the more so the longer the video, which looks like poor length generalisation.
#             Pictures and short videos are right. A loss over an answer, in one pass, and its generation by a cache
#             use different positions.
# Way out:    position_ids of one's own.
# Output seen (a video of so many times and 2×3 tokens each behind 3 tokens, 4 tokens of text behind it; what is
# generated then; logits of 4 more tokens by the cache against one pass):
#   4.57.1, Qwen2VL, 2 times: video at 3 to 5, text at 6 to 9, then 10, logits off by below 1e-4
#   4.57.1, Qwen2VL, 30 times: video at 3 to 32, text at 33 to 36, then 37, logits off by below 1e-4
#   4.57.1, Qwen2_5_VL, 2 times: video at 3 to 5, text at 6 to 9, then 10, logits off by below 1e-4
#   4.57.1, Qwen2_5_VL, 30 times: video at 3 to 61, text at 62 to 65, then 66, logits off by below 1e-4
#   5.24.0, Qwen2VL, 2 times: video at 3 to 5, text at 6 to 9, then 10, logits off by below 1e-4
#   5.24.0, Qwen2VL, 30 times: video at 3 to 32, text at 6 to 9, then 33, logits off by above 0.1
#   5.24.0, Qwen2_5_VL, 2 times: video at 3 to 5, text at 6 to 9, then 10, logits off by below 1e-4
#   5.24.0, Qwen2_5_VL, 30 times: video at 3 to 61, text at 6 to 9, then 62, logits off by above 0.1
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
)

torch.set_grad_enabled(False)
five = transformers.__version__.startswith("5")
video = 7
text = {
    "vocab_size": 50, "hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4,
    "num_key_value_heads": 4, "initializer_range": 0.2, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
    "rope_scaling": {"type": "mrope", "rope_type": "default", "mrope_section": [2, 3, 3]},
}  # fmt: skip
eyes = {"depth": 1, "num_heads": 2, "patch_size": 14, "temporal_patch_size": 2, "spatial_merge_size": 2}
kinds = (
    (Qwen2VLConfig, Qwen2VLForConditionalGeneration, {"embed_dim": 32, "hidden_size": 64}),
    (
        Qwen2_5_VLConfig,
        Qwen2_5_VLForConditionalGeneration,
        {"hidden_size": 32, "out_hidden_size": 64, "intermediate_size": 32, "tokens_per_second": 2},
    ),
)


def told(tokens):
    # Version 5 asks for the kind of each token, which its processors give: 2 for a video.
    return {"mm_token_type_ids": 2 * (tokens == video).int()} if five else {}


for configuration, made, own in kinds:
    torch.manual_seed(0)
    marks = {"image_token_id": 6, "video_token_id": video, "vision_start_token_id": 5, "vision_end_token_id": 4}
    model = made(configuration(text_config=text, vision_config={**eyes, **own}, **marks)).eval()
    for times in (2, 30):
        tokens = torch.tensor([[10, 11, 5] + [video] * times * 6 + [4, 12, 13, 14]])
        seen = {
            "video_grid_thw": torch.tensor([[times, 4, 6]]),
            "pixel_values_videos": torch.randn(times * 24, 3 * 2 * 14 * 14),
        }
        # A second between two times, as from the usual two frames a second.
        time = {"second_per_grid_ts": torch.tensor([1.0])} if "tokens_per_second" in own else {}
        grid = {"video_grid_thw": seen["video_grid_thw"], **time, **told(tokens)}
        places, delta = model.model.get_rope_index(tokens, **grid)
        places, then = places[:, 0], tokens.shape[1] + int(delta)
        behind = places[:, -4:]
        assert bool((behind == behind[:1]).all())

        more = torch.tensor([[20, 21, 22, 23]])
        whole = torch.cat([tokens, more], 1)
        full = model(whole, **seen, **time, **told(whole)).logits[:, -4:]
        read = model(tokens, use_cache=True, **seen, **time, **told(tokens))
        if five:
            cached = model(more, use_cache=True, cache=read.cache)
        else:
            steps = torch.arange(tokens.shape[1], whole.shape[1])
            cached = model(more, use_cache=True, past_key_values=read.past_key_values, cache_position=steps)
        off = float((cached.logits - full).abs().max())
        size = "above 0.1" if off > 0.1 else "below 1e-4" if off < 1e-4 else f"{off:.0e}"
        first, last = int(places[:, 3:-4].min()), int(places[:, 3:-4].max())
        print(
            f"{transformers.__version__}, {made.__name__.split('For')[0]}, {times} times: video at {first} to {last}, "
            f"text at {int(behind[0, 0])} to {int(behind[0, -1])}, then {then}, logits off by {size}"
        )
PYTHON
for version in 4.57.1 5.24.0; do
  "$folder/$version/bin/python" -W ignore "$folder/seen.py" 2> /dev/null
done | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
4.57.1, Qwen2VL, 2 times: video at 3 to 5, text at 6 to 9, then 10, logits off by below 1e-4
4.57.1, Qwen2VL, 30 times: video at 3 to 32, text at 33 to 36, then 37, logits off by below 1e-4
4.57.1, Qwen2_5_VL, 2 times: video at 3 to 5, text at 6 to 9, then 10, logits off by below 1e-4
4.57.1, Qwen2_5_VL, 30 times: video at 3 to 61, text at 62 to 65, then 66, logits off by below 1e-4
5.24.0, Qwen2VL, 2 times: video at 3 to 5, text at 6 to 9, then 10, logits off by below 1e-4
5.24.0, Qwen2VL, 30 times: video at 3 to 32, text at 6 to 9, then 33, logits off by above 0.1
5.24.0, Qwen2_5_VL, 2 times: video at 3 to 5, text at 6 to 9, then 10, logits off by below 1e-4
5.24.0, Qwen2_5_VL, 30 times: video at 3 to 61, text at 6 to 9, then 62, logits off by above 0.1
SEEN
echo "as described"

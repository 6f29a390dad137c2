#!/usr/bin/env bash
# Library:    transformers 5.24.0 with PyTorch 2.13.0 (CPU build), `generate` with rope_type "longrope" (Ding et al. 2024).
# Behaviour:  Frequencies are divided by one list of factors up to the original length and by another one beyond it. A
#             text that grows past that length while it is generated keeps in its cache the keys turned by the first
#             list, and all that follow are turned by the second: the angle between two tokens is no longer that of
#             their distance. Phi-3 drops its cache at that moment (huggingface/transformers#33129); Llama, Qwen3 and
#             MiniCPM3 do not. To find the moment Phi-3 counts padding, which the choice of the list does not: behind
#             padding it drops its cache too early, and comes to the second list with a full one.
# Good guess: a cache saves time and changes no logits, as with "yarn", "linear" and "llama3". The type is offered to
#             all models alike, its documentation speaks of two lists and of no cache, and nothing is printed. A prompt
#             that is longer than the original length, or a text that stays within it, is right.
# Who is hurt: whoever extends a model by LongRoPE and measures it by what it writes: at the original length the text
#             breaks off into other words, and the method is said to fail there. Perplexity, in one pass, is right. And
#             whoever generates with Phi-3 in batches padded to a multiple of some number.
# Way out:    use_cache=False, or both lists the same.
# Output seen (an untrained model, original length 64, prompt of 50 tokens, 40 generated; distance of the last logits
# from those of the same text in one pass, in their deviation):
#   Llama, default: below 0.001
#   Llama, yarn: below 0.001
#   Llama, longrope: above 0.1
#   Llama, longrope, prompt of 20 tokens: below 0.001
#   Llama, longrope, prompt of 70 tokens: below 0.001
#   Llama, longrope, without a cache: below 0.001
#   Qwen3, longrope: above 0.1
#   MiniCPM3, longrope: above 0.1
#   Phi3, longrope: below 0.001
#   Phi3, longrope, prompt padded to 56 tokens: above 0.1
#   Phi3, default, prompt padded to 56 tokens: below 0.001
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet transformers==5.24.0 torch==2.13.0 numpy==2.3.5
cat > "$folder/seen.py" <<'PYTHON'
import torch
import transformers

torch.set_grad_enabled(False)
original, pairs = 64, 8
default = {"rope_type": "default", "rope_theta": 10000.0}
yarn = default | {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": original}
factors = {"short_factor": [1.0] * pairs, "long_factor": [1 + 3 * pair / (pairs - 1) for pair in range(pairs)]}
longrope = yarn | {"rope_type": "longrope"} | factors
sizes = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2, "vocab_size": 128, "pad_token_id": 0}
sizes |= {"num_attention_heads": 4, "num_key_value_heads": 4, "max_position_embeddings": 4 * original}
special = {
    "Llama": {},
    "Qwen3": {"head_dim": 2 * pairs},
    "MiniCPM3": {"q_lora_rank": 32, "kv_lora_rank": 32, "qk_rope_head_dim": 2 * pairs},
    "Phi3": {"original_max_position_embeddings": original},
}


def seen(name, rope, prompt=50, padding=0, when="", **options):
    torch.manual_seed(0)
    configuration = getattr(transformers, f"{name}Config")(rope_parameters=dict(rope), **sizes, **special[name])
    model = getattr(transformers, f"{name}ForCausalLM")(configuration).eval()
    for weight in model.parameters():
        weight.mul_(4 if weight.dim() > 1 else 1)
    mask = (torch.arange(padding + prompt) >= padding).long()[None]
    text = torch.randint(3, 128, (1, padding + prompt)) * mask
    options |= {"max_new_tokens": 40, "min_new_tokens": 40, "do_sample": False}
    written = model.generate(text, attention_mask=mask, return_dict_in_generate=True, output_logits=True, **options)
    right = model(written.sequences[:, padding:-1], use_cache=False).logits[0, -1]
    away = float((written.logits[-1][0] - right).abs().max() / right.std())
    amount = "below 0.001" if away < 0.001 else "above 0.1" if away > 0.1 else f"{away:.3f}"
    print(f"{name}, {rope['rope_type']}{when}: {amount}")


seen("Llama", default)
seen("Llama", yarn)
seen("Llama", longrope)
seen("Llama", longrope, prompt=20, when=", prompt of 20 tokens")
seen("Llama", longrope, prompt=70, when=", prompt of 70 tokens")
seen("Llama", longrope, use_cache=False, when=", without a cache")
seen("Qwen3", longrope)
seen("MiniCPM3", longrope)
seen("Phi3", longrope)
seen("Phi3", longrope, padding=6, when=", prompt padded to 56 tokens")
seen("Phi3", default, padding=6, when=", prompt padded to 56 tokens")
PYTHON
"$folder/venv/bin/python" -W ignore "$folder/seen.py" 2> /dev/null | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
Llama, default: below 0.001
Llama, yarn: below 0.001
Llama, longrope: above 0.1
Llama, longrope, prompt of 20 tokens: below 0.001
Llama, longrope, prompt of 70 tokens: below 0.001
Llama, longrope, without a cache: below 0.001
Qwen3, longrope: above 0.1
MiniCPM3, longrope: above 0.1
Phi3, longrope: below 0.001
Phi3, longrope, prompt padded to 56 tokens: above 0.1
Phi3, default, prompt padded to 56 tokens: below 0.001
SEEN
echo "as described"

#!/usr/bin/env bash
# Library:    transformers 5.24.0 reading GGUF (gguf 0.19.0, accelerate 1.15.0), with PyTorch 2.13.0 (CPU build).
# Behaviour:  A file of the architecture llama says in `llama.rope.scaling.*` how RoPE is scaled; for llama3's rule
#             the divisors of the frequencies stand in the tensor `rope_freqs.weight`. from_pretrained(gguf_file=...)
#             uses neither and makes a model whose RoPE is not scaled. It does use base, weights and the extended
#             length, so that the model claims a context that it was not loaded for. The keys left out are named at
#             the level INFO, which is off by default.
# Good guess: a file in one piece is the whole model. The keys are the format's own, the base beside them is read, and
#             config.json of the same model would have brought the scaling along.
# Who is hurt: whoever evaluates a model of extended context from GGUF, or trains it on: Llama 3.1, and whatever was
#             interpolated or extended by YaRN. The numbers blamed on the quantization or on the model are those of
#             wrong angles, and what is saved from it has them for good.
# Way out:    give the configuration of the original: from_pretrained(..., gguf_file=..., config=...).
# Output seen (a small Llama written to GGUF and read back, 200 tokens at an original length of 64):
#   default: read as default, base 500000, context 256, logits off by below 1e-4; with the configuration given by below
#   1e-4
#   linear: read as default, base 500000, context 256, logits off by above 0.1; with the configuration given by below
#   1e-4
#   yarn: read as default, base 500000, context 256, logits off by above 0.1; with the configuration given by below
#   1e-4
#   llama3: read as default, base 500000, context 256, logits off by above 0.1; with the configuration given by below
#   1e-4
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet transformers==5.24.0 gguf==0.19.0 accelerate==1.15.0 torch==2.13.0 numpy==2.3.5
cat > "$folder/seen.py" <<'PYTHON'
import sys

import gguf
import numpy as np
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

sizes = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
tokens = torch.arange(200)[None] * 7 % 60


def model(rope):
    torch.manual_seed(0)
    rope = {"rope_theta": 500000.0, **rope}
    config = LlamaConfig(
        vocab_size=64, max_position_embeddings=256, rope_parameters=rope, initializer_range=0.2, **sizes
    )
    return LlamaForCausalLM(config).eval()


def write(made, name):
    config, rope = made.config, made.config.rope_parameters
    file = gguf.GGUFWriter(f"{sys.argv[1]}/{name}.gguf", "llama")
    file.add_vocab_size(config.vocab_size)
    file.add_context_length(config.max_position_embeddings)
    file.add_embedding_length(config.hidden_size)
    file.add_feed_forward_length(config.intermediate_size)
    file.add_block_count(config.num_hidden_layers)
    file.add_head_count(config.num_attention_heads)
    file.add_head_count_kv(config.num_key_value_heads)
    file.add_layer_norm_rms_eps(config.rms_norm_eps)
    file.add_rope_dimension_count(16)
    file.add_rope_freq_base(rope["rope_theta"])
    file.add_tokenizer_model("gpt2")
    file.add_token_list([f"t{number}" for number in range(config.vocab_size)])
    file.add_token_merges([])
    if rope["rope_type"] in ("linear", "yarn"):
        file.add_rope_scaling_type(gguf.RopeScalingType(rope["rope_type"]))
        file.add_rope_scaling_factor(rope["factor"])
        file.add_rope_scaling_orig_ctx_len(64)
    if rope["rope_type"] == "llama3":
        # The format has a divisor for each frequency in place of the rule that gave them.
        plain = rope["rope_theta"] ** -(np.arange(0, 16, 2) / 16)
        file.add_tensor("rope_freqs.weight", np.float32(plain / made.model.rotary_emb.inv_freq.numpy()))
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    for key, weight in made.state_dict().items():
        if key.endswith(("q_proj.weight", "k_proj.weight")):
            # The format has the two channels of a frequency side by side, transformers half a head apart.
            weight = weight.view(4, 2, 8, 64).transpose(1, 2).reshape(64, 64)
        file.add_tensor(names.get_name(key, try_suffixes=(".weight",)), weight.numpy())
    file.write_header_to_file()
    file.write_kv_data_to_file()
    file.write_tensors_to_file()
    file.close()


def size(found):
    return "below 1e-4" if found < 1e-4 else "above 0.1" if found > 0.1 else f"{found:.0e}"


original = {"factor": 4.0, "original_max_position_embeddings": 64}
for rope in (
    {"rope_type": "default"},
    {"rope_type": "linear", "factor": 4.0},
    {"rope_type": "yarn", **original},
    {"rope_type": "llama3", "low_freq_factor": 1.0, "high_freq_factor": 4.0, **original},
):
    made, name = model(rope), rope["rope_type"]
    write(made, name)
    options = {"gguf_file": f"{name}.gguf", "dtype": torch.float32}
    read = AutoModelForCausalLM.from_pretrained(sys.argv[1], **options).eval()
    helped = AutoModelForCausalLM.from_pretrained(sys.argv[1], config=made.config, **options).eval()
    with torch.no_grad():
        wanted = made(tokens).logits
        off, still_off = (size(float((one(tokens).logits - wanted).abs().max())) for one in (read, helped))
    found = read.config
    print(
        f"{name}: read as {found.rope_parameters['rope_type']}, base {found.rope_parameters['rope_theta']:.0f}, "
        f"context {found.max_position_embeddings}, logits off by {off}; with the configuration given by {still_off}"
    )
PYTHON
"$folder/venv/bin/python" -W ignore "$folder/seen.py" "$folder" 2> /dev/null | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
default: read as default, base 500000, context 256, logits off by below 1e-4; with the configuration given by below 1e-4
linear: read as default, base 500000, context 256, logits off by above 0.1; with the configuration given by below 1e-4
yarn: read as default, base 500000, context 256, logits off by above 0.1; with the configuration given by below 1e-4
llama3: read as default, base 500000, context 256, logits off by above 0.1; with the configuration given by below 1e-4
SEEN
echo "as described"

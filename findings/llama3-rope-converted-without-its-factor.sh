#!/usr/bin/env bash
# Library:    CTranslate2 4.8.5 (TransformersConverter) on models of transformers 5.24.0, with PyTorch 2.13.0 (CPU
#             build).
# Behaviour:  Llama 3.1's rule divides slow frequencies by a factor and tells them by the original length. The converter
#             takes the type "llama3" and writes its two bounds, low_freq_factor and high_freq_factor, and neither the
#             factor nor the length. The engine then has a factor of 1 and a length of 0, by which every frequency is
#             slow and divided by 1: the converted model has RoPE that is not scaled. Of Gemma 3 the factor of the
#             global layers ("linear" by 8, from 4B on) is not read at all.
# Good guess: a type that is taken is computed, as those that are not implemented are refused by name, "yarn" and
#             "dynamic" among them. The release notes announce Llama 3's rule, both families are listed as supported,
#             and "linear" of a Llama comes out right. Nothing is printed.
# Who is hurt: whoever measures Llama 3.1 to 3.3 or a large Gemma 3 by this engine, or what its quantization costs: the
#             slow channels have angles that they were not trained with, and the error of a log probability grows
#             along the text, which looks like a rule that does not carry far, or like the price of int8.
# Way out:    write what is missing into each layer of the specification, as below.
# Output seen (two layers, 200 tokens, original length 64; largest error of a log probability against the model itself
# and against one of the same weights whose RoPE is not scaled):
#   Llama, default: the model below 1e-3, not scaled below 1e-3
#   Llama, linear: the model below 1e-3, not scaled above 0.1
#   Llama, llama3: the model above 0.1, not scaled below 1e-3
#   Llama, yarn: refused
#   Gemma 3, linear in the global layer: the model above 0.1, not scaled below 1e-3
#   Llama, llama3, factor and length written: the model below 1e-3, not scaled above 0.1
#   Gemma 3, type and factor written: the model below 1e-3, not scaled above 0.1
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet ctranslate2==4.8.5 transformers==5.24.0 torch==2.13.0 numpy==2.3.5
cat > "$folder/seen.py" <<'PYTHON'
import sys
from pathlib import Path

import ctranslate2
import numpy as np
import torch
from ctranslate2.converters import TransformersConverter
from ctranslate2.converters import transformers as loaders
from ctranslate2.specs.attention_spec import RotaryScalingType
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import Gemma3ForCausalLM, Gemma3TextConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

folder = Path(sys.argv[1])
words = {f"w{number}": number for number in range(64)}
tokens = torch.randint(0, 60, (1, 200), generator=torch.Generator().manual_seed(0))
sizes = {"vocab_size": 64, "hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2}
sizes |= {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "bos_token_id": 62, "eos_token_id": 63}
extended = {"factor": 8.0, "original_max_position_embeddings": 64}


def llama(rope):
    return LlamaForCausalLM(LlamaConfig(**sizes, rope_parameters=rope)).eval()


def gemma(rope):
    ropes = {"full_attention": rope, "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0}}
    layers = {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": 256}
    config = Gemma3TextConfig(**sizes, **layers, query_pre_attn_scalar=16, rope_parameters=ropes)
    return Gemma3ForCausalLM(config).eval()


def converted(model):
    place = folder / str(len(list(folder.iterdir())))
    model.save_pretrained(place / "model")
    words_alone = Tokenizer(models.WordLevel(words, unk_token="w61"))
    words_alone.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = {"unk_token": "w61", "bos_token": "w62", "eos_token": "w63"}
    PreTrainedTokenizerFast(tokenizer_object=words_alone, **special).save_pretrained(place / "model")
    TransformersConverter(str(place / "model")).convert(str(place / "engine"))
    engine = ctranslate2.Generator(str(place / "engine"), compute_type="float32")
    found = engine.forward_batch([[f"w{token}" for token in tokens[0].tolist()]], return_log_probs=True)
    return torch.from_numpy(np.array(found))[0]


def size(found, model):
    error = float((found - model(tokens).logits.log_softmax(-1)[0]).abs().max())
    return "below 1e-3" if error < 1e-3 else "above 0.1" if error > 0.1 else f"{error:.0e}"


def seen(name, make, base, **scaling):
    torch.manual_seed(0)
    model = make({"rope_theta": base, **scaling})
    for weights in model.parameters():
        # So that the layers' share of the logits is not lost beside the embedding's.
        if weights.dim() == 2:
            torch.nn.init.normal_(weights, std=2 / weights.shape[1] ** 0.5)
    plain = make({"rope_theta": base, "rope_type": "default"})
    plain.load_state_dict(model.state_dict())
    try:
        found = converted(model)
    except NotImplementedError:
        print(f"{name}: refused")
    else:
        print(f"{name}: the model {size(found, model)}, not scaled {size(found, plain)}")


bounds = {"low_freq_factor": 1.0, "high_freq_factor": 4.0}
with torch.no_grad():
    seen("Llama, default", llama, 5e5, rope_type="default")
    seen("Llama, linear", llama, 5e5, rope_type="linear", factor=8.0)
    seen("Llama, llama3", llama, 5e5, rope_type="llama3", **bounds, **extended)
    seen("Llama, yarn", llama, 5e5, rope_type="yarn", **extended)
    seen("Gemma 3, linear in the global layer", gemma, 1e6, rope_type="linear", factor=8.0)

    def writing(kind, layers, **missing):
        loader = type(loaders._MODEL_LOADERS[kind])
        as_released = loader.get_model_spec

        def whole(self, model):
            spec = as_released(self, model)
            for layer in layers(spec.decoder.layer):
                # The specification takes no names that it does not know; what is in it is written all the same.
                vars(layer.self_attention).update(missing)
            return spec

        loader.get_model_spec = whole

    factor = {"rotary_scaling_factor": np.float32(8)}
    writing("LlamaConfig", list, **factor, original_max_position_embeddings=np.int32(64))
    seen("Llama, llama3, factor and length written", llama, 5e5, rope_type="llama3", **bounds, **extended)
    linear = np.int8(RotaryScalingType.Linear)
    writing("Gemma3TextConfig", lambda layers: layers[1::2], **factor, rotary_scaling_type=linear)
    seen("Gemma 3, type and factor written", gemma, 1e6, rope_type="linear", factor=8.0)
PYTHON
mkdir "$folder/models"
"$folder/venv/bin/python" "$folder/seen.py" "$folder/models" 2> /dev/null | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
Llama, default: the model below 1e-3, not scaled below 1e-3
Llama, linear: the model below 1e-3, not scaled above 0.1
Llama, llama3: the model above 0.1, not scaled below 1e-3
Llama, yarn: refused
Gemma 3, linear in the global layer: the model above 0.1, not scaled below 1e-3
Llama, llama3, factor and length written: the model below 1e-3, not scaled above 0.1
Gemma 3, type and factor written: the model below 1e-3, not scaled above 0.1
SEEN
echo "as described"

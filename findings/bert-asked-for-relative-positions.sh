#!/usr/bin/env bash
# Library:    transformers, BERT and ELECTRA with position_embedding_type="relative_key" (Shaw et al. 2018) or
#             "relative_key_query" (Huang et al. 2020): 4.57.1 beside 5.24.0, with PyTorch 2.13.0 (CPU build).
# Behaviour:  Version 5 has absolute positions alone (huggingface/transformers#41170). It takes the argument all the
#             same, keeps, prints and saves it in the configuration, and builds the model with a table of absolute
#             positions, the same to the last bit for all three names. Nothing is said.
# Good guess: a configuration that accepts and shows position_embedding_type is built by it, as for years, or refuses
#             it. Version 4 says of version 5 that these encodings will need attn_implementation="eager" there, and no
#             more; given it, nothing changes.
# Who is hurt: whoever trains the three encodings against each other, as in the papers that the names come from: with
#             version 5 they are three rows of one model, apart by their seeds alone, under three names that
#             config.json confirms.
# Output seen (one layer, weights of one seed; change of the outputs when the text stands 100 positions later; their
# difference from those of "absolute"):
#   4.57.1, BertModel, absolute: tables of distances 0, change 100 places later above 0.1, difference none
#   4.57.1, BertModel, relative_key: tables of distances 1, change 100 places later none, difference above 0.1
#   4.57.1, BertModel, relative_key_query: tables of distances 1, change 100 places later none, difference above 0.1
#   4.57.1, ElectraModel, absolute: tables of distances 0, change 100 places later above 0.1, difference none
#   4.57.1, ElectraModel, relative_key: tables of distances 1, change 100 places later none, difference above 0.1
#   4.57.1, ElectraModel, relative_key_query: tables of distances 1, change 100 places later none, difference above
#   0.1
#   5.24.0, BertModel, absolute: tables of distances 0, change 100 places later above 0.1, difference none
#   5.24.0, BertModel, relative_key: tables of distances 0, change 100 places later above 0.1, difference none
#   5.24.0, BertModel, relative_key_query: tables of distances 0, change 100 places later above 0.1, difference none
#   5.24.0, ElectraModel, absolute: tables of distances 0, change 100 places later above 0.1, difference none
#   5.24.0, ElectraModel, relative_key: tables of distances 0, change 100 places later above 0.1, difference none
#   5.24.0, ElectraModel, relative_key_query: tables of distances 0, change 100 places later above 0.1, difference
#   none
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
for version in 4.57.1 5.24.0; do
  "${PYTHON:-python3}" -m venv "$folder/$version"
  "$folder/$version/bin/pip" install --quiet "transformers==$version" torch==2.13.0 numpy==2.3.5
done
cat > "$folder/seen.py" <<'PYTHON'
import sys

import torch
import transformers
from transformers import BertConfig, BertModel, ElectraConfig, ElectraModel

torch.set_grad_enabled(False)
sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
tokens, places = torch.arange(3, 15)[None], torch.arange(12)[None]


def said(one, other):
    found = float((one - other).abs().max())
    return "none" if found == 0 else "above 0.1" if found > 0.1 else "below 1e-5" if found < 1e-5 else f"{found:.0e}"


for configuration, made in ((BertConfig, BertModel), (ElectraConfig, ElectraModel)):
    for kind in ("absolute", "relative_key", "relative_key_query"):
        torch.manual_seed(0)
        config = configuration(
            vocab_size=50,
            max_position_embeddings=130,
            initializer_range=0.3,
            position_embedding_type=kind,
            # Version 4 asks for it with these encodings, "from version 5 on".
            attn_implementation="eager",
            **sizes,
        )
        assert config.position_embedding_type == config.to_dict()["position_embedding_type"] == kind
        model = made(config).eval()
        tables = sum("distance_embedding" in name for name, _ in model.named_parameters())
        found = model(tokens, position_ids=places).last_hidden_state
        later = said(model(tokens, position_ids=places + 100).last_hidden_state, found)
        if kind == "absolute":
            absolute = found
        print(
            f"{transformers.__version__}, {made.__name__}, {kind}: tables of distances {tables}, change 100 places later "
            f"{later}, difference {said(found, absolute)}"
        )
PYTHON
for version in 4.57.1 5.24.0; do
  "$folder/$version/bin/python" -W ignore "$folder/seen.py" 2> "$folder/said"
  # Nothing is said about the argument either.
  if grep -i position "$folder/said"; then exit 1; fi
done | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
4.57.1, BertModel, absolute: tables of distances 0, change 100 places later above 0.1, difference none
4.57.1, BertModel, relative_key: tables of distances 1, change 100 places later none, difference above 0.1
4.57.1, BertModel, relative_key_query: tables of distances 1, change 100 places later none, difference above 0.1
4.57.1, ElectraModel, absolute: tables of distances 0, change 100 places later above 0.1, difference none
4.57.1, ElectraModel, relative_key: tables of distances 1, change 100 places later none, difference above 0.1
4.57.1, ElectraModel, relative_key_query: tables of distances 1, change 100 places later none, difference above 0.1
5.24.0, BertModel, absolute: tables of distances 0, change 100 places later above 0.1, difference none
5.24.0, BertModel, relative_key: tables of distances 0, change 100 places later above 0.1, difference none
5.24.0, BertModel, relative_key_query: tables of distances 0, change 100 places later above 0.1, difference none
5.24.0, ElectraModel, absolute: tables of distances 0, change 100 places later above 0.1, difference none
5.24.0, ElectraModel, relative_key: tables of distances 0, change 100 places later above 0.1, difference none
5.24.0, ElectraModel, relative_key_query: tables of distances 0, change 100 places later above 0.1, difference none
SEEN
echo "as described"

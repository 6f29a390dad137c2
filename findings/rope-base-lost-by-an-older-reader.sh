#!/usr/bin/env bash
# Library:    transformers, a configuration written by 5.24.0 and read by 4.57.1.
# Behaviour:  Version 5 writes RoPE's base as rope_parameters.rope_theta alone. Version 4 keeps that dictionary as an
#             attribute that nothing reads, and takes the default base of 10,000 and no scaling. It says nothing.
# Good guess: config.json has had `rope_theta` for years, and what a reader does not know it names or refuses. Keys
#             that a configuration does not know become attributes, so the base looks present when it is printed.
# Who is hurt: whoever evaluates, serves or converts with an environment that stayed at version 4. A model of base
#             500,000 loads, generates, and is another model: the numbers blamed on it are those of a wrong base.
# Way out:    write `rope_theta` and `rope_scaling` beside `rope_parameters`; both versions then read the same.
# Output seen:
#   written by 5.24.0: keys about RoPE are rope_parameters; base 500000, type llama3, factor 8
#   read by 4.57.1: base 10000, scaling None
#   with rope_theta and rope_scaling added, read by 4.57.1: base 500000, scaling llama3 by 8
#   with rope_theta and rope_scaling added, read by 5.24.0: base 500000, type llama3, factor 8
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
for version in 5.24.0 4.57.1; do
  "${PYTHON:-python3}" -m venv "$folder/$version"
  "$folder/$version/bin/pip" install --quiet "transformers==$version"
done
cd "$folder"
cat > write.py <<'PYTHON'
import json

from transformers import LlamaConfig

rope = {"rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0}
rope |= {"high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
LlamaConfig(max_position_embeddings=131072, rope_parameters=rope).save_pretrained("new")
with open("new/config.json") as file:
    written = json.load(file)
about = ", ".join(key for key in sorted(written) if key.startswith("rope"))
found = written["rope_parameters"]
print(
    f"written by 5.24.0: keys about RoPE are {about}; base {found['rope_theta']:.0f}, "
    f"type {found['rope_type']}, factor {found['factor']:.0f}"
)
scaling = {key: value for key, value in rope.items() if key != "rope_theta"}
LlamaConfig.from_dict(written).save_pretrained("both")
with open("both/config.json", "w") as file:
    json.dump(written | {"rope_theta": rope["rope_theta"], "rope_scaling": scaling}, file)
PYTHON
cat > read4.py <<'PYTHON'
import sys

from transformers import AutoConfig

config = AutoConfig.from_pretrained(sys.argv[1])
scaling = config.rope_scaling
print(f"base {config.rope_theta:.0f}, scaling", scaling and f"{scaling['rope_type']} by {scaling['factor']:.0f}")
PYTHON
cat > read5.py <<'PYTHON'
import sys

from transformers import AutoConfig

found = AutoConfig.from_pretrained(sys.argv[1]).rope_parameters
print(f"base {found['rope_theta']:.0f}, type {found['rope_type']}, factor {found['factor']:.0f}")
PYTHON
{
  5.24.0/bin/python -W ignore write.py
  echo "read by 4.57.1: $(4.57.1/bin/python -W ignore read4.py new)"
  echo "with rope_theta and rope_scaling added, read by 4.57.1: $(4.57.1/bin/python -W ignore read4.py both)"
  echo "with rope_theta and rope_scaling added, read by 5.24.0: $(5.24.0/bin/python -W ignore read5.py both)"
} | tee seen
diff seen - <<'SEEN'
written by 5.24.0: keys about RoPE are rope_parameters; base 500000, type llama3, factor 8
read by 4.57.1: base 10000, scaling None
with rope_theta and rope_scaling added, read by 4.57.1: base 500000, scaling llama3 by 8
with rope_theta and rope_scaling added, read by 5.24.0: base 500000, type llama3, factor 8
SEEN
echo "as described"

#!/usr/bin/env bash
# Library:    position-encoding 1.0.0 with PyTorch 2.13.0 (CPU build), get_relative_position_encoding_matrix: offsets of
#             queries and keys, one-hot in encoding_depth bins.
# Behaviour:  Bins are counted from the largest offset that the length allows, and what lies beyond the last bin is put
#             into it. With fewer bins than offsets those kept are the keys farthest ahead, which only the first
#             queries have; all keys near a query, before and behind it and itself, share the last bin. With the bins of
#             a shorter length each offset has another bin than at that length.
# Good guess: bins are counted from the middle, and the outer ones hold what is farther away, as in clipped relative
#             positions (Shaw et al. 2018): the function says that it tells the left side from the right one around 0,
#             and that it takes as many bins as there are offsets by default.
# Who is hurt: whoever caps the offsets, or evaluates beyond the trained length with the trained width: relative
#             positions then say nothing in most of the text, no error is raised, and the encoding is said not to
#             extrapolate.
# Way out:    cut the middle out of the full matrix, and sum the bins left and right of it into the outer ones.
# Output seen (bins of the keys from 3 before to 3 behind the middle query; different bins of all keys of that query):
#   32 tokens, all bins: 34 33 32 31 30 29 28, different 32
#   32 tokens, 17 bins: 16 16 16 16 16 16 16, different 1
#   64 tokens, 17 bins: 16 16 16 16 16 16 16, different 1
#   64 tokens, the 63 bins of 32: 62 62 62 62 62 61 60, different 31
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet position-encoding==1.0.0 torch==2.13.0 numpy==2.3.5
cat > "$folder/seen.py" <<'PYTHON'
from position_encoding import get_relative_position_encoding_matrix

for tokens, depth, name in ((32, 0, "all bins"), (32, 17, "17 bins"), (64, 17, "17 bins"), (64, 63, "the 63 bins of 32")):
    bins = get_relative_position_encoding_matrix(tokens, depth).argmax(-1)[tokens // 2]
    near = " ".join(map(str, bins[tokens // 2 - 3 : tokens // 2 + 4].tolist()))
    print(f"{tokens} tokens, {name}: {near}, different {len(bins.unique())}")
PYTHON
"$folder/venv/bin/python" -W ignore "$folder/seen.py" 2> /dev/null | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
32 tokens, all bins: 34 33 32 31 30 29 28, different 32
32 tokens, 17 bins: 16 16 16 16 16 16 16, different 1
64 tokens, 17 bins: 16 16 16 16 16 16 16, different 1
64 tokens, the 63 bins of 32: 62 62 62 62 62 61 60, different 31
SEEN
echo "as described"

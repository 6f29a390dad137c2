#!/usr/bin/env bash
# Library:    lm-eval 0.4.13, task `ruler_fwe`: RULER's extraction of frequent words (Hsieh et al. 2024), as in the
#             scripts of RULER itself.
# Behaviour:  Each text is shuffled by a generator of the same seed, and at one length all texts have the same numbers of
#             words. So the words of all 500 texts are put into one and the same order: the three that are asked for
#             differ from text to text, and stand at the same places in each.
# Good guess: A list whose words are drawn anew is shuffled anew, so that nothing but counting tells which are the most
#             frequent. Three places, read off one text, answer all others.
# Who is hurt: whoever trains on such texts, or gives some of them as examples: a model with positions can learn three
#             places of a length and count nothing. What it is then measured by is where words stand, not how many.
# Output seen (200 texts of 4,096 tokens, words for tokens):
#   different answers: 200
#   different orders of the words: 1
#   right by the places of the first text: 100 %
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet lm-eval==0.4.13 transformers==5.24.0 scipy==1.16.3 numpy==2.3.5
cat > "$folder/seen.py" <<'PYTHON'
import random
from types import SimpleNamespace

from lm_eval.tasks.ruler.fwe_utils import sys_kwext

random.seed(0)
made = sys_kwext(lambda text: SimpleNamespace(input_ids=text.split()), 4096, num_samples=200)
texts = [one["input"].split("coded words. ")[1].split("\nQuestion")[0].split() for one in made]
answers = [one["outputs"] for one in made]


def order(text):
    """The words by the number of the first place at which each stands."""
    return tuple(text.index(word) for word in text)


places = [texts[0].index(word) for word in answers[0]]
right = sum([text[place] for place in places] == answer for text, answer in zip(texts, answers))
print(f"different answers: {len({tuple(answer) for answer in answers})}")
print(f"different orders of the words: {len({order(text) for text in texts})}")
print(f"right by the places of the first text: {100 * right // len(texts)} %")
PYTHON
"$folder/venv/bin/python" -W ignore "$folder/seen.py" 2> /dev/null | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
different answers: 200
different orders of the words: 1
right by the places of the first text: 100 %
SEEN
echo "as described"

#!/usr/bin/env bash
# Library:    transformers 5.24.0 (save_pretrained of a fast tokenizer), its tokenizer.json read by tokenizers 0.23.3.
# Behaviour:  A call with truncation=True or with padding="max_length" sets both lengths in the tokenizer underneath
#             and leaves them there, and save_pretrained writes them into tokenizer.json. Whoever reads that file by
#             the tokenizers library gets every text cut at the length of the last call, or padded to it. transformers
#             itself sets both anew at each call and never shows it; a last call without them writes a file without
#             them.
# Good guess: how one text was called is no property of the tokenizer. The method that sets the lengths says that it
#             restores the settings afterwards, and the length that belongs to the model, model_max_length, stands in
#             another file.
# Who is hurt: whoever trains at a short length, saves model and tokenizer together, and measures longer ones with
#             tools that read tokenizer.json (litgpt, servers, scripts that tokenize a corpus): all documents have the
#             trained length, so that bits per byte are divided by bytes that were never read, a needle beyond the cut
#             is in no prompt, and every longer column repeats the one at the trained length.
# Way out:    tokenizers.Tokenizer.from_file(...), then no_truncation() and no_padding().
# Output seen (tokens of a text of 1,000 words, one token each; model_max_length 1,024):
#   nothing called: by tokenizers 1000, by transformers 1000
#   a short text cut at 128: by tokenizers 128, by transformers 1000
#   a short text cut at 128, then one as it is: by tokenizers 1000, by transformers 1000
#   a batch padded: by tokenizers 1000, by transformers 1000
#   a text padded to 2,048: by tokenizers 2048, by transformers 1000
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet transformers==5.24.0 tokenizers==0.23.3
cat > "$folder/seen.py" <<'PYTHON'
import sys
from pathlib import Path

from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

long, short = "a " * 1000, "a " * 5
calls = {
    "nothing called": [],
    "a short text cut at 128": [(short, {"truncation": True, "max_length": 128})],
    "a short text cut at 128, then one as it is": [(short, {"truncation": True, "max_length": 128}), (short, {})],
    "a batch padded": [([short, short + short], {"padding": True})],
    "a text padded to 2,048": [(short, {"padding": "max_length", "max_length": 2048})],
}
for number, (name, made) in enumerate(calls.items()):
    words = Tokenizer(models.WordLevel({"<pad>": 0, "a": 1}, unk_token="a"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", model_max_length=1024)
    for text, options in made:
        tokenizer(text, **options)
    folder = Path(sys.argv[1], str(number))
    tokenizer.save_pretrained(folder)
    by_file = len(Tokenizer.from_file(str(folder / "tokenizer.json")).encode(long).ids)
    by_folder = len(AutoTokenizer.from_pretrained(folder)(long)["input_ids"])
    print(f"{name}: by tokenizers {by_file}, by transformers {by_folder}")
PYTHON
"$folder/venv/bin/python" -W ignore "$folder/seen.py" "$folder" 2> /dev/null | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
nothing called: by tokenizers 1000, by transformers 1000
a short text cut at 128: by tokenizers 128, by transformers 1000
a short text cut at 128, then one as it is: by tokenizers 1000, by transformers 1000
a batch padded: by tokenizers 1000, by transformers 1000
a text padded to 2,048: by tokenizers 2048, by transformers 1000
SEEN
echo "as described"

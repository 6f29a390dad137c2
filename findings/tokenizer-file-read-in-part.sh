#!/usr/bin/env bash
# Library:    transformers 5.24.0, AutoTokenizer on a folder with tokenizer.json, beside tokenizers 0.23.3 on that file.
# Behaviour:  For the classes GPT2Tokenizer, GPTNeoXTokenizer and Qwen2Tokenizer version 5 takes vocabulary and merges
#             from tokenizer.json, and builds normalizer and pre-tokenizer itself. A file that splits digits loses that;
#             beside a Qwen2 also where its tokenizer has no class of its own. Version 4 reads the file as it is.
# Good guess: tokenizer.json is the tokenizer, as for PreTrainedTokenizerFast and for the tokenizers library. Nothing is
#             printed: the ids are valid, the text that they decode to is the same, and the model reads other tokens
#             than those it was trained on.
# Who is hurt: whoever moved to version 5 with a Llama, Qwen or GPT-NeoX of one's own, since such classes were written
#             for any byte-level BPE: perplexity and arithmetic get worse. Published families that were reported
#             (huggingface/transformers#45920) are on a list of exceptions by now; folders of one's own are on none.
# Way out:    read tokenizer.json by the tokenizers library, or write the class TokenizersBackend.
# Output seen (tokens of "in 2023", from a tokenizer.json with merges of digits, which splits digits or does not):
#   tokenizers, digits apart: in | Ġ | 2 | 0 | 2 | 3
#   tokenizers, as GPT-2: in | Ġ | 20 | 23
#   4.57.1, llama with GPT2Tokenizer, digits apart: in | Ġ | 2 | 0 | 2 | 3
#   4.57.1, llama with PreTrainedTokenizerFast, digits apart: in | Ġ | 2 | 0 | 2 | 3
#   4.57.1, qwen2 with PreTrainedTokenizerFast, as GPT-2: in | Ġ | 20 | 23
#   5.24.0, llama with GPT2Tokenizer, digits apart: in | Ġ | 20 | 23
#   5.24.0, llama with PreTrainedTokenizerFast, digits apart: in | Ġ | 2 | 0 | 2 | 3
#   5.24.0, qwen2 with PreTrainedTokenizerFast, as GPT-2: in | Ġ | 2 | 0 | 2 | 3
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
for pinned in 4.57.1/0.22.1 5.24.0/0.23.3; do
  version=${pinned%/*}
  "${PYTHON:-python3}" -m venv "$folder/$version"
  "$folder/$version/bin/pip" install --quiet "transformers==$version" "tokenizers==${pinned#*/}"
done
cd "$folder"
cat > write.py <<'PYTHON'
import json
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers

letters = sorted(pre_tokenizers.ByteLevel.alphabet())
vocabulary = {token: number for number, token in enumerate([*letters, "in", "20", "23"])}
inner = Tokenizer(models.BPE(vocab=vocabulary, merges=[("i", "n"), ("2", "0"), ("2", "3")]))
inner.decoder = decoders.ByteLevel()
plain = pre_tokenizers.ByteLevel(add_prefix_space=False)
apart = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), plain])
splits = {"digits apart": apart, "as GPT-2": plain}
for how, split in splits.items():
    inner.pre_tokenizer = split
    print(f"tokenizers, {how}:", " | ".join(inner.encode("in 2023").tokens))
for kind, name, how in (
    ("llama", "GPT2Tokenizer", "digits apart"),
    ("llama", "PreTrainedTokenizerFast", "digits apart"),
    ("qwen2", "PreTrainedTokenizerFast", "as GPT-2"),
):
    folder = Path("models", f"{kind} with {name}, {how}")
    folder.mkdir(parents=True)
    inner.pre_tokenizer = splits[how]
    inner.save(str(folder / "tokenizer.json"))
    (folder / "config.json").write_text(json.dumps({"model_type": kind}))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": name}))
PYTHON
cat > read.py <<'PYTHON'
from pathlib import Path

import transformers

for folder in sorted(Path("models").iterdir()):
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(folder))
    ids = tokenizer("in 2023", add_special_tokens=False)["input_ids"]
    tokens = " | ".join(tokenizer.convert_ids_to_tokens(ids))
    print(f"{transformers.__version__}, {folder.name}: {tokens}")
PYTHON
{
  5.24.0/bin/python write.py
  4.57.1/bin/python read.py
  5.24.0/bin/python read.py
} 2> /dev/null | tee seen
diff seen - <<'SEEN'
tokenizers, digits apart: in | Ġ | 2 | 0 | 2 | 3
tokenizers, as GPT-2: in | Ġ | 20 | 23
4.57.1, llama with GPT2Tokenizer, digits apart: in | Ġ | 2 | 0 | 2 | 3
4.57.1, llama with PreTrainedTokenizerFast, digits apart: in | Ġ | 2 | 0 | 2 | 3
4.57.1, qwen2 with PreTrainedTokenizerFast, as GPT-2: in | Ġ | 20 | 23
5.24.0, llama with GPT2Tokenizer, digits apart: in | Ġ | 20 | 23
5.24.0, llama with PreTrainedTokenizerFast, digits apart: in | Ġ | 2 | 0 | 2 | 3
5.24.0, qwen2 with PreTrainedTokenizerFast, as GPT-2: in | Ġ | 2 | 0 | 2 | 3
SEEN
echo "as described"

#!/usr/bin/env bash
# Library:    equinox 0.13.8 with JAX 0.10.2 (CPU), equinox.nn.RotaryPositionalEmbedding with its option `theta`, the base
#             of the frequencies.
# Behaviour:  All layers of one width and dtype share a table of cosines and sines, and the base is no part of its key.
#             The first layer that is called decides the angles of all others, until one of them gets a longer text: it
#             makes the table anew with its own base, and from then on the others have that one. jit compiles in what
#             the table is at that moment, so that one layer compiled twice can be two functions.
# Good guess: `theta` belongs to a layer, like the width and the dtype, which are in the key, and calling one layer
#             changes no other, as in all of JAX. With one base in a process all is right.
# Who is hurt: whoever compares bases, or extends a model by a larger one, in one process: the rows are all the first
#             one's, or change with the order of the calls and with the longest text so far. And whoever builds a model
#             of two bases, as Gemma 3 and ModernBERT are, with another one in the local layers: all layers have that of
#             the first, losses fall all the same, and another library reads the weights with angles that they were not
#             trained with.
# Way out:    equinox.clear_caches() whenever a layer of another base is to be called or compiled.
# Output seen (64 channels; the base that the angle of the slowest pair of channels at the last position stands for):
#   64 tokens, layer of base 10000: 10000
#   64 tokens, layer of base 1000000: 10000
#   128 tokens, layer of base 1000000: 1000000
#   128 tokens, layer of base 10000: 1000000
#   64 tokens, layer of base 10000: 1000000
#   64 tokens, layer of base 10000, compiled before the others were called: 10000
#   64 tokens, layer of base 10000, compiled after that: 1000000
#   64 tokens, layer of base 10000, after clear_caches: 10000
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet equinox==0.13.8 jax==0.10.2 jaxlib==0.10.2 numpy==2.3.5
cat > "$folder/seen.py" <<'PYTHON'
import equinox
import jax
import jax.numpy as jnp

width = 64
slowest = width // 2 - 1
local, everywhere = (equinox.nn.RotaryPositionalEmbedding(width, theta=theta) for theta in (1e4, 1e6))


def seen(tokens, layer, call=None, when=""):
    turned = (call or layer)(jnp.zeros((tokens, width)).at[:, slowest].set(1))[-1]
    angle = float(jnp.arctan2(turned[slowest + width // 2], turned[slowest]))
    base = ((tokens - 1) / angle) ** (width / (width - 2))
    print(f"{tokens} tokens, layer of base {layer.theta:.0f}{when}: {round(base, -3):.0f}")


early, late = (jax.jit(lambda x: local(x)) for _ in range(2))
early(jnp.zeros((64, width)))
seen(64, local)
seen(64, everywhere)
seen(128, everywhere)
seen(128, local)
seen(64, local)
seen(64, local, early, ", compiled before the others were called")
seen(64, local, late, ", compiled after that")
equinox.clear_caches()
seen(64, local, when=", after clear_caches")
PYTHON
JAX_PLATFORMS=cpu "$folder/venv/bin/python" -W ignore "$folder/seen.py" 2> /dev/null | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
64 tokens, layer of base 10000: 10000
64 tokens, layer of base 1000000: 10000
128 tokens, layer of base 1000000: 1000000
128 tokens, layer of base 10000: 1000000
64 tokens, layer of base 10000: 1000000
64 tokens, layer of base 10000, compiled before the others were called: 10000
64 tokens, layer of base 10000, compiled after that: 1000000
64 tokens, layer of base 10000, after clear_caches: 10000
SEEN
echo "as described"

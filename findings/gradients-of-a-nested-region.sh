#!/usr/bin/env bash
# Library:    PyTorch 2.13.0 (CPU build), torch.compiler.nested_compile_region, by which equal layers are compiled once.
# Behaviour:  Two equal residual blocks, a product and a gated perceptron behind RMSNorms as in Llama, are marked as
#             regions. With the default backend the gradients of what lies below a perceptron's products are wrong, by
#             several percent and more, with no warning; the loss itself is right. The backend `aot_eager` has them
#             right, and so has the default one without the mark, or with a perceptron alone.
# Good guess: The mark says how something is compiled and not what is computed: a model that trains compiled trains with
#             it, and compiles sooner.
# Who is hurt: whoever marks the blocks of a deep model to save minutes of compilation: the first loss agrees to the last
#             digit, and training goes somewhere else.
# Way out:    none but to leave the mark out, or to compare gradients with an uncompiled step first.
# Output seen:
#   loss, whatever the backend: below 1e-5
#   gradients by aot_eager, largest relative error: below 1e-5
#   gradients by inductor, largest relative error: above 1e-2
#   the same without the mark: below 1e-5
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.13.0 numpy==2.3.5
cat > "$folder/seen.py" <<'PYTHON'
import torch
import torch.nn.functional as F
from torch import nn

WIDTH = 32


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.before, self.product = nn.RMSNorm(WIDTH), nn.Linear(WIDTH, WIDTH, bias=False)
        self.norm, self.gate = nn.RMSNorm(WIDTH), nn.Linear(WIDTH, 2 * WIDTH, bias=False)
        self.expand = nn.Linear(WIDTH, 2 * WIDTH, bias=False)
        self.contract = nn.Linear(2 * WIDTH, WIDTH, bias=False)

    def forward(self, x):
        x = x + self.product(self.before(x))
        y = self.norm(x)
        return x + self.contract(F.silu(self.gate(y)) * self.expand(y))


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.tokens = nn.Embedding(11, WIDTH)
        self.blocks = nn.ModuleList(Block() for _ in range(2))
        self.norm, self.head = nn.RMSNorm(WIDTH), nn.Linear(WIDTH, 11, bias=False)

    def forward(self, tokens):
        x = self.tokens(tokens)
        for block in self.blocks:
            x = block(x)
        return F.cross_entropy(self.head(self.norm(x)).flatten(0, 1), tokens.flatten(), reduction="sum")


torch.manual_seed(0)
model, tokens = Model(), torch.randint(11, (2, 16))


def step(function):
    model.zero_grad()
    loss = function(tokens)
    loss.backward()
    return loss.detach(), [weight.grad.clone() for weight in model.parameters()]


def compiled(backend):
    torch.compiler.reset()
    loss, gradients = step(torch.compile(model, backend=backend, dynamic=False))
    errors = [float((a - b).norm() / b.norm()) for a, b in zip(gradients, wanted, strict=True)]
    return float((loss - exact).abs() / exact), max(errors)


def said(value):
    return "below 1e-5" if value < 1e-5 else "above 1e-2" if value > 1e-2 else f"{value:.0e}"


exact, wanted = step(model)
plain = Block.forward
_, without = compiled("inductor")
Block.forward = torch.compiler.nested_compile_region(plain)
(one, eager), (other, inductor) = compiled("aot_eager"), compiled("inductor")
print("loss, whatever the backend:", said(max(one, other)))
print("gradients by aot_eager, largest relative error:", said(eager))
print("gradients by inductor, largest relative error:", said(inductor))
print("the same without the mark:", said(without))
PYTHON
"$folder/venv/bin/python" -W ignore "$folder/seen.py" | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
loss, whatever the backend: below 1e-5
gradients by aot_eager, largest relative error: below 1e-5
gradients by inductor, largest relative error: above 1e-2
the same without the mark: below 1e-5
SEEN
echo "as described"

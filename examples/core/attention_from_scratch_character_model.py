# /// script
# requires-python = ">=3.11"
# dependencies = ["torch==2.14.*", "matplotlib"]
#
# [tool.gallery]
# modules = ["torch.nn", "torch.optim", "torch"]
# level = "advanced"
# task = "foundations"
# step = 70
# data = ["python-topics"]
# claim = "Attention in six lines equals scaled_dot_product_attention, gradients too, and MultiheadAttention to 1e-5; a transformer made of it predicts unseen pages of Python's manual over 0.3 bits a character better than 3-gram counts, falls short of 8-gram counts, and mixed half and half with them beats both"
# ///
"""
Write attention from scratch and let it read Python's manual
============================================================

What does attention compute, and can you write it yourself? Six lines of torch do; we
check them against `scaled_dot_product_attention
<https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.scaled_dot_product_attention.html>`_
and ``nn.MultiheadAttention``, then build a small transformer from them and train it on
the manual that comes with Python itself. It has a serious rival: counting which letters
follow which. You need to know linear layers and a training loop. It takes about 25
seconds.
"""

from pydoc_data.topics import topics

import matplotlib.pyplot as plt
import torch
from torch import nn
from torch.nn import functional

# sphinx_gallery_thumbnail_number = 1
torch.manual_seed(0)
torch.set_num_threads(1)  # small matrices: a second thread costs more than it brings
device = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")

# %%
# Attention in six lines
# ----------------------
# Every place in a sequence asks a question (its *query*) and offers an answer (its
# *value*) under a label (its *key*). A query is compared with all keys by a dot product;
# softmax turns the scores into weights that sum to 1; the result is the weighted mean of
# the values. Division by the root of the size keeps the scores of long vectors from
# growing. ``causal`` hides the future: a score of minus infinity becomes weight 0.


def attend(query, key, value, causal=False):
    # all are (batch, heads, time, size)
    score = query @ key.transpose(-2, -1) / query.shape[-1] ** 0.5  # (..., time, time)
    if causal:
        score = score.masked_fill(torch.ones_like(score).triu(1) > 0, -torch.inf)
    weight = score.softmax(dim=-1)
    return weight @ value, weight


# %%
# Is it the same as PyTorch's? We compare outputs, and the gradients for all three inputs
# when some random gradient arrives from above.

inputs = [torch.randn(2, 4, 10, 16, device=device, requires_grad=True) for _ in range(3)]
sensitivity, gaps = torch.randn_like(inputs[0]), []
for causal in (False, True):
    own, _ = attend(*inputs, causal=causal)
    torchs = functional.scaled_dot_product_attention(*inputs, is_causal=causal)
    both = [(y, *torch.autograd.grad(y, inputs, sensitivity)) for y in (own, torchs)]
    gaps.append(max((a - b).abs().max().item() for a, b in zip(*both, strict=True)))
    print(f"causal {causal!s:5}: output and gradients differ by {gaps[-1]:.0e} at most")

# %%
# Only rounding differs. PyTorch's function is still the one to use in earnest: wherever it
# has a fused kernel for the inputs, it never stores the (time, time) scores, which for long
# sequences fill the memory.
#
# Several heads
# -------------
# One linear layer makes queries, keys and values, for several *heads* side by side, each
# with a slice of the width; a second one mixes what they found. ``mark_place`` can change
# queries and keys; for now it leaves them as they are.


class Attention(nn.Module):
    def __init__(self, width, heads, mark_place=lambda x: x):
        super().__init__()
        self.heads, self.mark_place = heads, mark_place
        self.inside = nn.Linear(width, 3 * width, bias=False)
        self.outside = nn.Linear(width, width, bias=False)

    def forward(self, x):  # (batch, time, width)
        parts = self.inside(x).unflatten(-1, (3, self.heads, -1))
        query, key, value = parts.permute(2, 0, 3, 1, 4)  # (batch, heads, time, size)
        query, key = self.mark_place(query), self.mark_place(key)
        mixed, weight = attend(query, key, value, causal=True)
        self.weight = weight.detach()  # kept for a figure
        return self.outside(mixed.transpose(1, 2).flatten(2))


# %%
# ``nn.MultiheadAttention`` keeps the same two matrices under other names.

own, torchs = Attention(64, 4), nn.MultiheadAttention(64, 4, bias=False, batch_first=True)
torchs.in_proj_weight, torchs.out_proj.weight = own.inside.weight, own.outside.weight
x, future = torch.randn(2, 10, 64), torch.ones(10, 10, dtype=torch.bool).triu(diagonal=1)
gaps.append((own(x) - torchs(x, x, x, attn_mask=future)[0]).abs().max().item())
print(f"nn.MultiheadAttention differs by {gaps[-1]:.0e}")

# %%
# The text
# --------
# ``pydoc_data.topics`` holds what ``help("assignment")`` shows: 79 pages or so, depending
# on your Python, as do all numbers below. Many pages repeat others word for word, so each
# paragraph is kept once, in the longest page that has it. Every eighth page is held out.

seen, texts = set(), {}
for name in sorted(topics, key=lambda name: (-len(topics[name]), name)):
    parts = topics[name].split("\n\n")
    texts[name] = "\n\n".join(p for p in parts if not (p in seen or seen.add(p)))
tests = sorted(texts)[1::8]
train_text = "\0".join(texts[name] for name in sorted(texts) if name not in tests)
test_text = "\0".join(texts[name] for name in tests)
number = {letter: i for i, letter in enumerate(sorted(set(train_text)))}
train, test = (torch.tensor([number.get(c, 0) for c in t]) for t in (train_text, test_text))
size = len(number)
print(f"{len(train):,} characters of {size} kinds to learn from, {len(test):,} to test")

# %%
# Baseline: counting
# ------------------
# An n-gram model looks up how often each character followed the last n - 1 in the
# training text. What was rarely or never seen needs help from shorter contexts. Of the
# recipes for that, interpolated Kneser-Ney has stood up best (`Chen and Goodman 1999
# <https://doi.org/10.1006/csla.1999.0128>`_). Each n-gram becomes one integer, so that
# counting is ``unique`` and looking up is ``searchsorted``.


def codes(ids, n):
    return sum(ids[i : len(ids) - n + 1 + i] * size ** (n - 1 - i) for i in range(n))


def look_up(keys, values, wanted):
    place = torch.searchsorted(keys, wanted).clamp(max=len(keys) - 1)
    return torch.where(keys[place] == wanted, values[place], 0)


# %%
# From every count 0.75 is taken off and given to the next shorter context. Contexts
# shorter than the longest count in how many *different* surroundings an n-gram was seen.


def kneser_ney(order):
    # the chance of each test character but the first, given the order - 1 before it
    chance = torch.full((len(test) - 1,), 1 / size, dtype=torch.double)
    for n in range(1, order + 1):
        grams = codes(train, n) if n == order else codes(train, n + 1).unique() % size**n
        grams, count = grams.unique(return_counts=True)
        contexts, row = (grams // size).unique(return_inverse=True)
        wanted = codes(functional.pad(test, (n - 2, 0)), n)
        total = look_up(contexts, row.bincount(weights=count.double()), wanted // size)
        kinds = look_up(contexts, row.bincount(), wanted // size)
        kept = (look_up(grams, count, wanted) - 0.75).clamp(min=0)
        chance = torch.where(total > 0, (kept + 0.75 * kinds * chance) / total, chance)
    return chance


# %%
# The score is bits per character: the mean of -log2 of the chance given to what really
# came. A fair coin costs one bit.

known = test[1:] > 0  # neither the end of a page nor a character never seen
chances = {order: kneser_ney(order) for order in range(1, 9)}
counted = {n: -chance[known].log2().mean().item() for n, chance in chances.items()}
print("bits by order:", *(f"{order}: {bits:.2f}" for order, bits in counted.items()))

# %%
# The first four characters of context settle most of it, longer ones still help a little.
# That is a strong rival, and one that learns in a second.
#
# The transformer
# ---------------
# Attention by itself does not know where a letter stands: shuffle what it looks at, and
# the weighted mean is the same. So queries and keys are rotated, pair of numbers by pair,
# by angles that grow with the place (`Su et al. 2021
# <https://arxiv.org/abs/2104.09864>`_); a dot product then depends on the distance. Around
# attention goes the usual block: look around, then think by oneself, each added to what
# was there before.


def turn(x):  # (batch, heads, time, size)
    time, half = x.shape[-2], x.shape[-1] // 2
    speed = 1000 ** -(torch.arange(half, device=x.device) / half)
    angle = torch.arange(time, device=x.device)[:, None] * speed
    a, b, cos, sin = *x.split(half, dim=-1), angle.cos(), angle.sin()
    return torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1)


class Residual(nn.Sequential):
    def forward(self, x):
        return x + super().forward(x)


def block(width, heads):
    look = Residual(nn.RMSNorm(width), Attention(width, heads, turn))
    layers = nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
    return nn.Sequential(look, Residual(nn.RMSNorm(width), *layers))


# %%
# The model is two such blocks between a table of letters and a linear layer. It reads 64
# characters and predicts the next at each of its places. ``Muon`` takes the matrices of
# the blocks, and suits this short training better than ``AdamW``, which takes the rest.
# (Settings were chosen on other splits of the pages. There, a learnt table of places
# instead of the rotation cost over 0.2 bits.)

width, span, steps = 64, 64, 750
blocks = nn.Sequential(block(width, heads=4), block(width, heads=4))
last = nn.RMSNorm(width), nn.Linear(width, size)
model = nn.Sequential(nn.Embedding(size, width), blocks, *last).to(device)
matrices = [weight for weight in blocks.parameters() if weight.ndim == 2]
others = [w for w in model.parameters() if all(w is not m for m in matrices)]
optimizers = [torch.optim.Muon(matrices, lr=0.02), torch.optim.AdamW(others, lr=0.006)]

# %%
# The training loop, with a learning rate that falls to zero.


def loss_of(batch, **options):
    # cross_entropy wants (batch, classes, time), hence the transpose, .mT
    return functional.cross_entropy(model(batch[:, :-1]).mT, batch[:, 1:], **options)


windows = train.to(device).unfold(0, span + 1, 1)
for step in range(steps):
    loss_of(windows[torch.randint(len(windows), (16,))]).backward()
    for optimizer, rate in zip(optimizers, (0.02, 0.006), strict=True):
        optimizer.param_groups[0]["lr"] = rate * min(1, (1 - step / steps) / 0.7)
        optimizer.step()
        optimizer.zero_grad()

# %%
# The test moves a window over the held-out pages in steps of 16 and scores its last 16
# predictions, so each character has at least 48 before it. We also let both models vote:
# the mean of the transformer's chance and that of the 8-grams.

windows = functional.pad(test, (span, 16)).to(device).unfold(0, span + 1, 16)
with torch.no_grad():
    losses = [loss_of(part, reduction="none").cpu() for part in windows.split(256)]
given = (-torch.cat(losses)).exp().double()  # chances: (windows, span)
chance = given[1:, -16:].flatten()[: len(known)]
bits = -chance[known].log2().mean().item()
mixed = -((chance + chances[8]) / 2)[known].log2().mean().item()
print(f"transformer {bits:.2f}, 8-grams {counted[8]:.2f}, half and half {mixed:.2f} bits")

# %%
# On its own the transformer, less than half a minute old, is far better than 3-grams and
# far from 8-grams: that table is hard to beat on a few hundred kilobytes of text that
# likes to repeat itself. But the two err in different places, and their plain mean is
# better than either.
#
# Where it looks
# --------------
# Here are weights for the first 48 letters of a held-out line. Of all eight heads we show
# the one that looks back least far, on average, and the one that looks farthest.

line = next(part for part in test_text.split("\n") if len(part) > 60)[:48]
model(torch.tensor([[number.get(c, 0) for c in line]], device=device))
maps = torch.cat([part[0][1].weight[0].cpu() for part in blocks])  # (8, time, time)
reach = (torch.arange(48.0) - maps @ torch.arange(48.0)).mean(dim=1)  # letters back
fig, axes = plt.subplots(1, 2, figsize=(11, 5.4), layout="constrained")
for ax, head in zip(axes, (reach.argmin(), reach.argmax()), strict=True):
    shown = ax.imshow(maps[head].sqrt().numpy(), vmin=0, vmax=1)
    ax.set_xticks(range(48), line, fontsize=8)
    ax.set_yticks(range(48), line, fontsize=8)
    ax.set(xlabel="letter looked at", ylabel="letter that looks")
    ax.set_title(f"A head that looks {reach[head]:.1f} letters back on average")
fig.colorbar(shown, ax=axes, label="square root of the weight")
plt.show()

# %%
# Read a map row by row: a letter looks at itself and at those before it; the triangle
# above is the masked future. The first head mostly reads the last few letters, as an
# n-gram does. The second spreads much of its weight over whole words.
#
# What context is worth
# ---------------------
# In a window of 64, the first prediction has one letter of context and the last has all.
# We compare them with counts of the same context.

real = windows[:, 1:].cpu() > 0
bits_at = [-given[:, t][real[:, t]].log2().mean().item() for t in range(span)]
fig, ax = plt.subplots(figsize=(8, 4), layout="constrained")
ax.semilogx(range(1, span + 1), bits_at, label="transformer")
ax.plot(range(1, 8), [counted[n] for n in range(2, 9)], "s--", label="counts")
ax.set_xticks([1, 2, 4, 8, 16, 32, 64], [1, 2, 4, 8, 16, 32, 64])
ax.set(xlabel="characters of context", ylabel="bits per character")
ax.set_title("What context is worth to the transformer and to counts")
ax.legend()
plt.show()

# %%
# At equal context, counts win, though each of their tables serves one length and the
# transformer all. It gains most until about ten letters. The teeth behind are no effect of
# context: windows start 16 letters apart, so places 16 apart predict the same letters and
# their neighbours others. From tooth to tooth it gains a little more until about thirty.
# That attention *could* reach back 64 letters does not mean that this little training has
# taught it to.
#
# What it writes
# --------------
# Let it continue a text: draw a letter from its chances (sharpened by division by 0.7),
# append it, repeat. Your letters may differ.

ids = [number[letter] for letter in "\n\nThe "]
for _ in range(200):
    logits = model(torch.tensor([ids[-span:]], device=device))[0, -1] / 0.7
    ids.append(logits.softmax(dim=0).multinomial(1).item())
print("".join([*number][i] for i in ids).strip())

# %%
# Words from the manual, hardly a sentence: that is what just under two bits a letter buys.
#
# The claim
# ---------
# Our attention equals PyTorch's. The transformer lies between the 3-grams and the
# 8-grams, and the mean of both beats counts of any order.

assert max(gaps) < 1e-5, gaps
assert counted[8] + 0.05 < bits < counted[3] - 0.3, (bits, counted)
assert mixed < min(counted.values()) - 0.02, (mixed, counted)

# %%
# Where next
# ----------
# - :doc:`tensors_views_and_numpy` explains the views behind ``unflatten``, ``permute`` and
#   ``unfold``.
# - :doc:`recognise_spoken_digits_with_a_gru` keeps a state instead of looking back.
# - :doc:`stop_a_training_and_resume_it` keeps what a longer training has learnt. Give this
#   one an hour instead of 20 seconds, or a larger text: any string can take the place of
#   ``texts``.

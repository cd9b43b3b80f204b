# /// script
# requires-python = ">=3.11"
# dependencies = ["torch==2.14.*", "scikit-learn", "matplotlib"]
#
# [tool.gallery]
# modules = ["functorch", "torch"]
# level = "advanced"
# task = "training"
# step = 140
# data = ["digits-8x8"]
# claim = "Per-sample gradients by torch.func equal a loop of backward calls and the old functorch, come over 5 times as fast, and, clipped one by one, let a network learn digits of which 40 % are labelled wrong over 2 points better than a clipped batch"
# ///
"""
Clip per-sample gradients and survive wrong labels
==================================================

``backward`` gives one gradient for a whole batch. Who wants to know what *each* sample
asks for, to clip it for privacy or against wrong labels, must not loop: ``vmap(grad(...))``
of `torch.func <https://docs.pytorch.org/docs/stable/func.html>`_ computes all of them at
once. We do it on scikit-learn's 1,797 handwritten digits, compare with the loop and with
the old ``functorch`` names, and train with labels of which 40 % are wrong. It takes about
15 seconds.
"""

import statistics
import timeit
import warnings

import functorch
import matplotlib.pyplot as plt
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.func import functional_call, grad, vmap

torch.manual_seed(0)
torch.set_num_threads(1)  # one thread for both sides of the race
device = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")

# %%
# Digits, many of them labelled wrong
# -----------------------------------
# Large data sets are labelled by whoever was at hand. We spoil two in five of the labels
# that the network learns from; the 497 digits of the test keep the truth.

pixels, classes = load_digits(return_X_y=True)
pixels = torch.tensor(pixels / 16, dtype=torch.float32, device=device)  # (1797, 64)
labels = torch.tensor(classes, device=device)
known, test = torch.randperm(len(labels)).to(device).split([1300, 497])
spoilt = known[:520]
labels[spoilt] = (labels[spoilt] + torch.randint(1, 10, (520,)).to(device)) % 10


def network():
    return nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10)).to(device)


model = network()
print(f"{len(known)} digits to learn from, {len(spoilt)} of them with a wrong label")

# %%
# The loop
# --------
# One ``backward`` for each sample. This is plain and slow: a processor that could do
# hundreds of samples at once is asked for one at a time.


def looped(rows):
    gradients = []
    for i in rows:
        loss = nn.functional.cross_entropy(model(pixels[i : i + 1]), labels[i : i + 1])
        gradients.append(torch.autograd.grad(loss, tuple(model.parameters())))
    return [torch.stack(parts) for parts in zip(*gradients, strict=True)]


few = list(range(256))
by_loop = looped(few)
print("one gradient a sample:", [tuple(g.shape) for g in by_loop])

# %%
# ``grad`` and ``vmap``
# ---------------------
# ``torch.func`` works with functions instead of ``.grad`` fields. First the loss of *one*
# sample as a function of the weights (``functional_call`` runs a module with weights from
# outside). ``grad`` turns it into the function that returns the gradient, and ``vmap``
# gives that one a batch dimension. ``in_dims`` says what is batched: the sample, not the
# weights.

weights = {name: weight.detach() for name, weight in model.named_parameters()}


def loss_of_one(weights, image, label):
    logits = functional_call(model, weights, (image[None],))
    return nn.functional.cross_entropy(logits, label[None])


per_sample = vmap(grad(loss_of_one), in_dims=(None, 0, 0))
by_vmap = list(per_sample(weights, pixels[few], labels[few]).values())
gap = max((a - b).abs().max().item() for a, b in zip(by_loop, by_vmap, strict=True))
print(f"largest difference from the loop: {gap:.1e}")

# %%
# The same numbers, up to rounding. And the mean over the samples is the gradient of the
# batch, as it must be.

batch_loss = nn.functional.cross_entropy(model(pixels[few]), labels[few])
of_batch = torch.autograd.grad(batch_loss, tuple(model.parameters()))
means = [g.mean(dim=0) for g in by_vmap]
batch_gap = max((a - b).abs().max().item() for a, b in zip(of_batch, means, strict=True))
print(f"largest difference of the mean from the batch's gradient: {batch_gap:.1e}")

# %%
# The old names
# -------------
# ``torch.func`` grew in a package of its own, ``functorch``, whose names still work but
# warn (we silence that here, and only that). There a module was first split into a
# function and a tuple of weights.

warnings.filterwarnings("ignore", "We've integrated functorch", FutureWarning)
function, old_weights = functorch.make_functional(model)


def old_loss(weights, image, label):
    return nn.functional.cross_entropy(function(weights, image[None]), label[None])


old = functorch.vmap(functorch.grad(old_loss), in_dims=(None, 0, 0))
by_functorch = old(old_weights, pixels[few], labels[few])
old_equal = [torch.equal(a, b) for a, b in zip(by_functorch, by_vmap, strict=True)]
print("functorch gives equal gradients:", all(old_equal))

# %%
# =======================================  =======================================
# functorch                                torch.func
# =======================================  =======================================
# ``functorch.vmap``, ``functorch.grad``   ``torch.func.vmap``, ``torch.func.grad``
# ``make_functional(model)``               ``functional_call(model, weights, x)``
# ``make_functional_with_buffers(model)``  the same, buffers among the weights
# ``combine_state_for_ensemble(models)``   ``stack_module_state(models)``
# =======================================  =======================================
#
# How much faster?
# ----------------
# Both compute gradients for 16 to 1,024 samples; medians of five runs.


def median_time(function):
    return statistics.median(timeit.repeat(function, number=1, repeat=5))


sizes, speed_up = [16, 64, 256, 1024], []
for size in sizes:
    rows = list(range(size))
    slow = median_time(lambda rows=rows: looped(rows))
    fast = median_time(lambda rows=rows: per_sample(weights, pixels[rows], labels[rows]))
    speed_up.append(slow / fast)
    print(f"{size:5} samples: loop {slow * 1e3:7.1f} ms, vmap {fast * 1e3:6.1f} ms")

fig, ax = plt.subplots(figsize=(8, 3.4), layout="constrained")
ax.loglog(sizes, speed_up, "o-")
ax.set_xticks(sizes, sizes)
ax.axhline(1, color="0.6", lw=1)
ax.set(xlabel="samples", ylabel="loop / vmap (times)", title="What vmap gains on a loop")
plt.show()

# %%
# The loop asks for each gradient with a call of its own and pays for the calls. With
# ``vmap`` a layer of many small products becomes one large one, so the gain grows with
# the batch. The price is memory: a gradient for every sample.
#
# Clip each sample
# ----------------
# A digit labelled wrong asks for a large change, as it contradicts all others. If no
# sample may ask for more than a fixed length, the many right ones outvote it. Clipping
# the *batch's* gradient, the usual safeguard, cannot do that: it shortens all alike, after
# they were added up. Adam, which divides by the usual size of a gradient, then undoes most
# of it, so expect little from it here. We train both ways, and without clipping.

limit = 0.1


def clipped_gradients(model, rows):
    weights = {name: weight.detach() for name, weight in model.named_parameters()}

    def loss_of_one(weights, image, label):
        logits = functional_call(model, weights, (image[None],))
        return nn.functional.cross_entropy(logits, label[None])

    each = vmap(grad(loss_of_one), in_dims=(None, 0, 0))(
        weights, pixels[rows], labels[rows]
    )
    length = sum(g.flatten(1).square().sum(dim=1) for g in each.values()).sqrt()
    share = (limit / length).clamp(max=1)  # (samples,)
    return {
        name: torch.einsum("b,b...->...", share, g) / len(rows) for name, g in each.items()
    }


# %%
# The training is the same for all three, but for this function, which fills in the
# gradients.


def set_gradients(model, rows, clip):
    model.zero_grad()
    if clip == "each sample":
        for name, gradient in clipped_gradients(model, rows).items():
            model.get_parameter(name).grad = gradient
        return
    nn.functional.cross_entropy(model(pixels[rows]), labels[rows]).backward()
    if clip == "the batch":
        nn.utils.clip_grad_norm_(model.parameters(), limit)


# %%
# A loop as usual, from the same first weights.


def train(clip):
    torch.manual_seed(0)
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    history = []
    for _ in range(30):
        for rows in known[torch.randperm(len(known)).to(device)].split(64):
            set_gradients(model, rows, clip)
            optimizer.step()
        with torch.no_grad():
            hits = model(pixels[test]).argmax(dim=1) == labels[test]
        history.append(hits.float().mean().item())
    return history


# %%
# Thirty epochs each. The test digits are looked at after every epoch, for the figure, and
# choose nothing.

histories = {clip: train(clip) for clip in ("nothing", "the batch", "each sample")}
fig, ax = plt.subplots(figsize=(8, 3.8), layout="constrained")
for (clip, history), style in zip(histories.items(), (":", "--", "-"), strict=True):
    ax.plot(range(1, 31), history, style, label=f"{clip} clipped")
    print(f"{clip:11} clipped: {history[-1]:.1%} of {len(test)} test digits read right")
ax.set(xlabel="epoch", ylabel="test digits read right")
ax.set_title("Learning digits of which two in five are labelled wrong")
ax.legend()
plt.show()

# %%
# All three learn digits first. Then the other two lose what they had, as a network does
# that begins to learn wrong labels by heart; with each sample clipped it stays. The best
# single epochs of all three are about equal: whoever has clean digits to validate with
# could stop there instead. Clipping needs none, and nobody told it which labels are wrong.
#
# Clipping each sample, with noise of the right size added to the sum, is the core of
# DP-SGD (`Abadi et al. 2016 <https://arxiv.org/abs/1607.00133>`_). With batches drawn at
# random and the spending counted, it bounds how much the weights can tell about any
# single sample.

assert gap < 1e-5 and batch_gap < 1e-5 and all(old_equal)
assert speed_up[-1] > 5, speed_up
accuracy = {clip: history[-1] for clip, history in histories.items()}
assert accuracy["each sample"] > max(accuracy["nothing"], accuracy["the batch"]) + 0.02

# %%
# Where next
# ----------
# - :doc:`tensors_views_and_numpy` shows the strides that let one weight serve a batch.
# - `Opacus <https://opacus.ai>`_ does per-sample clipping with noise and a privacy budget
#   for whole models; to try it on MNIST take ``torchvision.datasets.MNIST(root,
#   download=True)``.

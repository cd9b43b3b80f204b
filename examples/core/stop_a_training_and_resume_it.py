# /// script
# requires-python = ">=3.11"
# dependencies = ["torch==2.14.*", "scikit-learn", "matplotlib"]
#
# [tool.gallery]
# modules = ["torch", "torch.optim", "torch.nn"]
# level = "intermediate"
# task = "training"
# step = 80
# data = ["digits-8x8"]
# claim = "A training killed in epoch 13 and resumed from its checkpoint ends, after early stopping, with weights equal bit for bit to those of the uninterrupted run; resumed from weights and bookkeeping alone it does not"
# ///
"""
Stop a training and resume it, bit for bit
==========================================

Machines fail, queues end, laptops close. A training that can be stopped anywhere and
resumed as if nothing had happened needs more than the weights. We write the full loop
(validation, gradient clipping, a learning-rate schedule, early stopping, checkpoints) on
1,797 handwritten digits of scikit-learn, kill it in mid-epoch, resume it, and compare all
weights with those of an uninterrupted run. Then we forget one part of the checkpoint
after the other. It takes about ten seconds.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

import matplotlib.pyplot as plt
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
torch.set_num_threads(1)  # small steps: a second thread costs more than it brings
device = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")

# %%
# Three parts of the data
# -----------------------
# The training part teaches, the validation part says when to stop, and the test part is
# looked at once, at the very end: whatever chose the stopping point would flatter itself.

pixels, classes = load_digits(return_X_y=True)
pixels = torch.tensor(pixels / 16, dtype=torch.float32, device=device)  # (1797, 64)
classes = torch.tensor(classes, device=device)
training, validation, test = torch.randperm(len(classes)).split([1000, 400, 397])
digits = TensorDataset(pixels[training], classes[training])
print(f"{len(training)} to learn from, {len(validation)} to validate, {len(test)} to test")

# %%
# Everything that a run is
# ------------------------
# What must a checkpoint hold? Whatever changes from step to step. The weights; AdamW's two
# running means for each weight; the place on the learning-rate schedule; the random
# numbers, which here decide the order of the digits and what dropout drops; and our own
# bookkeeping. One class gathers all of it.


class Run:
    def __init__(self, seed=0):
        torch.manual_seed(seed)
        layers = nn.Linear(64, 64), nn.ReLU(), nn.Dropout(0.3), nn.Linear(64, 10)
        self.model = nn.Sequential(*layers).to(device)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=0.01)
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, 100)
        self.order = torch.Generator().manual_seed(seed)  # of the digits in an epoch
        self.history, self.best, self.best_weights = [], float("inf"), None
        self.trail = []  # the weights after each epoch, to compare runs; not saved

    def parts(self):
        return {"model": self.model, "optimizer": self.optimizer, "schedule": self.schedule}


# %%
# Each part has a ``state_dict``. The random state is a tensor of bytes: one of PyTorch's
# default generator, which dropout uses, and one of the loader's own. (On an accelerator
# dropout draws from that device's generator, which ``torch.get_device_module`` reaches.)

randomness = torch if device.type == "cpu" else torch.get_device_module(device)


def save(run, path):
    state = {name: part.state_dict() for name, part in run.parts().items()}
    state |= {"order": run.order.get_state(), "dropout": randomness.get_rng_state()}
    state["book"] = [run.history, run.best, run.best_weights]
    torch.save(state, path.with_suffix(".new"))
    path.with_suffix(".new").replace(path)  # in one step: a kill leaves old or new, whole


def load(run, path, forget=()):
    state = torch.load(path, map_location="cpu", weights_only=True)
    for name in run.parts().keys() - set(forget):
        run.parts()[name].load_state_dict(state[name])
    if "randomness" not in forget:
        run.order.set_state(state["order"])
        randomness.set_rng_state(state["dropout"])
    run.history, run.best, run.best_weights = state["book"]


# %%
# ``weights_only=True`` reads tensors and plain Python values and refuses anything that
# could run code; it is the default since PyTorch 2.6. The new file replaces the old one in
# one step, since a kill may come while it is being written.
#
# The loop
# --------
# Clipping bounds a step's gradient, should a strange batch come along. The schedule moves
# after each epoch.


def train_epoch(run, kill_at=None):
    run.model.train()
    for step, (inputs, targets) in enumerate(
        DataLoader(digits, batch_size=50, shuffle=True, generator=run.order)
    ):
        if step == kill_at:
            raise KeyboardInterrupt(f"killed in epoch {len(run.history) + 1}, step {step}")
        loss = nn.functional.cross_entropy(run.model(inputs), targets)
        run.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(run.model.parameters(), max_norm=1.0)
        run.optimizer.step()
    run.schedule.step()


# %%
# Validation needs neither dropout nor gradients.


def loss_and_accuracy(model, rows):
    model.eval()
    with torch.no_grad():
        logits = model(pixels[rows])
    loss = nn.functional.cross_entropy(logits, classes[rows]).item()
    return loss, (logits.argmax(dim=1) == classes[rows]).float().mean().item()


# %%
# If the validation loss has not fallen for ten epochs, training stops, and the weights of
# the best epoch are taken.


def train(run, path, epochs=100, kill_in=None):
    while len(run.history) < epochs and len(run.history) - best_epoch(run) < 10:
        train_epoch(run, kill_at=7 if len(run.history) + 1 == kill_in else None)
        run.history.append(loss_and_accuracy(run.model, validation)[0])
        if run.history[-1] < run.best:
            run.best = run.history[-1]
            run.best_weights = {k: v.clone() for k, v in run.model.state_dict().items()}
        run.trail.append(nn.utils.parameters_to_vector(run.model.parameters()).detach())
        save(run, path)


def best_epoch(run):
    return 1 + run.history.index(run.best) if run.history else 0


# %%
# Killed and resumed
# ------------------
# One run goes through. The other is killed in epoch 13, in the middle of its data. All it
# knew is gone, but for the file that epoch 12 left.

folder = TemporaryDirectory()
path = Path(folder.name)
whole = Run()
train(whole, path / "whole.pt")
print(f"uninterrupted: {len(whole.history)} epochs, best in epoch {best_epoch(whole)}")

killed = Run()
try:
    train(killed, path / "killed.pt", kill_in=13)
except KeyboardInterrupt as reason:
    print(f"{reason}; the file has {(path / 'killed.pt').stat().st_size / 1e3:.0f} kB")

# %%
# A new run, started with another seed to make sure that nothing is left over by luck,
# loads the file and goes on.

resumed = Run(seed=123)
load(resumed, path / "killed.pt")
train(resumed, path / "resumed.pt")


def distances(run):  # from the uninterrupted run, for each epoch since the resume
    first = len(run.history) - len(run.trail)
    pairs = zip(run.trail, whole.trail[first:], strict=False)
    return [((a - b).norm() / b.norm()).item() for a, b in pairs]


gap = distances(resumed)
print(f"resumed: {len(resumed.history)} epochs, largest distance {max(gap)}")
print("validation losses equal, all of them:", resumed.history == whole.history)

# %%
# Not nearly the same: the same. Epoch 13 was begun anew from the state in which it had
# begun before.
#
# What if a part is forgotten?
# ----------------------------
# Each line resumes from the same file, but leaves one part as a new run has it, and goes
# on until it stops early. Our own bookkeeping is loaded every time, also in the line
# "everything but weights": without it the epochs would be counted from one.

forgetful = {}
for part in ("randomness", "schedule", "optimizer", "everything but weights"):
    run = forgetful[part] = Run(seed=123)
    everything = ("optimizer", "schedule", "randomness")
    load(run, path / "killed.pt", forget=everything if "but" in part else (part,))
    train(run, path / "forgetful.pt")
    print(f"{part:23} forgotten: {len(run.history)} epochs, best loss {run.best:.3f}")
print(f"{'nothing':23} forgotten: {len(whole.history)} epochs, best loss {whole.best:.3f}")

# %%
# No error, and best losses not far apart: nobody would notice. But the runs stop at very
# different epochs. The figure shows how far the weights are from those of the
# uninterrupted run.

fig, ax = plt.subplots(figsize=(8, 3.8), layout="constrained")
for (part, run), style in zip(forgetful.items(), (":", "-.", "--", "-"), strict=True):
    ax.plot(range(13, 13 + len(distances(run))), distances(run), style, label=part)
ax.plot(range(13, 13 + len(gap)), gap, "k", lw=2, label="nothing")
ax.set(xlabel="epoch", ylabel="distance (share of the weights' length)", ylim=(-0.02, None))
ax.set_title("How far a resumed run strays, by what was forgotten")
ax.legend(title="forgotten")
plt.show()

# %%
# The black line is zero, exactly. All others leave it for good. Without the schedule that
# happens one epoch later: the learning rate itself is kept in the optimizer's state, and
# the new schedule goes on from there, but falls slowly, as at its start. Without the
# optimizer the rate jumps back to 0.01, and AdamW's running means start from zero. On a
# harder task either may cost accuracy. What is lost is that the run can be repeated.
# Whoever changes a line and gets another result cannot know whether the change did it or
# the interruption.
#
# Was it worth stopping early?
# ----------------------------
# Now, once, the test part. Beside the best epoch's weights stand those of the last epoch,
# and a linear model that was trained in the same loop.

linear = Run()
linear.model = nn.Sequential(nn.Linear(64, 10)).to(device)
linear.optimizer = torch.optim.AdamW(linear.model.parameters(), lr=0.01)
linear.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(linear.optimizer, 100)
train(linear, path / "linear.pt")
_, last = loss_and_accuracy(whole.model, test)
accuracy = {}
for name, run in (("network", resumed), ("linear model", linear)):
    run.model.load_state_dict(run.best_weights)
    accuracy[name] = loss_and_accuracy(run.model, test)[1]
    print(f"{name}: {accuracy[name]:.1%} of {len(test)} test digits")
print(f"network, weights of the last epoch: {last:.1%}")
folder.cleanup()

# %%
# Early stopping saved half of the hundred epochs. Its weights and those of the last epoch
# do equally well: a small network with dropout does not spoil itself by training on. The
# linear model is only a few digits behind.
#
# What this rests on
# ------------------
# Equal to the last bit holds on one machine with one set of versions. Other hardware adds
# numbers in another order; on CUDA ``torch.use_deterministic_algorithms(True)`` is needed
# as well. And a checkpoint within an epoch would have to hold the loader's place in the
# data too, which the stateful loader of ``torchdata`` does.

assert resumed.history == whole.history and max(gap) == 0
assert min(distances(run)[-1] for run in forgetful.values()) > 0.02
assert accuracy["network"] > 0.93, accuracy

# %%
# Where next
# ----------
# - :doc:`dataloader_four_gifts` measures what the loader in this loop does.
# - :doc:`resume_data_in_mid_epoch` goes on in the middle of the data as well.
# - To save a run every hour instead of every epoch, call ``save`` by the clock; to train on
#   MNIST, put ``torchvision.datasets.MNIST(root, download=True)`` in place of the digits.

# /// script
# requires-python = ">=3.11"
# dependencies = ["torch==2.14.*", "pytorch-lightning>=2.6", "torchmetrics", "scikit-learn", "matplotlib"]
#
# [tool.gallery]
# modules = ["pytorch-lightning", "torchmetrics"]
# level = "advanced"
# task = "speed"
# step = 137
# data = ["digits-8x8"]
# no-pretend = "Lightning asks the device's driver itself, not torch.accelerator"
# claim = "Two Lightning processes with batches of 32 end within 1e-5 of the weights of one with 64; without the sampler that Lightning puts in they are one process of 32, done twice; logged without sync_dist, a loss is that of one half of the data"
# ///
"""
Let Lightning train on two processes
====================================

``Trainer(devices=2, strategy="ddp")`` is one line. What does `Lightning
<https://lightning.ai/docs/pytorch/stable/>`_ do behind it, is the result that of one
process with the doubled batch, and which numbers in the log can be believed? We train on
1,300 digits of scikit-learn in one and in two processes, compare all weights after each
step, and switch off what Lightning does for us. Two CPU cores will do. It takes about half
a minute, most of it for starting Python.
"""

import logging
import subprocess
import sys
import time
import warnings
from inspect import getsource
from pathlib import Path
from tempfile import TemporaryDirectory

import matplotlib.pyplot as plt
import pytorch_lightning as pl
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset
from torchmetrics.classification import MulticlassAccuracy

# %%
# The digits
# ----------
# Of the 1,797, we take 1,300 to learn from and 497 to judge by. That the second number is
# odd will matter.

# sphinx_gallery_parallel = False
torch.manual_seed(0)
torch.set_num_threads(1)  # as in each of the two processes
device = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
pixels, classes = load_digits(return_X_y=True)
data = TensorDataset(torch.tensor(pixels / 16).float(), torch.tensor(classes))
known, unseen = torch.randperm(len(data)).split([1300, 497])
start = {"known": data[known], "unseen": data[unseen], "device": device.type}
print(f"{len(known)} to learn from, {len(unseen)} to judge by")

# %%
# A module that keeps its trail
# -----------------------------
# The module knows nothing of processes. It notes all weights after each step. (The class
# stands in a function because we shall need its source as text, and of what is typed into
# a notebook Python finds the source of functions only.)


def keeps_trail():
    class Reader(pl.LightningModule):
        def __init__(self):
            super().__init__()
            layers = nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10)
            self.network, self.trail, self.clock = nn.Sequential(*layers), [], []
            self.right = MulticlassAccuracy(10, average="micro")

        def on_train_batch_end(self, *_):
            weights = nn.utils.parameters_to_vector(self.parameters())
            self.trail.append(weights.detach().cpu().clone())
            self.clock.append(time.perf_counter())

    return Reader


# %%
# The other half of it logs three values in validation: the loss as it stands, the same with
# ``sync_dist=True``, and a torchmetrics object.


def reader():
    class JudgedReader(keeps_trail()):
        def training_step(self, batch, _):
            return nn.functional.cross_entropy(self.network(batch[0]), batch[1])

        def validation_step(self, batch, _):
            logits = self.network(batch[0])
            loss = nn.functional.cross_entropy(logits, batch[1])
            self.right(logits, batch[1])
            self.log_dict({"loss": loss, "right": self.right})
            self.log("loss_of_all", loss, sync_dist=True)

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)

    return JudgedReader()


# %%
# One function for one or two processes. All begin with the same weights, ``first``.

quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar"), False)
quiet |= {"enable_model_summary": False, "num_sanity_val_steps": 0}


def fit(start, processes, loader, **options):
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", ".*(many workers|LeafSpec|sync_dist|not used)")
    options |= {"strategy": "ddp"} if processes > 1 else {}
    options |= {"accelerator": start["device"], "devices": processes, "max_epochs": 4}
    trainer, module = pl.Trainer(**options, **start["quiet"]), reader()
    module.load_state_dict(start["first"])
    trainer.fit(module, loader, DataLoader(TensorDataset(*start["unseen"]), 512))
    scores = {name: value.item() for name, value in trainer.callback_metrics.items()}
    return torch.stack(module.trail), scores, module.clock


# %%
# The loader, with a generator of its own, so that its order does not depend on what else
# drew random numbers before.


def shuffled(start, size):
    generator = torch.Generator().manual_seed(0)
    return DataLoader(
        TensorDataset(*start["known"]), size, shuffle=True, generator=generator
    )


# %%
# The script
# ----------
# Lightning starts the second process by running *the same script again*, with a number in
# its environment: everything outside of the trainer happens twice. As a page is no script,
# we write one, of imports, the code above and this ``main``. Two processes train as usual,
# with half a batch each. Lightning sees ``shuffle=True`` and puts a ``DistributedSampler``
# in its place, so that each process gets its own half of the digits. A second training
# forbids it that.


def main():
    torch.set_num_threads(1)
    start = torch.load("start.pt")
    usual = fit(start, 2, shuffled(start, 32))
    alike = fit(start, 2, shuffled(start, 32), use_distributed_sampler=False)
    rank = torch.distributed.get_rank()
    print(f"process {rank} has come to the end of the script\n", end="", flush=True)
    torch.save({"two processes": usual, "no sampler": alike}, f"rank{rank}.pt")


imports = """
import logging, time, warnings
import pytorch_lightning as pl, torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics.classification import MulticlassAccuracy
"""

# %%
# Two processes need two devices of a kind; with fewer than two GPUs both stay on the CPU.

start["device"] = device.type if torch.accelerator.device_count() > 1 else "cpu"
start["quiet"], start["first"] = quiet, reader().state_dict()
folder = TemporaryDirectory()
home = Path(folder.name)
parts = map(getsource, (keeps_trail, reader, fit, shuffled, main))
call = 'if __name__ == "__main__":\n    main()\n'
(home / "read.py").write_text("\n\n".join([imports, *parts, call]))
torch.save(start, home / "start.pt")
command = [sys.executable, "read.py"]
told = subprocess.run(command, cwd=home, check=True, stdout=subprocess.PIPE, text=True)
print(*sorted(told.stdout.splitlines()), sep="\n")  # they may come in either order
ranks = [torch.load(home / f"rank{rank}.pt") for rank in range(2)]
folder.cleanup()

# %%
# Both say so, as both ran the whole script. What should happen once, such as writing a
# file, belongs under ``if trainer.is_global_zero:``.
#
# Is it one process with the doubled batch?
# -----------------------------------------
# The same here, in one process: with batches of 64 in the order of a
# ``DistributedSampler`` (Lightning calls its ``set_epoch``, as it does for its own), and
# with batches of 32, shuffled.

known = TensorDataset(*start["known"])
order = DistributedSampler(known, num_replicas=1, rank=0)
one = {"two processes": fit(start, 1, DataLoader(known, 64, sampler=order))}
one["no sampler"] = fit(start, 1, shuffled(start, 32))


def distance(trail, other):
    return (trail - other).norm(dim=1) / other.norm(dim=1)


apart = {}
for name, (single, *_) in one.items():
    first, second = (rank[name][0] for rank in ranks)
    apart[name] = distance(first, single)
    words = f"{len(first):3} steps, both equal: {torch.equal(first, second)}"
    print(f"{name:21} {words}, off by {apart[name][-1]:.0e}")

# %%
# The first line is what one hopes for: each process had its half of every batch, and the
# weights are those of one process with batches of 64, up to rounding. The second line
# shows what the sampler was worth. Without it both processes shuffle with the same seed and
# draw the same batches, average two equal gradients, and end as *one* process with batches
# of 32: all work is done twice, for nothing, and no message says so.

wasted = distance(ranks[0]["no sampler"][0][1::2], one["two processes"][0][:82])
fig, ax = plt.subplots(figsize=(8, 4), layout="constrained")
ax.semilogy(apart["two processes"], label="two processes of 32, to one of 64")
ax.semilogy(apart["no sampler"].clamp(min=1e-9), "--", label="no sampler, to one of 32")
ax.semilogy(torch.arange(len(wasted)), wasted, ":", label="no sampler, to one of 64")
ax.set(xlabel="step", ylabel="relative distance of the weights")
ax.set_title("What two Lightning processes are equal to")
ax.legend()
plt.show()

# %%
# The dotted line (every second step, so that about as many digits were seen) says how far
# apart unequal trainings are. (The dashed line is drawn at 1e-9 where the distance is 0,
# which a log axis cannot show.)
#
# Which numbers can be believed?
# ------------------------------
# Each process has validated its share. What did they log?

exact = one["two processes"][1]
print(f"one process: loss {exact['loss']:.4f}, right {exact['right']:.4%}")
for rank, found in enumerate(ranks):
    scores = found["two processes"][1]
    print(f"process {rank}:", *(f"{name} {value:.4f}" for name, value in scores.items()))

# %%
# ``loss`` is that of each process's own share. (Lightning warns of it; ``fit`` silences
# that.) Decisions by it are odd: ``EarlyStopping`` ends the run as soon as one process
# wants to, and ``ModelCheckpoint`` takes a model for better only if it is so on every
# share. ``sync_dist=True`` takes the mean over the processes. The torchmetrics object needs
# no such word: it adds up counts, so unequal batches do not matter. Neither is exactly the
# value of one process, for a reason that has nothing to do with averages: 497 digits do not
# halve, so the sampler shows one of them twice. We can find it by hand.

twice = (
    DistributedSampler(unseen, 2, 0, shuffle=False),
    DistributedSampler(unseen, 2, 1, False),
)
rows = torch.tensor([row for sampler in twice for row in sampler])
module = reader()
nn.utils.vector_to_parameters(ranks[0]["two processes"][0][-1], module.parameters())
images, labels = start["unseen"]
hit = (module.network(images).argmax(dim=1) == labels).double()
print(f"each digit once {hit.mean():.4%}, {len(rows)} digits {hit[rows].mean():.4%}")

# %%
# The second number is the one in the log. With many processes and a small test set the
# difference grows; the honest way is to test in one process, ``Trainer(devices=1)``.
#
# What it costs
# -------------
# The median time of a step, in which the pair treats as many digits as the single process.


def step_time(clock):
    return torch.tensor(clock, dtype=torch.float64).diff().median().item() * 1e3


single, double = step_time(one["two processes"][2]), step_time(ranks[0]["two processes"][2])
print(f"one process {single:.1f} ms a step, two processes {double:.1f} ms")

# %%
# The network is so small that the exchange of gradients costs more than half a batch saves.
# Two processes pay when a step computes for long; the equality stays.
#
# The claim
# ---------
# Equal to the doubled batch with the sampler, to the single batch without; and a log in
# which two of three values are those of everyone.

logged = [rank["two processes"][1] for rank in ranks]
assert apart["two processes"].max() < 1e-5 and apart["no sampler"].max() < 1e-5
assert wasted[-1] > 0.05
assert logged[0]["loss"] != logged[1]["loss"] and logged[0]["right"] == logged[1]["right"]
assert logged[0]["loss_of_all"] == logged[1]["loss_of_all"]
assert abs(logged[0]["loss_of_all"] - sum(log["loss"] for log in logged) / 2) < 1e-6
assert abs(logged[0]["right"] - hit[rows].mean()) < 1e-6

# %%
# Where next
# ----------
# - :doc:`train_on_two_processes_with_torchrun` does the same without Lightning, and shows
#   where averaging gradients is not enough.
# - :doc:`raw_loop_and_lightning` compares loop and module line by line, in one process.
# - :doc:`watch_a_lightning_run` has loggers, checkpoints and early stopping.
# - On a machine with GPUs the same lines use NCCL; for all of MNIST take
#   ``torchvision.datasets.MNIST(root, download=True)`` in ``prepare_data``, which Lightning
#   calls in one process only.

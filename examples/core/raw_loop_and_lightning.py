# /// script
# requires-python = ">=3.11"
# dependencies = ["torch==2.14.*", "pytorch-lightning>=2.6", "scikit-learn", "matplotlib"]
#
# [tool.gallery]
# modules = ["pytorch-lightning", "torch.optim"]
# level = "intermediate"
# task = "training"
# step = 130
# data = ["digits-8x8"]
# no-pretend = "Lightning asks the device's driver itself, not torch.accelerator"
# claim = "Lightning and the loop it replaces, with schedule, clipping, early stopping and gradient accumulation, end with equal weights, bit for bit; a run resumed from a Lightning checkpoint does so only if the random state is saved with it"
# ///
"""
Replace a training loop by Lightning and get the same weights
=============================================================

What exactly does `Lightning <https://lightning.ai/docs/pytorch/stable/>`_ do for you, and
is it still the same training? We write the loop in the open, with a learning-rate
schedule, gradient clipping, validation, early stopping and the best weights kept. Then we
hand each line to a ``LightningModule`` or a ``Trainer`` and compare all weights: they
must be equal, not close. Two traps and the price in milliseconds follow. The data are
1,797 digits of scikit-learn. It takes about 20 seconds, half of it for imports.
"""

import logging
import warnings
from tempfile import TemporaryDirectory
from timeit import repeat

import matplotlib.pyplot as plt
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

# sphinx_gallery_parallel = False
torch.manual_seed(0)
torch.set_num_threads(1)  # small steps: a second thread costs more than it brings
device = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")

# %%
# Lightning reports what it does; here we want to hear of problems only. Three of its
# warnings we know about: our data are in memory, so the loader needs no workers; we will
# resume in a folder that is not empty; and Lightning 2.6 uses an outdated name
# (``LeafSpec``) of torch.

logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
for known in ("does not have many workers", "exists and is not empty", "LeafSpec"):
    warnings.filterwarnings("ignore", f".*{known}")

# %%
# The parts are cut in the order of the file, where the digits are apparently grouped by
# writer. Most test digits are then probably by other hands than the training digits.

pixels, classes = load_digits(return_X_y=True)
digits = TensorDataset(torch.tensor(pixels / 16).float(), torch.tensor(classes))
parts = digits[:1000], digits[1000:1400], digits[1400:]
training, validation, test = (TensorDataset(*part) for part in parts)
print(f"{len(training)} to learn from, {len(validation)} to validate, {len(test)} to test")

# %%
# What both sides share
# ---------------------
# The network and the loaders. ``start`` sets the seed, because the first
# weights, the order of the digits and the dropout all draw from one stream of random
# numbers. One number drawn more or less, and the two sides part.


def start(width=64):
    torch.manual_seed(0)
    ends = torch.nn.Linear(64, width), torch.nn.Linear(width, 10)
    return torch.nn.Sequential(ends[0], torch.nn.ReLU(), torch.nn.Dropout(0.3), ends[1])


def loaders(generator=None):
    batches = DataLoader(training, 50, shuffle=True, generator=generator)
    return batches, DataLoader(validation, 100)


# %%
# The loop in the open
# --------------------
# One epoch, then a validation. ``accumulate`` adds up the gradients of several batches
# before a step, as if the batch were larger; for now it is 1.


def train_epoch(network, optimizer, batches, accumulate):
    network.train()
    for number, (images, labels) in enumerate(batches, start=1):
        loss = cross_entropy(network(images.to(device)), labels.to(device))
        (loss / accumulate).backward()
        if number % accumulate == 0 or number == len(batches):
            torch.nn.utils.clip_grad_norm_(network.parameters(), max_norm=0.5)
            optimizer.step()
            optimizer.zero_grad()


@torch.no_grad()
def validate(network, batches):
    network.eval()
    sums = [cross_entropy(network(x.to(device)), y.to(device)) * len(y) for x, y in batches]
    return (sum(sums) / len(validation)).item()


# %%
# Around it, the run. The schedule moves after each epoch, the weights of the best epoch
# are copied, and ten epochs without a lower validation loss end it.


def run_loop(width=64, epochs=60, accumulate=1, generator=None):
    network, (batches, checks) = start(width).to(device), loaders(generator)
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=60)
    losses, waited = [], 0
    while waited < 10 and len(losses) < epochs:
        train_epoch(network, optimizer, batches, accumulate)
        schedule.step()
        losses.append(validate(network, checks))
        waited = len(losses) - 1 - losses.index(min(losses))
        if waited == 0:
            best = {name: value.clone() for name, value in network.state_dict().items()}
    return network.state_dict(), best, losses


last, best, losses = run_loop()
print(f"stopped after epoch {len(losses)}, best was epoch {losses.index(min(losses)) + 1}")

# %%
# The same with Lightning
# -----------------------
# A ``LightningModule`` keeps what is special about this training: network, loss and
# optimizer. ``self.log`` gives the validation loss a name; averaging it over the batches
# is Lightning's job. We note the average after each validation, but not after the *sanity
# check*: two batches of validation before training starts, so that a mistake there does
# not show up only after an hour.


class DigitReader(pl.LightningModule):
    def __init__(self, width=64):
        super().__init__()
        self.network, self.losses = start(width), []

    def training_step(self, batch, _):
        return cross_entropy(self.network(batch[0]), batch[1])

    def validation_step(self, batch, _):
        self.log("loss", cross_entropy(self.network(batch[0]), batch[1]))

    def on_validation_end(self):
        if not self.trainer.sanity_checking:
            self.losses.append(self.trainer.callback_metrics["loss"].item())

    def configure_optimizers(self):
        optimizer = torch.optim.AdamW(self.parameters(), lr=0.01)
        return [optimizer], [torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 60)]


# %%
# The ``Trainer`` gets the rest, partly as options, partly as *callbacks*, which act at
# given moments of a run. Most options here only keep it quiet and its files in a
# temporary folder.

folder = TemporaryDirectory()
usual = {"accelerator": device.type, "devices": 1, "default_root_dir": folder.name}
usual |= {"max_epochs": 60, "gradient_clip_val": 0.5, "logger": False}
usual |= {"enable_progress_bar": False, "enable_model_summary": False}


def fit(module, *callbacks, resume=None, generator=None, **options):
    callbacks = [EarlyStopping("loss", patience=10), *callbacks]
    trainer = pl.Trainer(callbacks=callbacks, **(usual | options))
    trainer.fit(module, *loaders(generator), ckpt_path=resume)
    return module


# %%
# Which line of the loop went where:
#
# =============================================  ========================================
# in the loop                                    with Lightning
# =============================================  ========================================
# ``.to(device)``, of network and batches        ``accelerator=device.type, devices=1``
# ``loss = cross_entropy(...)``                  ``training_step``
# ``backward``, ``step``, ``zero_grad``          nothing to write
# ``train()``, ``eval()``, ``no_grad()``         nothing to write
# the two ``for`` loops over batches             nothing to write
# ``validate`` and its mean                      ``validation_step`` and ``self.log``
# ``optimizer``, ``schedule``                    ``configure_optimizers``
# ``schedule.step()``                            nothing to write, if it is once an epoch
# ``clip_grad_norm_(..., max_norm=0.5)``         ``gradient_clip_val=0.5``
# ``/ accumulate`` and the ``if`` below it       ``accumulate_grad_batches=...``
# ``len(losses) < epochs``                       ``max_epochs=60``
# ``waited < 10``                                ``EarlyStopping("loss", patience=10)``
# ``best = ...``                                 ``ModelCheckpoint(..., monitor="loss")``
# ``losses.append(...)``                         ``on_validation_end``
# =============================================  ========================================
#
# Are they equal?
# ---------------
# We compare the last weights, those of the best epoch, which Lightning wrote to a file,
# and all losses. A run without clipping shows that the comparison can fail.


def gap(module, weights):
    pairs = zip(module.network.state_dict().values(), weights.values(), strict=True)
    return max((a.cpu() - b.cpu()).abs().max().item() for a, b in pairs)


keep = ModelCheckpoint(f"{folder.name}/best", monitor="loss")
module = fit(DigitReader(), keep)
kept = DigitReader.load_from_checkpoint(keep.best_model_path)
gaps = {"last": gap(module, last), "best": gap(kept, best)}
gaps["unclipped"] = gap(fit(DigitReader(), gradient_clip_val=None), last)
print("largest difference of a weight:", {name: round(g, 4) for name, g in gaps.items()})
print("all losses equal:", module.losses == losses)

# %%
# Not a bit of difference, and without clipping a large one. Here are the losses.

fig, ax = plt.subplots(figsize=(8, 3.8), layout="constrained")
epochs = range(1, len(losses) + 1)
ax.plot(epochs, losses, color="tab:orange", lw=8, alpha=0.5, label="loop")
ax.plot(epochs, module.losses, color="tab:blue", lw=1.5, label="Lightning")
ax.set(xlabel="epoch", ylabel="validation loss (nats)", yscale="log")
ax.set_title("The loop and Lightning take the same path and stop together")
ax.legend()
plt.show()

# %%
# The thin line lies on the thick one up to the last epoch, where both lost patience. Two
# things could have gone wrong. The sanity check draws random numbers; Lightning puts the
# generator back afterwards. And each pass over a ``DataLoader`` draws a number, even in
# validation: a loop that validated without a loader would see another order and other
# dropout masks from the second epoch on.
#
# Is the network any good? The test part has not been looked at so far.

images, labels = test.tensors
with torch.no_grad():
    right = kept.cpu().eval().network(images).argmax(dim=1) == labels
score, common = right.float().mean().item(), labels.bincount().max() / len(labels)
linear = LogisticRegression(max_iter=1000).fit(*training.tensors).score(images, labels)
print(f"always one class {common:.3f}, linear model {linear:.3f}, network {score:.3f}")

# %%
# About as good as logistic regression, on hands that are mostly new to it. The question
# here is not which network is best, but whether two ways to train it agree.
#
# One word, larger batches
# ------------------------
# ``accumulate_grad_batches=3`` steps after every third batch. An epoch has 20 batches:
# what about the two left over? Lightning takes a step for them as well, and divides their
# losses by three all the same. Hence the ``or number == len(batches)`` in our loop.

module = fit(DigitReader(), accumulate_grad_batches=3, max_epochs=20)
gaps["accumulated"] = gap(module, run_loop(epochs=20, accumulate=3)[0])
print(f"{len(module.losses)} epochs of 7 steps, difference {gaps['accumulated']}")

# %%
# First trap: a generator of its own
# ----------------------------------
# A loader is often given its own generator, so that nothing else moves the order of the
# data. We do so on both sides, with the same seed.

own = torch.Generator()
by_loop = run_loop(epochs=4, generator=own.manual_seed(0))[2]
by_lightning = fit(DigitReader(), max_epochs=4, generator=own.manual_seed(0)).losses
print("equal losses:", [a == b for a, b in zip(by_loop, by_lightning, strict=True)])
for asked in (20, 21):
    batches, _ = loaders(own.manual_seed(0))
    list(zip(range(asked), batches, strict=False))  # asks for a batch so many times
    print(asked, "asked for, epoch 2 begins with", next(iter(batches))[1][:8].tolist())

# %%
# From the second epoch on the order differs. A ``for`` loop asks for a 21st batch to learn
# that there is none, and then PyTorch's sampler draws from its generator once more.
# Lightning knows the length and does not ask. Both orders are fair. To compare, leave the
# generator out, as above (the sampler then takes a fresh seed each epoch), or end the
# loop's epoch with ``itertools.islice(batches, len(batches))``.
#
# Second trap: resuming
# ---------------------
# ``ckpt_path`` continues a run from a checkpoint with its weights, optimizer, schedule,
# patience and epoch. Is it the uninterrupted run? We try it as it comes, and with two
# methods that save the random state as well.

# where random numbers come from: the CPU, and the device for its dropout
sources = [torch] if device.type == "cpu" else [torch, torch.get_device_module(device)]


class WithRandomState(DigitReader):
    def on_save_checkpoint(self, checkpoint):
        checkpoint["random"] = [source.get_rng_state() for source in sources]

    def on_load_checkpoint(self, checkpoint):
        for source, state in zip(sources, checkpoint["random"], strict=True):
            source.set_rng_state(state.cpu())


# %%
# ``save_last=True`` keeps the newest state beside the best one. We stop after 12 epochs.

for kind in (DigitReader, WithRandomState):
    keep = ModelCheckpoint(f"{folder.name}/{kind.__name__}", monitor="loss", save_last=True)
    fit(kind(), keep, max_epochs=12)
    module = fit(kind(), keep, resume=keep.last_model_path)
    gaps[kind] = gap(module, last)
    print(f"{kind.__name__:15} 12 + {len(module.losses)} epochs, off by {gaps[kind]:.3f}")

# %%
# Lightning's checkpoint holds no random state. Here the resumed run starts from the seed
# that the new module sets, not from where the first run was, so it shuffles and drops out
# differently: another run, which may also stop in another epoch. With the two methods it
# is the same.
#
# The price
# ---------
# The time of an epoch of 20 steps and a validation, for the small network and a wide
# one, without checkpoints: the median of three runs of five epochs, starting included.

usual |= {"max_epochs": 5, "enable_checkpointing": False}
for width in (64, 1024):
    both = "run_loop(width, 5)", "fit(DigitReader(width))"
    raw, lit = (sorted(repeat(c, number=1, repeat=3, globals=globals()))[1] for c in both)
    print(f"{width:4} wide: {raw / 5:.3f} s, Lightning {lit / 5:.3f} s: {lit / raw:.1f} x")
folder.cleanup()

# %%
# Hooks and book-keeping cost time for each step, and the start and the sanity check of
# each five-epoch run are counted too. On networks this small that can double the time,
# and sixteen times the width is still small. It becomes a minor matter only where a step
# takes far longer than the hooks around it.
#
# The claim
# ---------
# Equal means that no weight differs at all.

assert gaps["last"] == gaps["best"] == gaps["accumulated"] == 0 != gaps["unclipped"]
assert gaps[WithRandomState] == 0 != gaps[DigitReader]
assert by_loop[0] == by_lightning[0] and by_loop[1] != by_lightning[1]
assert score > 0.86, score

# %%
# Where next
# ----------
# - :doc:`stop_a_training_and_resume_it` writes the checkpoint that lacks nothing by hand.
# - :doc:`dataloader_four_gifts` looks into the loader that both sides iterate over.
# - ``classify_handwritten_digits`` trains a convolutional network; put it into ``start``
#   and train it with either side of this page.
# - For all of MNIST take ``torchvision.datasets.MNIST("data", download=True)``: scale and
#   flatten its ``data``, and give the first layer 784 inputs.

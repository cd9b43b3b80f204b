# /// script
# requires-python = ">=3.11"
# dependencies = [
#     "torch==2.14.*",
#     "torch_sparse==0.6.18",
#     "torch_scatter==2.1.2",
#     "bokeh-sampledata>=2026.1",
#     "scipy",
#     "matplotlib",
# ]
#
# [tool.gallery]
# modules = ["torch_sparse", "torch"]
# level = "advanced"
# task = "foundations"
# step = 30
# data = ["us-air-routes", "world-cities"]
# claim = "torch_sparse and torch.sparse count the same one-stop journeys and agree on sums, means, maxima and gradients to 1e-4; torch's CSR is over 1.3 times as fast at maxima, but the gradient of its stored values takes over 10 times as long at 8,000 rows, because it goes through a dense matrix, until twelve lines mend it"
#
# [tool.uv]  # `uv run` compiles both against the torch that they will meet
# extra-build-dependencies = { torch-sparse = ["torch==2.14.*", "ninja"], torch-scatter = ["torch==2.14.*", "ninja"] }
# ///
"""
Multiply sparse matrices with torch_sparse, or without it
=========================================================

A graph is a matrix of mostly zeros, and one product with it moves along every edge at once.
Older graph code does this with `torch_sparse <https://github.com/rusty1s/pytorch_sparse>`_,
torch itself with ``torch.sparse``. Do you still need the former? We count connections in the
US air network, reach every airport from a village in Alaska, and then multiply a graph of
45,065 towns: outputs, gradients, time and memory of both, side by side. It takes about 10
seconds, once torch_sparse is compiled (minutes).
"""

from functools import partial
from importlib.util import find_spec

import matplotlib.pyplot as plt
import torch
from bokeh_sampledata.airport_routes import airports, routes
from bokeh_sampledata.world_cities import data as towns
from scipy.spatial import cKDTree
from torch.profiler import ProfilerActivity, profile
from torch.utils.benchmark import Timer
from torch_sparse import SparseTensor, matmul

# sphinx_gallery_thumbnail_number = 1
torch.manual_seed(0)
device = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
if torch.ops.torch_sparse.cuda_version() == -1:  # torch_sparse was built without CUDA
    device = torch.device("cpu")

# %%
# First trap: an edge that is stored twice
# ----------------------------------------
# Our table has a row per route *and carrier*, so some pairs of airports come several times.
# The same rows go into torch_sparse's ``SparseTensor`` and into torch's COO format. (The
# former needs torch_scatter, which nothing but an error message tells you. The latter wants
# to know whether to check indices: yes, since a wrong one can crash the program.)

torch.sparse.check_sparse_tensor_invariants.enable()
print("torch_sparse needs, and found,", find_spec("torch_scatter").name)
number = {code: i for i, code in enumerate(airports["IATA"])}
ends = [[number[code] for code in routes[end]] for end in ("Source", "Destination")]
source, target = edges = torch.tensor(ends, device=device)
n, ones = len(airports), torch.ones(len(routes), device=device)

theirs = SparseTensor(row=source, col=target, sparse_sizes=(n, n))
ours = torch.sparse_coo_tensor(edges, ones, (n, n))
for name, matrix in (("torch_sparse", theirs), ("torch", ours)):
    dense, product = matrix.to_dense().sum(), (matrix @ ones[:n, None]).sum()
    print(f"{name:12}: {dense:.0f} flights if made dense, {product:.0f} if multiplied")

# %%
# torch adds entries up that have the same place. torch_sparse keeps all of them, uses all
# of them in a product, and lets one win when it is made dense. ``coalesce()`` leaves
# each pair once; from here on, an entry says that there is a flight.

theirs = theirs.coalesce().set_value(torch.ones(6022, device=device), layout="coo")
A = ours.coalesce().bool().float().to_sparse_csr()
print(theirs.nnz(), "pairs,", A.values().numel(), "pairs")

# %%
# A product counts paths
# ----------------------
# Row ``i``, column ``j`` of ``A @ A`` is the number of airports ``k`` with flights ``i`` to
# ``k`` and ``k`` to ``j``: connections with one stop. A third factor allows two stops.

one_stop, by_torch = theirs @ theirs, A @ A
same_counts = torch.equal(one_stop.to_dense(), by_torch.to_dense())
ways = by_torch.to_dense()[number["BUF"], number["SAN"]].item()
print(f"from Buffalo to San Diego with one stop: {ways:.0f} ways; the same: {same_counts}")
for name, matrix in (("A", A), ("AA", by_torch), ("AAA", by_torch @ A)):
    print(f"{name:3} {matrix.values().numel() / n**2:6.1%} of the places are filled")

# %%
# Products of sparse matrices fill up: two stops connect most pairs that are connected at
# all, and a sparse format then costs more than a dense one. So do not multiply matrices
# when a vector will do. To find how many legs it takes from Bethel, Alaska, to everywhere, we
# push a mark along the flights again and again: a product with the transposed matrix.

backwards = A.t().to_sparse_csr()
legs = torch.full((n,), -1, device=device)
legs[number["BET"]] = 0
for leg in range(1, n):
    reached = backwards @ (legs >= 0).float()[:, None]
    new = (reached[:, 0] > 0) & (legs < 0)
    if not new.any():
        break
    legs[new] = leg
print("airports by number of legs:", legs[legs >= 0].bincount().tolist())
print("never reached (no flights that month):", (legs < 0).sum().item())

# %%
# Alaska is drawn as far west as it lies.

west = airports["Longitude"].where(airports["Longitude"] < 0, airports["Longitude"] - 360)
fig, ax = plt.subplots(figsize=(8, 4.6), layout="constrained")
for leg in range(legs.max().item() + 1):
    at = (legs == leg).cpu().numpy()
    look = {"s": 90 - 17 * leg, "color": plt.cm.viridis(1 - leg / 4)}
    ax.scatter(west[at], airports["Latitude"][at], **look, label=f"{leg}: {at.sum()}")
ax.set(xlabel="longitude (°)", ylabel="latitude (°)", aspect=1.4)
ax.set_title("How many flights from Bethel, Alaska?")
ax.legend(title="flights: airports")
plt.show()

# %%
# A larger graph
# --------------
# To compare costs we join each of 45,065 towns to its 8 nearest (a tree finds them), with
# random weights on the edges, and 32 random features a town. This is the shape of a layer of a
# graph network: new features are sums, means or maxima over the neighbours.

north, east = (torch.tensor(towns[angle].to_numpy()).deg2rad() for angle in ("lat", "lng"))
places = torch.stack([north.cos() * east.cos(), north.cos() * east.sin(), north.sin()], 1)


def graph(count):
    chosen = places[torch.randperm(len(places))[:count]]
    column = torch.tensor(cKDTree(chosen).query(chosen, 9)[1][:, 1:]).sort().values
    start = torch.arange(0, 8 * count + 1, 8)  # where each row begins
    return torch.rand(8 * count).to(device), start.to(device), column.flatten().to(device)


value, start, column = graph(len(places))
size, x = (len(places), len(places)), torch.rand(len(places), 32).to(device)
theirs = SparseTensor(rowptr=start, col=column, value=value, sparse_sizes=size)
ours = torch.sparse_csr_tensor(start, column, value, size)

# %%
# ``torch.sparse.mm`` takes the name of a reduction (on a CPU, for CSR). We compare results
# and, in one thread, the medians of the times.

kinds = ["sum", "mean", "max"] if device.type == "cpu" else ["sum"]
gaps, times = {}, {}
for kind in kinds:
    name = "amax" if kind == "max" else kind
    ways = partial(matmul, theirs, x, kind), partial(torch.sparse.mm, ours, x, name)
    gaps[kind] = (ways[0]() - ways[1]()).abs().max().item()
    timers = (Timer("way()", globals={"way": way}) for way in ways)
    times[kind] = [t.blocked_autorange(min_run_time=0.3).median for t in timers]
    ratio = times[kind][0] / times[kind][1]
    print(
        f"{kind:4} equal to {gaps[kind]:.0e}; torch_sparse takes {ratio:.1f} times as long"
    )

# %%
# Equal, and torch is as fast or ahead, at the maximum by far. That one is not quite a fair
# race, since torch_sparse also stores for its backward pass *which* neighbour was the
# largest.
#
# Second trap: the gradient of the stored values
# ----------------------------------------------
# Attention weights on edges, say, are learned. Then a product needs two gradients. The one of
# ``x`` is a product with the transposed matrix. The one of the entry at ``i, j`` is
# ``grad[i] @ x[j]``, a number for each entry, so it ought to be cheap.


def with_torch(value, start, column, x):
    return torch.sparse_csr_tensor(start, column, value, 2 * x.shape[:1]) @ x


def with_torch_sparse(value, start, column, x):
    size = 2 * x.shape[:1]
    return matmul(SparseTensor(rowptr=start, col=column, value=value, sparse_sizes=size), x)


# %%
# A third way needs no sparse matrix: make a message for every edge, and add the messages up
# by row. It is what PyG does by default.


def with_messages(value, start, column, x):
    row = torch.arange(len(x), device=x.device).repeat_interleave(start.diff())
    return torch.zeros_like(x).index_add(0, row, value[:, None] * x[column])


# %%
# All three go forward and backward once, and the profiler notes what they allocate.


def gradients(way, value, start, column, x):
    value, x = value.detach().requires_grad_(), x.detach().requires_grad_()
    loss = way(value, start, column, x).square().sum()
    return torch.autograd.grad(loss, (value, x))


small = (*graph(4000), x[:4000])
for way in (with_torch_sparse, with_torch, with_messages):
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as log:
        gradients(way, *small)
    most = max(event.cpu_memory_usage for event in log.events())
    print(f"{way.__name__:17}: largest allocation in one step {most / 1e6:6.1f} MB")

# %%
# 64 MB are 4,000 x 4,000 numbers of four bytes: torch forms ``grad @ x.T`` as a *dense*
# matrix and keeps the few entries that it needs. For all 45,065 towns that would be 8.1 GB,
# for a graph of a million nodes 4 TB. An `issue about it
# <https://github.com/pytorch/pytorch/issues/41128>`_ has been open since 2020.
#
# The cure: compute only what is stored
# -------------------------------------
# ``torch.sparse.sampled_addmm`` multiplies two dense matrices, but only at the places that a
# third one holds. With it, the backward pass is written by hand.


class EdgeProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx, value, start, column, x):
        ctx.save_for_backward(value, start, column, x)
        return with_torch(value, start, column, x)

    @staticmethod
    def backward(ctx, grad):
        value, start, column, x = ctx.saved_tensors
        matrix = torch.sparse_csr_tensor(start, column, value, 2 * x.shape[:1])
        at_entries = torch.sparse.sampled_addmm(matrix, grad, x.T, beta=0.0).values()
        return at_entries, None, None, matrix.t() @ grad


# %%
# Do all four find the same gradients, of the entries and of the features?

ways = {
    "torch_sparse": with_torch_sparse,
    "torch": with_torch,
    "messages": with_messages,
    "torch, own backward": EdgeProduct.apply,
}
for name, way in ways.items():
    pairs = zip(gradients(way, *small), gradients(with_torch_sparse, *small), strict=True)
    gaps[name] = max((a - b).abs().max().item() for a, b in pairs)
    print(f"{name:19}: gradients differ from torch_sparse's by {gaps[name]:.0e}")

# %%
# They do. Now the time of forward and backward together, for growing graphs:

counts = (1000, 2000, 4000, 8000)
seconds = {name: [] for name in ways}
for count in counts:
    inputs = (*graph(count), x[:count])
    for name, way in ways.items():
        timer = Timer("step()", globals={"step": partial(gradients, way, *inputs)})
        seconds[name].append(timer.blocked_autorange(min_run_time=0.2).median)
for name, row in seconds.items():
    print(f"{name:19}:", *(f"{1e3 * s:7.1f} ms" for s in row))

# %%
# As a figure. Each step to the right doubles the graph.

fig, ax = plt.subplots(figsize=(8, 3.8), layout="constrained")
for (name, row), mark in zip(seconds.items(), "o^sd", strict=True):
    ax.semilogy(
        [f"{count:,}" for count in counts], [1e3 * s for s in row], f"{mark}-", label=name
    )
ax.set(xlabel="nodes (8 edges each)", ylabel="forward and backward (ms)")
ax.set_title("Gradients of entries and features")
ax.legend()
plt.show()

# %%
# torch's backward grows with the square of the nodes, the others with the edges. The message
# of every edge costs memory, but no surprise. Where the entries need no gradient, as in a
# GCN, none of this bites: then plain ``matrix @ x`` is fine, and fast.
#
# So, do you still need it?
# -------------------------
# ================================  ======================================================
# torch_sparse                      plain torch
# ================================  ======================================================
# ``SparseTensor(row, col)``        ``sparse_coo_tensor(...).to_sparse_csr()``, adds up
#                                   entries that are stored twice
# ``matmul(A, x, reduce)``          ``A @ x``, or ``torch.sparse.mm(A, x, reduce)`` for CSR
#                                   on a CPU; gradient of the entries: ``EdgeProduct``
# ``A @ B``                         ``A @ B`` (no gradient)
# ``A.t()``                         ``A.t().to_sparse_csr()``
# ``SparseTensor.sample_adj``       ``NeighborLoader`` of PyG, with pyg-lib
# ================================  ======================================================
#
# torch's CSR format still calls itself beta, and the reductions a prototype. PyG uses
# torch_sparse if it is there (``T.ToSparseTensor``) and does without it if it is not.
#
# The claim
# ---------

assert same_counts and max(gaps.values()) < 1e-4
assert device.type != "cpu" or times["max"][0] > 1.3 * times["max"][1], times
assert seconds["torch"][-1] > 10 * seconds["torch_sparse"][-1]
assert seconds["torch"][-1] > 10 * seconds["torch, own backward"][-1]

# %%
# Where next
# ----------
# - :doc:`reduce_groups_with_torch_scatter` and :doc:`find_neighbours_with_torch_cluster` ask
#   the same of the other two packages.
# - ``message_passing_from_scratch``, among the graph pages, is a product of this kind.
# - For a larger graph, take ``torch_geometric.datasets.Reddit("data")[0].edge_index``.

# /// script
# requires-python = ">=3.11"
# dependencies = ["torch==2.14.*", "torch_geometric", "bokeh-sampledata>=2026.1", "matplotlib"]
#
# [tool.gallery]
# modules = ["torch_geometric", "torch"]
# level = "intermediate"
# task = "foundations"
# step = 20
# data = ["us-air-routes"]
# claim = "Six lines of plain torch and a MessagePassing class equal GCNConv in output and gradients to 1e-5, and 32 such layers turn 352 airports' features into one direction (cosine similarity over 0.95)"
# ///
"""
Build a graph convolution from scratch on US air routes
=======================================================

What does one layer of a graph neural network compute? Every node adds up what its
neighbours send, then comes one matrix product. We write that in six lines of torch and
again as a `MessagePassing
<https://pytorch-geometric.readthedocs.io/en/latest/tutorial/create_gnn.html>`_ class,
check both against `GCNConv
<https://pytorch-geometric.readthedocs.io/en/latest/generated/torch_geometric.nn.conv.GCNConv.html>`_,
gradients too, and then break it on purpose. The graph is real: 514 airports and the
domestic flights of July 2026. It takes about ten seconds.
"""

from timeit import repeat

import matplotlib.pyplot as plt
import torch
from bokeh_sampledata.airport_routes import airports, routes
from matplotlib.collections import LineCollection
from torch.nn.functional import normalize
from torch_geometric.nn import GCNConv, MessagePassing
from torch_geometric.utils import add_self_loops, degree, to_undirected

# sphinx_gallery_thumbnail_number = 1
torch.manual_seed(0)
torch.set_num_threads(1)  # small graph: a second thread costs more than it brings
device = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")

# %%
# The two tables name airports by an identifier. A graph wants rows 0, 1, 2, ..., so we
# number the airports and keep each pair of airports once, however many airlines fly it.

number = {airport: row for row, airport in enumerate(airports["AirportID"])}
pairs = routes[["SourceID", "DestinationID"]].drop_duplicates().map(number.get)
edge_index = torch.tensor(pairs.to_numpy().T, device=device)  # (2, routes)
code, count = airports["IATA"].tolist(), len(airports)
alone = count - len(edge_index.unique())
print(f"{count} airports, {edge_index.shape[1]:,} routes, {alone} airports without one")

# %%
# A graph is two rows of node numbers: the first says where each edge starts, the second
# where it ends. 162 airports have no edge at all in this table. They will matter.
#
# The layer in six lines
# ----------------------
# The graph convolution of `Kipf and Welling (2017) <https://arxiv.org/abs/1609.02907>`_
# gives node ``i`` the features ::
#
#    sum over all edges j -> i of   x[j] @ W.T / sqrt(d[j] * d[i])   + b
#
# where each node also sends to itself (a *self loop*) and ``d`` counts the edges that end
# at a node, its loop included. That is three moves: gather by source, scale, add up by
# target.


def normalised_edges(edge_index, nodes):
    loops = torch.arange(nodes, device=edge_index.device).repeat(2, 1)
    source, target = torch.cat([edge_index, loops], dim=1)
    scale = target.bincount(minlength=nodes).rsqrt()
    return source, target, scale[source] * scale[target]


def send(x, source, target, weight):
    return torch.zeros_like(x).index_add_(0, target, weight[:, None] * x[source])


def gcn_layer(x, edge_index, matrix, bias):
    return send(x @ matrix.T, *normalised_edges(edge_index, len(x))) + bias


# %%
# The same as a PyG class
# -----------------------
# ``MessagePassing`` takes the gathering and the adding off our hands. We say what an
# edge carries: in ``message``, a name that ends in ``_j`` holds the sender's row, one in
# ``_i`` the receiver's.


class OwnGCN(MessagePassing):
    def __init__(self, inputs, outputs):
        super().__init__(aggr="add")
        self.lin = torch.nn.Linear(inputs, outputs, bias=False)
        self.bias = torch.nn.Parameter(torch.randn(outputs))

    def forward(self, x, edge_index):
        edge_index, _ = add_self_loops(edge_index, num_nodes=len(x))
        scale = degree(edge_index[1], len(x)).rsqrt()[:, None]
        return self.propagate(edge_index, x=self.lin(x), scale=scale) + self.bias

    def message(self, x_j, scale_i, scale_j):
        return scale_i * scale_j * x_j


# %%
# The test: equal parameters, random features, and a random gradient arriving from some
# loss. We compare the output and everything that flows back, and print the largest
# difference as a share of the largest value.

own, conv = OwnGCN(16, 8).to(device), GCNConv(16, 8).to(device)
conv.load_state_dict(own.state_dict())
x = torch.randn(count, 16, device=device, requires_grad=True)
sensitivity = torch.randn(count, 8, device=device)


def with_gradients(output, layer):
    inputs = (x, layer.lin.weight, layer.bias)
    return [output, *torch.autograd.grad(output, inputs, sensitivity)]


wanted = with_gradients(conv(x, edge_index), conv)
six_lines = with_gradients(gcn_layer(x, edge_index, own.lin.weight, own.bias), own)
subclass = with_gradients(own(x, edge_index), own)
gaps = {}
for name, found in (("six lines", six_lines), ("class", subclass)):
    both = zip(found, wanted, strict=True)
    gaps[name] = [((a - b).abs().max() / b.abs().max()).item() for a, b in both]
    print(f"{name:9}: output, dx, dW, db off by", *(f"{gap:.0e}" for gap in gaps[name]))

# %%
# At most rounding, around the seventh digit. There is no more to ``GCNConv``, but for one
# courtesy: where a graph brings self loops of its own, ``GCNConv`` keeps them and adds no
# second one (``add_remaining_self_loops``). Ours would.
#
# Watch one layer, then two, then three
# -------------------------------------
# Leave the matrix out, and one number per airport shows where information goes. Bethel
# in western Alaska starts with a 1, everybody else with a 0.

position = torch.tensor(airports[["Longitude", "Latitude"]].to_numpy()).float()
position[:, 0] %= -360  # Guam lies west of Hawaii, not east of Maine
edges = normalised_edges(edge_index, count)
news = torch.eye(count, device=device)[:, [code.index("BET")]]  # (airports, 1)
history = [news.flatten().cpu()]
for layers in range(1, 5):
    news = send(news, *edges)
    history.append(news.flatten().cpu())
    print(f"after layer {layers}: {int((news > 0).sum()):3} airports have the news")

# %%
# On the map a dot's colour is its share of the news. Each panel also draws the routes
# that carried it to an airport for the first time.

ends = edge_index.cpu().T  # (routes, 2)
fig, axes = plt.subplots(2, 2, figsize=(9, 6.8), layout="constrained")
for layers, ax in enumerate(axes.flat, start=1):
    sender, receiver = (history[layers - 1] > 0)[ends].T
    lines = position[ends[sender & ~receiver]]
    ax.add_collection(LineCollection(lines, color="gold", lw=0.6, alpha=0.4, zorder=0))
    ax.scatter(*position.T, s=3, color="slategray")
    share = {"c": history[layers].log10(), "cmap": "plasma", "vmin": -5, "vmax": 0}
    dots = ax.scatter(*position.T, s=16, **share)  # log 0, no news: not drawn
    ax.set(xlim=(-180, -62), ylim=(12, 74), aspect=1.4, facecolor="#0d1030")
    ax.set(title=f"layer {layers}", xlabel="longitude (°)", ylabel="latitude (°)")
fig.colorbar(dots, ax=axes, label="share of the news (power of 10)", extend="min")
fig.suptitle("News from Bethel, Alaska, travels one flight a layer")
plt.show()

# %%
# The first layer reaches Anchorage, Bethel's only route. The second fans out to all of
# Anchorage's routes, the third covers the country, the fourth fetches the last few. So
# **with k layers a node sees k steps far**, and no further. Grey dots that never light up
# are airports without a route. (Guam and Saipan lie off the map.)
#
# Why scale, why self loops
# -------------------------
# Every airport gets a 1 and one layer runs with four kinds of weights. We read off the
# largest hub (ORD, Chicago), remote BET, and WST, which has no route; then (deep) the
# largest value that any airport holds after eight layers.

bare = edge_index[1].bincount(minlength=count).rsqrt()[edge_index].prod(0)
ways = {
    "sum": (*edges[:2], torch.ones_like(edges[2])),
    "mean": (*edges[:2], 1 / edges[1].bincount()[edges[1]]),
    "symmetric": edges,
    "no loops": (*edge_index, bare),
}
rows = [code.index(place) for place in ("ORD", "BET", "WST")]
for name, way in ways.items():
    once = many = send(torch.ones(count, 1, device=device), *way)
    for _ in range(7):
        many = send(many, *way)
    hub, remote, lone = once[rows].flatten().tolist()
    print(f"{name:9} ORD {hub:6.2f} BET {remote:.2f} WST {lone:.2f} deep {many.max():.0e}")

# %%
# The sum explodes with depth. The mean cannot tell a hub from a village: ones in, ones
# out. The symmetric weights keep the hub apart and stay small at any depth. Without self
# loops WST forgets its own feature, since nothing arrives.
#
# Which way does an edge point?
# -----------------------------
# A message flows from the first row to the second, never back. Almost all routes are
# flown both ways, a dozen are not. We turn all edges around, then make all two-way.

turned = {"reversed": edge_index.flip(0), "two-way": to_undirected(edge_index)}
for name, other in turned.items():
    moved = ((conv(x, other) - wanted[0]).abs().amax(1) > 1e-5).sum()
    print(f"{name}: {other.shape[1]:,} edges, output changes at {moved} airports")

# %%
# A dozen routes move the output at many more airports, because a degree enters the weight
# of every edge around. If your edges have no direction, call ``to_undirected`` first.
#
# Two wrong numbers, one of them silent
# -------------------------------------
# A node number can be too large, or negative (a failed lookup that returned -1, say). On
# a GPU a wrong index kills the process with a device-side assertion, so we look on the
# CPU.

model, features = GCNConv(16, 8), x.detach().cpu()
calls = {"six lines": (gcn_layer, model.lin.weight, model.bias), "GCNConv": (model,)}
for wrong in (count, -1):
    broken = edge_index.cpu().clone()
    broken[0, 0] = wrong
    for name, (layer, *parameters) in calls.items():
        try:
            layer(features, broken, *parameters)
            print(f"{wrong:3} {name:9} no error: it read {code[wrong]}, the last row")
        except IndexError as error:
            print(f"{wrong:3} {name:9} {error!s:.52}")

# %%
# Square brackets count -1 from the end, so our six lines take a stranger's features and
# say nothing. PyG gathers with ``index_select``, which refuses. ``Data.validate()`` finds
# both mistakes before any layer runs.
#
# The same as one matrix product
# ------------------------------
# Textbooks write the layer with a matrix that has an entry for every pair of nodes. That
# is equal, and our baseline. We place 1, 2, 4 and 8 copies of the graph side by side and
# print dense over edge list, best of 30 runs (``item`` waits for an accelerator).

timing = {"globals": globals(), "number": 1, "repeat": 30}
for copies in (1, 2, 4, 8):
    nodes, shifts = copies * count, count * torch.arange(copies, device=device)
    edges = normalised_edges((edge_index[..., None] + shifts).flatten(1), nodes)
    dense = torch.zeros(nodes, nodes, device=device)
    dense[edges[1], edges[0]] = edges[2]
    values = torch.randn(nodes, 16, device=device)
    torch.testing.assert_close(dense @ values, send(values, *edges))
    product = min(repeat("(dense @ values).sum().item()", **timing))
    adding = min(repeat("send(values, *edges).sum().item()", **timing))
    memory = dense.nbytes / sum(tensor.nbytes for tensor in edges)
    print(f"{nodes:5,} nodes: {memory:4.1f} x memory, {product / adding:4.1f} x time")

# %%
# A matrix grows with the square of the number of nodes, an edge list with the edges, so
# the first ratio doubles from line to line. Time goes the same way: on a small graph the
# dense product may win, but the larger the graph, the worse it stands.
#
# Too many layers: over-smoothing
# -------------------------------
# If one layer averages, many layers average everything. As features we take the
# airports' own coordinates (standardised) and send them on up to 32 times. The measure is
# the mean cosine similarity of two airports' features: 0 if they point in all directions,
# 1 if all point the same way. We also try a remedy: mix 10 % of the input back in after
# each layer (`Gasteiger et al. 2019 <https://arxiv.org/abs/1810.05997>`_).

edges, linked = normalised_edges(edge_index, count), edge_index.unique()
start = position.to(device)
start = (start - start[linked].mean(0)) / start[linked].std(0)


def deep(layers, keep=0.0):
    x = start
    for _ in range(layers):
        x = (1 - keep) * send(x, *edges) + keep * start
    unit = normalize(x[linked])
    return x[linked].cpu(), (unit @ unit.T).mean().item()


for layers in (0, 2, 8, 32):
    similar, mixed = deep(layers)[1], deep(layers, keep=0.1)[1]
    print(f"{layers:2} layers: similarity {similar:.2f}, with 10 % input {mixed:.2f}")

# %%
# Here is what that does to the map. The colour is the number of routes.

size = edge_index[1].bincount()[linked].log10().cpu()
fig, axes = plt.subplots(1, 4, figsize=(9, 3.2), layout="constrained")
for layers, ax in zip((0, 2, 8, 32), axes, strict=True):
    dots = ax.scatter(*deep(layers)[0].T, c=size, s=9, cmap="plasma")
    ax.set(xlim=(-4.3, 1.5), ylim=(-3.2, 3), facecolor="#0d1030", title=f"{layers} layers")
    ax.set(xlabel="longitude feature", ylabel="latitude feature")
    ax.label_outer()
fig.colorbar(dots, ax=axes, label="routes (power of 10)")
fig.suptitle("Over-smoothing: the airports' two features after 0, 2, 8 and 32 layers")
plt.show()

# %%
# After 2 layers there is still a map of sorts. After 8 the mainland is a streak, with
# Alaska and the Pacific islands trailing behind. After 32 all lie on one ray, and the
# place on it tells only how many routes an airport has. That is the limit theory gives:
# multiples of the square root of the degree (`Li et al. 2018
# <https://arxiv.org/abs/1801.07606>`_). With the remedy the airports stay apart at every
# depth. Without it, graph networks are best kept shallow.
#
# The claim
# ---------
# The six lines and the class equal ``GCNConv``, and depth alone ends in one direction.

assert max(gaps["six lines"] + gaps["class"]) < 1e-5, gaps
assert similar > 0.95 and mixed < 0.3, (similar, mixed)

# %%
# Where next
# ----------
# - :doc:`classify_molecules_mutag_gin` trains layers that replace the weighted sum by a
#   plain one, and says why.
# - To run this page on a large citation graph, take ``edge_index`` from
#   ``torch_geometric.datasets.Planetoid("data", "PubMed")[0]``.

# /// script
# requires-python = ">=3.11"
# dependencies = [
#     "torch==2.14.*",
#     "torch_geometric",
#     "bokeh-sampledata>=2026.1",
#     "matplotlib",
# ]
#
# [tool.gallery]
# modules = ["torch_geometric", "torch"]
# level = "beginner"
# task = "data"
# step = 10
# data = ["us-air-routes"]
# claim = "The networks of twelve US airlines in one batch give the same outputs as one by one (to 1e-5), in less than a tenth of the memory of padded matrices; Southwest is the least centred of them and closes most triangles, over 30 %"
# ///
"""
Hold graphs in tensors
======================

A graph has no rows and columns to put into an array. `PyG
<https://pytorch-geometric.readthedocs.io>`_ holds it as a list of edges, and many graphs of
any size as one graph that falls apart into pieces. We build the networks of twelve US
airlines that way, put all of them into one batch, ask without a loop which of them fly
everything through a hub, and check that a batch changes no result. Then come three
mistakes that give no error, or a late one. It takes about five seconds.
"""

import warnings

import matplotlib.pyplot as plt
import torch
from bokeh_sampledata.airport_routes import airports, routes
from matplotlib.collections import LineCollection
from torch_geometric.data import Batch, Data
from torch_geometric.nn import GCNConv, global_mean_pool
from torch_geometric.utils import degree, scatter, to_dense_adj

# sphinx_gallery_thumbnail_number = 1
torch.manual_seed(0)
device = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")

# %%
# Numbers for names
# -----------------
# Nodes have no names in a tensor, only numbers from 0 on. ``edge_index`` has two rows: where
# each edge starts and where it ends. A route of July 2026 is one edge, and airports without
# any flight by the airline are left out, so that each airline numbers its own.

number = {airport: i for i, airport in enumerate(airports["AirportID"])}
place = torch.tensor(airports[["Longitude", "Latitude"]].to_numpy()).float()  # degrees


def network(flights):
    ends = torch.tensor(flights[["SourceID", "DestinationID"]].map(number.get).to_numpy().T)
    airport, edge_index = ends.unique(return_inverse=True)  # old numbers, edges in new ones
    return Data(edge_index=edge_index, pos=place[airport], airport=airport)


graphs = {name: network(flights) for name, flights in routes.groupby("Airline")}
southwest = graphs["WN"]
print(southwest)
print("first edges:", southwest.edge_index[:, :5].tolist())

# %%
# ``Data`` is a bag of tensors; ``pos`` and ``airport`` have one row a node. What follows from
# them is computed when asked:

for name, graph in graphs.items():
    mutual = "undirected" if graph.is_undirected() else "directed"
    print(f"{name}: {graph.num_nodes:3} airports, {graph.num_edges:4} routes, {mutual}")

# %%
# An undirected graph holds each edge twice, once in each direction. Some airlines have a
# route or two that was flown one way only, so theirs are directed.

fig, axes = plt.subplots(1, 3, figsize=(11, 2.9), layout="constrained", sharey=True)
for ax, name in zip(axes, ("WN", "DL", "OO"), strict=True):
    graph = graphs[name]
    ax.add_collection(LineCollection(graph.pos[graph.edge_index.T], lw=0.3, alpha=0.5))
    ax.plot(*graph.pos.T, "C1.", ms=3)
    ax.set(title=f"{name}: {graph.num_edges} routes", xlabel="longitude (°)")
    ax.set(xlim=(-127, -65), ylim=(23, 51))
axes[0].set_ylabel("latitude (°)")
plt.show()

# %%
# Southwest (WN) covers the country like a net. Delta's lines (DL) meet in a few places.
# SkyWest (OO) flies for other airlines, to many small towns.
#
# Many graphs, one batch
# ----------------------
# ``Batch`` lays all node lists end to end and adds to each graph's numbers how many nodes
# came before. ``ptr`` says where each graph begins, ``batch`` which graph each node is of.

batch = Batch.from_data_list(list(graphs.values())).to(device)
print(batch)
print("ptr:", batch.ptr.tolist())

# %%
# Seen as one matrix the batch has a block a graph, and nothing outside of the blocks: no
# edge leads from airline to airline, so no message ever will.

fig, ax = plt.subplots(figsize=(5.2, 5), layout="constrained")
start, end = batch.edge_index.cpu()
color = batch.batch.cpu()[start]
ax.scatter(end, start, s=0.4, c=color, cmap="tab20")
for first, last, name in zip(batch.ptr[:-1], batch.ptr[1:], graphs, strict=True):
    ax.text(last.item() + 15, (first + last).item() / 2, name, va="center", color="0.5")
ax.set(title="One matrix, twelve graphs", xlabel="to node", ylabel="from node")
ax.invert_yaxis()
plt.show()

# %%
# What the alternative costs
# --------------------------
# ``to_dense_adj`` makes the usual alternative, a stack of matrices, each as large as the
# largest graph needs.

dense = to_dense_adj(batch.edge_index, batch.batch)
sparse_bytes = batch.edge_index.nbytes + batch.batch.nbytes
ratio = dense.nbytes / sparse_bytes
print(f"padded {tuple(dense.shape)}: {dense.nbytes:,} bytes, {dense.mean():.1%} not zero")
print(
    f"batch {tuple(batch.edge_index.shape)}: {sparse_bytes:,} bytes, {ratio:.0f} times less"
)

# %%
# A question to all graphs at once
# --------------------------------
# With ``batch.batch`` a sum or maximum over each graph is one ``scatter``. Which share of an
# airline's departures is at its largest airport? And how closed is the net: of all pairs of
# routes that meet in an airport, how many are closed to a triangle by a third?

departures = degree(batch.edge_index[0], batch.num_nodes)
largest = scatter(departures, batch.batch, reduce="max")
hub_share = (largest / scatter(departures, batch.batch)).cpu()  # (graphs,)
both = ((dense + dense.mT) > 0).float()  # either way, (graphs, nodes, nodes)
triangles = (both @ both * both).sum(dim=(1, 2))
meeting = both.sum(dim=1)
closed = (triangles / (meeting * (meeting - 1)).sum(dim=1)).cpu()

# %%
# For triangles the padded matrices are handy, and small enough here.

fig, ax = plt.subplots(figsize=(7, 4.4), layout="constrained")
own = ("AA", "AS", "B6", "DL", "F9", "G4", "UA", "WN")
for i, name in enumerate(graphs):
    ax.plot(hub_share[i], closed[i], "o", color="C0" if name in own else "C1")
    ax.annotate(name, (hub_share[i], closed[i]), (5, 4), textcoords="offset points")
ax.set(xlabel="share of departures at the largest airport", ylabel="triangles closed")
ax.set_title("Hubs and nets: airlines (blue) and carriers that fly for them (orange)")
ax.xaxis.set_major_formatter("{x:.0%}")
ax.yaxis.set_major_formatter("{x:.0%}")
plt.show()

# %%
# A pure star would have half of its departures in the middle (the other half leads there)
# and no triangle. Southwest (WN) is the farthest from one: 5 % at its largest airport, and
# over a third of its triangles closed. American, Delta, United and JetBlue sit together at
# 13 to 14 %. The regional carriers Envoy (MQ) and PSA (OH) fly little but spokes. Allegiant
# (G4) is neither: no hub, and hardly a triangle, since it links small towns with resorts and
# neither kind with its like.
#
# Nothing changes in a batch
# --------------------------
# A network for graphs needs no word about batches, but for the last step that pools nodes to
# graphs. Here one convolution on the positions, then the mean: together, then one
# by one, for which ``to_data_list`` takes the batch apart.

convolution = GCNConv(2, 16).to(device)
with torch.inference_mode():
    nodes = convolution(batch.pos, batch.edge_index).relu()
    together = global_mean_pool(nodes, batch.batch)  # (graphs, 16)
    alone = [
        convolution(graph.pos, graph.edge_index).relu().mean(dim=0)
        for graph in batch.to_data_list()
    ]
difference = ((together - torch.stack(alone)).abs() / together.abs().mean()).max().item()
print(f"largest difference, as a share of the mean output: {difference:.0e}")

# %%
# Rounding, no more. And the graphs that come out of a batch are those that went in:

back = batch[list(graphs).index("WN")].cpu()
print(all(back[key].equal(southwest[key]) for key in ("edge_index", "pos", "airport")))

# %%
# A trap: how many nodes?
# -----------------------
# A list of edges does not know of nodes without any. If nothing with one row a node comes
# along, PyG guesses the largest number in use plus one. All 514 airports, with Southwest's
# routes in their old numbers:

edge_index = southwest.airport[southwest.edge_index]
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    guessed = Data(edge_index=edge_index).num_nodes
told = Data(edge_index=edge_index, num_nodes=len(airports))
print(f"guessed {guessed}, told {told.num_nodes} airports")
print(f"isolated: {told.num_nodes - edge_index.unique().numel()} airports")
print("warned:", str(said[0].message)[:50], "...")

# %%
# The guess is short of the last ten airports, so that outputs and labels no longer fit. Heed the warning and pass
# ``num_nodes`` wherever there are no features. The opposite, a number too large, comes from
# joining tables wrongly. ``validate`` finds it; without that the CPU's error names an index
# and not the cause, and a GPU stops with an assertion that it cannot survive.

wrong = Data(edge_index=torch.tensor([[0, 1], [1, 3]]), x=torch.randn(3, 2))
try:
    wrong.validate()
except ValueError as error:
    print(error)

# %%
# A trap: numbers that a batch must shift
# ---------------------------------------
# We want to keep each airline's largest airport with its graph, as a node number. A batch
# shifts numbers of nodes, but how does it know that these are some? By the name: what has
# ``index`` in it is shifted.

for graph in graphs.values():
    hub = degree(graph.edge_index[0], graph.num_nodes).argmax()
    graph.hub, graph.hub_index = hub, hub
shifted = Batch.from_data_list(list(graphs.values())).cpu()
own_graph = shifted.batch[shifted.hub_index].equal(torch.arange(len(graphs)))
hubs = {
    key: airports["IATA"].iloc[shifted.airport[shifted[key]]].tolist()
    for key in ("hub_index", "hub")
}
print(hubs["hub_index"], "each in its own graph:", own_graph)
print(hubs["hub"])

# %%
# Atlanta for Delta, Chicago for United: right in the first row. In the second all numbers
# were read in the first graph, American's: a plausible list of wrong airports, and no error.
# A name of your own can be taught by a subclass of ``Data`` with ``__inc__``.
#
# The claim, checked
# ------------------

assert difference < 1e-5, difference
assert ratio > 10, ratio
southwest_at = list(graphs).index("WN")
assert hub_share.argmin() == closed.argmax() == southwest_at
assert closed[southwest_at] > 0.3, closed
assert own_graph and shifted.hub.max() < shifted.ptr[2]

# %%
# Where next
# ----------
# - :doc:`message_passing_from_scratch` shows what a layer does along these edges, and why
#   their direction matters.
# - :doc:`predict_missing_air_routes` splits the edges of one graph so that nothing leaks.
# - ``torch_geometric.datasets.TUDataset`` has collections of thousands of graphs, which
#   ``torch_geometric.loader.DataLoader`` cuts into batches like this one
#   (:doc:`classify_molecules_mutag_gin` does it).

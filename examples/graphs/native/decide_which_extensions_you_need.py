# /// script
# requires-python = ">=3.11"
# dependencies = [
#     "torch==2.14.*",
#     "torch_scatter==2.1.2",
#     "torch_sparse==0.6.18",
#     "torch_cluster==1.6.3",
#     "torch_geometric>=2.8",
#     "bokeh-sampledata>=2026.1",
#     "matplotlib",
# ]
#
# [tool.gallery]
# modules = ["torch_sparse", "torch_scatter", "torch_cluster", "torch_geometric"]
# level = "intermediate"
# task = "foundations"
# step = 50
# data = ["us-air-routes"]
# claim = "Of 24 lines of PyG 2.8, 11 run without a compiled extension, 8 more with torch_sparse, none more with torch_scatter or torch_cluster; a training step on torch's own CSR adjacency is over 1.5 times as fast as on edge_index, and torch_sparse's SparseTensor gains less than a third on it"
#
# [tool.uv]  # `uv run` compiles the extensions against the torch that they will meet
# extra-build-dependencies = { torch-scatter = ["torch==2.14.*", "ninja"], torch-sparse = ["torch==2.14.*", "ninja"], torch-cluster = ["torch==2.14.*", "ninja"] }
# ///
"""
Decide which compiled extensions you still need
===============================================

Older guides tell you to install torch_scatter, torch_sparse and torch_cluster before
`PyG <https://pytorch-geometric.readthedocs.io/en/latest/install/installation.html>`_.
From PyPI they come as source and take minutes to compile. Which of them does PyG 2.8
still use? We run 24 lines of PyG on US air routes in four interpreters that see none, one,
two or all three of them, read what is refused and why, and time what runs either way.
About 25 seconds, once the three are compiled.
"""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from statistics import median

import matplotlib.pyplot as plt
import torch
import torch_cluster
import torch_scatter
import torch_sparse
from bokeh_sampledata.airport_routes import airports, routes
from torch.utils.benchmark import Timer
from torch_geometric import data, nn, transforms

# sphinx_gallery_thumbnail_number = 1
torch.manual_seed(0)
torch.sparse.check_sparse_tensor_invariants.disable()  # the default, said aloud

# %%
# Three extensions
# ----------------
# Versions first. Compiled on a machine without CUDA tools, they serve the CPU alone.

device = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
if torch.ops.torch_scatter.cuda_version() == -1:
    device = torch.device("cpu")
extensions = {m.__name__: m for m in (torch_scatter, torch_sparse, torch_cluster)}
print({name: module.__version__ for name, module in extensions.items()})

# %%
# Twenty-four questions
# ---------------------
# PyG looks for its extensions once, when it is imported, and then takes another path
# through its code or refuses. So each question is a line that a child interpreter will
# run, on 514 airports with features ``x`` and positions ``pos``. First layers and pooling.

layers = {
    "GCNConv": "nn.GCNConv(16, 8)(x, edge_index)",
    "SAGEConv": "nn.SAGEConv(16, 8)(x, edge_index)",
    "GATConv": "nn.GATConv(16, 8)(x, edge_index)",
    "PNAConv": "nn.PNAConv(16, 8, ['max'], ['identity'], torch.ones(9))(x, edge_index)",
    "GCNConv on torch's CSR": "nn.GCNConv(16, 8)(x, adjacency)",
    "SplineConv": "nn.SplineConv(16, 8, 1, 2)(x, edge_index, torch.rand(edges, 1))",
    "TopKPooling": "nn.TopKPooling(16)(x, edge_index)",
}

# %%
# Then what feeds a training: loaders, samplers and splits. ``next(iter(...))`` draws the
# first batch.

feeding = {
    "DataLoader": "next(iter(loader.DataLoader([graph, graph], 2)))",
    "RandomNodeLoader": "next(iter(loader.RandomNodeLoader(graph, 4)))",
    "NeighborLoader": "next(iter(loader.NeighborLoader(graph, [5, 5])))",
    "NeighborLoader, disjoint": "next(iter(loader.NeighborLoader(graph, [5], disjoint=True)))",
    "LinkNeighborLoader": "next(iter(loader.LinkNeighborLoader(graph, [5, 5])))",
    "HGTLoader": "next(iter(loader.HGTLoader(graph.to_heterogeneous(), [5], ('0', None))))",
    "ShaDowKHopSampler": "next(iter(loader.ShaDowKHopSampler(graph, 2, 5)))",
    "GraphSAINTNodeSampler": "next(iter(loader.GraphSAINTNodeSampler(graph, 32, 1)))",
    "ClusterData": "loader.ClusterData(graph, 4, log=False)",
}

# %%
# And what works with neighbours in space, walks and coarser graphs, and with
# ``SparseTensor``, the sparse matrix of torch_sparse.

other = {
    "SparseTensor": "typing.SparseTensor.from_edge_index(edge_index)",
    "SparseTensor @ x": "typing.SparseTensor.from_edge_index(edge_index) @ x",
    "knn_graph": "nn.knn_graph(pos, 4)",
    "farthest points (fps)": "nn.fps(pos, ratio=0.1)",
    "DynamicEdgeConv": "nn.DynamicEdgeConv(torch.nn.Linear(32, 8), 4)(x)",
    "voxel_grid": "nn.voxel_grid(pos, 1.0)",
    "Node2Vec": "next(iter(nn.Node2Vec(edge_index, 8, 5, 3).loader()))",
    "dropout_path": "utils.dropout_path(edge_index)",
}
questions = layers | feeding | other

# %%
# Four interpreters
# -----------------
# To hide a module from ``import`` one writes ``None`` in its place. This is the first part
# of what each child runs; it notes what PyG says of the extensions while it is imported.

prepare = """
import json, sys, warnings
for name in sys.argv[1].split():
    sys.modules[name] = None
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    import torch
    from torch_geometric import data, loader, nn, transforms, typing, utils
warnings.simplefilter("ignore")
(n, edges, edge_index, pos), questions = json.load(sys.stdin)
edge_index, pos, x = torch.tensor(edge_index), torch.tensor(pos), torch.randn(n, 16)
graph = data.Data(x=x, edge_index=edge_index, pos=pos)
adjacency = torch.sparse_coo_tensor(edge_index, torch.ones(edges), (n, n)).to_sparse_csr()
"""

# %%
# The second part asks the questions. An answer is empty, or the first line of the error.

answer = """
answers = {}
for name, line in questions.items():
    try:
        eval(line)
        answers[name] = ""
    except Exception as error:
        answers[name] = str(error).splitlines()[0]
said = [str(w.message) for w in said if w.category is DeprecationWarning]
print(json.dumps([answers, [text for text in said if "torch-" in text]]))
"""

# %%
# torch_sparse imports torch_scatter, so the third child has both. Two children run at a
# time; most of their seconds go into the import.

number = {airport: i for i, airport in enumerate(airports["AirportID"])}
pairs = routes[["SourceID", "DestinationID"]].drop_duplicates().map(number.get)
edge_index = torch.tensor(pairs.to_numpy().T).contiguous()  # (2, routes)
place = airports[["Longitude", "Latitude"]].to_numpy().tolist()  # degrees
told = [[len(airports), len(pairs), edge_index.tolist(), place], questions]


def ask(seen):
    hidden = " ".join([*extensions][seen:])
    command = [sys.executable, "-c", prepare + answer, hidden]
    return json.loads(subprocess.check_output(command, input=json.dumps(told), text=True))


with ThreadPoolExecutor(2) as pool:
    answers, said = zip(*pool.map(ask, range(4)), strict=True)
runs = torch.tensor([[not column[name] for column in answers] for name in questions])
print(f"of {len(questions)} lines run:", *runs.sum(dim=0).tolist())

# %%
# That is with none, with torch_scatter, with torch_sparse in addition, with torch_cluster
# in addition: the first and the last step bring nothing. The table says which lines run.

order = runs.sum(dim=1).argsort(descending=True, stable=True)
names = [[*questions][row] for row in order]
fig, ax = plt.subplots(figsize=(6.5, 6.5), layout="constrained")
ax.pcolormesh(runs[order], cmap="Blues", vmin=-0.3, vmax=1.3, edgecolors="w", lw=2)
for row, column in runs[order].nonzero().tolist():
    ax.text(column + 0.5, row + 0.5, "runs", ha="center", va="center", color="w")
ax.set_xticks(torch.arange(4) + 0.5, ["none", "+ scatter", "+ sparse", "+ cluster"])
ax.set_yticks(torch.arange(len(names)) + 0.5, names)
ax.set(xlabel="compiled extensions that are installed", ylabel="what is asked of PyG")
ax.set_title("Lines of PyG that run; the pale ones are refused")
ax.invert_yaxis()
plt.show()

# %%
# Message passing, pooling and plain batching run without anything compiled. What samples
# from a graph wants torch_sparse. A third group is refused even with all three, and its
# errors say why:

print("none, NeighborLoader:", answers[0]["NeighborLoader"])
for name in ("NeighborLoader, disjoint", "ClusterData", "knn_graph"):
    print(f"all, {name}: {answers[3][name]}")
print("at import:", *said[3])

# %%
# So torch_cluster is *ignored*: PyG moved its functions to `pyg-lib
# <https://github.com/pyg-team/pyg-lib>`_, and so did some things that torch_sparse never
# had. pyg-lib is not on PyPI; https://data.pyg.org/whl has wheels for some versions of
# torch. Where there is none for yours, call torch_cluster by hand: ``knn_graph``, ``fps``
# and the others take the same arguments (:doc:`find_neighbours_with_torch_cluster`).
# ClusterData would take torch_sparse if that were compiled with METIS, which a build from
# PyPI's source leaves out unless ``WITH_METIS=1`` is set.
#
# Is PyG faster with them?
# ------------------------
# A layer takes a graph as ``edge_index`` or as a sparse adjacency matrix. With the latter
# it multiplies, where the former writes one message an edge to memory. Older code made the
# matrix a ``SparseTensor`` of torch_sparse; ``ToSparseTensor`` also makes torch's own CSR.
# We time a training step on 20 copies of the graph in one batch of 120,440 edges.

piece = data.Data(x=torch.randn(len(airports), 64), edge_index=edge_index)
batch = data.Batch.from_data_list([piece] * 20).to(device)
csr = transforms.ToSparseTensor(layout=torch.sparse_csr)(batch.clone()).adj_t
sparse = transforms.ToSparseTensor(layout=None)(batch.clone()).adj_t
forms = {"edge_index": batch.edge_index, "torch CSR": csr, "SparseTensor": sparse}
kinds = {kind: getattr(nn, kind)(64, 64).to(device) for kind in ("GCNConv", "SAGEConv")}

# %%
# First that they agree, in outputs and gradients; then seconds, in turns, so that a busy
# machine hits all forms alike.


def step(layer, form):
    layer.zero_grad()
    output = layer(batch.x, form)
    output.square().mean().backward()
    return torch.cat(
        [output.detach(), *[p.grad for p in layer.parameters() if p.dim() > 1]]
    )


worst, seconds = 0.0, {(kind, name): [] for kind in kinds for name in forms}
for kind, name in [*seconds] * 9:
    known = dict(step=step, layer=kinds[kind], form=forms[name])
    difference = step(kinds[kind], forms[name]) - step(kinds[kind], batch.edge_index)
    worst = max(worst, difference.abs().max().item())
    seconds[kind, name].append(Timer("step(layer, form)", globals=known).timeit(3).mean)
print(f"largest difference of outputs and gradients: {worst:.0e}")

# %%
# The medians for one forward and backward pass:

for kind in kinds:
    times = {name: f"{1000 * median(seconds[kind, name]):.1f} ms" for name in forms}
    print(kind, times)

# %%
# The form pays, the extension does not: torch's CSR has the whole gain. It pays for sums
# and means. Attention makes a message an edge anyway, and stored values that need a
# gradient are dear in CSR (:doc:`multiply_sparse_matrices_with_torch_sparse` measures it).
# On a GPU, PyG still prefers torch_scatter for maxima and minima that need a gradient.
#
# The short answer
# ----------------
# - Layers, and whole graphs in batches: install **nothing**; try a CSR adjacency.
# - Loaders that sample: **torch_sparse** with torch_scatter, or pyg-lib if there is a wheel.
# - Neighbours in space, walks, coarsening: **pyg-lib**, or torch_cluster called by hand.
#
# The claim, checked
# ------------------


middle = {key: median(times) for key, times in seconds.items()}
gain = [middle[kind, "edge_index"] / middle[kind, "torch CSR"] for kind in kinds]
more = [middle[kind, "torch CSR"] / middle[kind, "SparseTensor"] for kind in kinds]
print("CSR against edge_index:", ", ".join(f"{value:.2f} times as fast" for value in gain))
print(
    "SparseTensor against CSR:", ", ".join(f"{value:.2f} times as fast" for value in more)
)
assert runs.sum(dim=0).tolist() == [8, 8, 15, 15]
assert "is being ignored" in said[3][0]
assert worst < 1e-3
assert min(gain) > 1.4
assert max(more) < 1.25

# %%
# Where next
# ----------
# - :doc:`reduce_groups_with_torch_scatter`, :doc:`find_neighbours_with_torch_cluster` and
#   :doc:`multiply_sparse_matrices_with_torch_sparse` write each extension's work in plain
#   torch and assert that it is equal.
# - Moving a project of your own, or one on ``torch_geometric.datasets.Planetoid``? Put its
#   lines into ``questions`` before you compile anything.

# /// script
# requires-python = ">=3.11,<3.13"
# dependencies = ["torch==2.14.*", "torch_geometric", "grakel", "scikit-learn", "networkx", "matplotlib"]
#
# [tool.gallery]
# modules = ["torch_geometric", "torch.nn"]
# level = "intermediate"
# task = "classification"
# step = 50
# data = ["mutag"]
# claim = "Averaging the atoms of a MUTAG molecule gains a few points on the larger class (67 %), adding them up over 8 more; a GIN with bond types reaches over 83 % in ten folds, and choosing the epoch on held-out folds flatters it"
# ///
"""
Classify mutagenic molecules with a graph isomorphism network
=============================================================

Does a nitro compound cause mutations in *Salmonella* bacteria? Here the thing to classify
is a whole graph, so all atoms must be pooled into one vector. We train a GIN (`GINConv
<https://pytorch-geometric.readthedocs.io/en/latest/generated/torch_geometric.nn.conv.GINConv.html>`_)
on the 188 molecules of MUTAG, a small and much quoted benchmark, with ten-fold
cross-validation. Beside it stand counts of atoms and bonds, and the published 89.4 %,
whose protocol we look at closely. It takes some 20 seconds.
"""

from importlib.util import find_spec

import matplotlib.pyplot as plt
import networkx as nx
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score
from torch import nn
from torch_geometric.data import Batch, Data
from torch_geometric.io import read_tu_data
from torch_geometric.nn import MLP, GINConv, GINEConv, global_add_pool, global_mean_pool
from torch_geometric.utils import to_networkx

# sphinx_gallery_thumbnail_number = 1
torch.manual_seed(0)
torch.set_num_threads(1)  # tiny graphs: a second thread costs more than it brings
device = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")

# %%
# The files come with `GraKeL <https://github.com/ysig/GraKeL>`_, whose tests use them. All
# molecules lie in one long table; ``slices`` says where each begins.

folder = f"{find_spec('grakel').submodule_search_locations[0]}/tests/data/MUTAG"
table, slices, _ = read_tu_data(folder, "MUTAG")
molecules = []
for i in range(len(table.y)):
    atoms = slice(*slices["x"][i : i + 2].tolist())
    bonds = slice(*slices["edge_index"][i : i + 2].tolist())
    parts = table.edge_index[:, bonds], table.edge_attr[bonds], table.y[i : i + 1]
    molecules.append(Data(table.x[atoms], *parts))
mutagenic = int(table.y.sum())
print(molecules[0])
majority = mutagenic / len(molecules)
print(f"{len(molecules)} molecules, {mutagenic} mutagenic: {majority:.1%}")
order = torch.randperm(len(molecules)).tolist()  # to show some at random

# %%
# ``x`` marks each atom as one of 7 elements, ``edge_attr`` each bond as one of 4 types. A
# bond stands twice, once in each direction; hydrogen is left out. Always answering
# "mutagenic" is right for two in three: that is the first baseline.

names, colours = ["C", "N", "O", "F", "I", "Cl", "Br"], ["0.35", "C0", "C3"] + ["C2"] * 4
shown = [i for label in (1, 0) for i in [j for j in order if table.y[j] == label][:4]]
fig, axes = plt.subplots(2, 4, figsize=(9, 5), layout="constrained")
for i, ax in zip(shown, axes.flat, strict=True):
    element = molecules[i].x.argmax(1).tolist()
    graph = to_networkx(molecules[i], to_undirected=True, edge_attrs=["edge_attr"])
    kinds = [bond.index(1) for *_, bond in graph.edges(data="edge_attr")]
    style = {"width": [(2.5, 1, 4, 6)[kind] for kind in kinds], "edge_color": "0.6"}
    style |= {"node_color": [colours[e] for e in element], "node_size": 110}
    text = {"labels": {n: names[e] for n, e in enumerate(element)}, "font_color": "white"}
    nx.draw_kamada_kawai(graph, ax=ax, font_size=8, **text, **style)
    ax.set_axis_off()
    ax.set_title("mutagenic" if molecules[i].y else "not mutagenic")
fig.suptitle("Eight molecules of MUTAG: thick lines are double or aromatic bonds")
plt.show()

# %%
# One can see the answer coming: molecules of three or more fused rings tend to be
# mutagenic, as the chemists who collected them wrote (`Debnath et al. 1991
# <https://doi.org/10.1021/jm00106a046>`_). So size tells a lot, and shape a little more.
#
# A batch is one large graph
# --------------------------
# Molecules differ in size, so they cannot be stacked. PyG lays them side by side into
# one graph without edges between them; the vector ``batch`` says whose each atom is.

three = Batch.from_data_list([molecules[i] for i in shown[4:7]])
print("atoms of each:", three.batch.bincount().tolist(), "edges:", three.num_edges)
print("batch:", *three.batch.tolist())
fig, ax = plt.subplots(figsize=(4.2, 4), layout="constrained")
ax.scatter(*three.edge_index, c=three.batch[three.edge_index[0]], s=14, marker="s")
ax.set(xlabel="from atom", ylabel="to atom", title="Bonds of three molecules in a batch")
ax.invert_yaxis()
plt.show()

# %%
# Three blocks along the diagonal: no message can cross from one molecule to another.
#
# Sum or mean?
# ------------
# Pooling adds up (or averages) the atoms of each molecule. We pool a molecule, and the
# same molecule twice in one graph.

twice = Batch.from_data_list([three[0], three[0]])
twice.batch = torch.zeros_like(twice.batch)  # one graph of two equal halves
for name, pool in (("sum", global_add_pool), ("mean", global_mean_pool)):
    for often, graph in (("once", three[0]), ("twice", twice)):
        carbon, nitrogen = pool(graph.x, graph.batch)[0, :2]
        print(f"{name:4} {often:5}  carbon {carbon:5.2f}  nitrogen {nitrogen:.2f}")

# %%
# The mean cannot count. Does that matter for the score? Logistic regression on the number
# of atoms, on means, on sums, and on sums of atoms and bonds gives the answer and our
# baselines. All methods share the ten folds.

target, whole = table.y.numpy(), Batch.from_data_list(molecules)
counts = global_add_pool(whole.x, whole.batch)
kinds = global_add_pool(whole.edge_attr, whole.batch[whole.edge_index[0]]) / 2
features = {
    "number of atoms": counts.sum(1, keepdim=True),
    "mean of atoms": global_mean_pool(whole.x, whole.batch),
    "sum of atoms": counts,
    "sum of atoms and bonds": torch.cat([counts, kinds], dim=1),
}
splitter = StratifiedKFold(10, shuffle=True, random_state=0)
folds, scores = list(splitter.split(target, target)), {}
linear = LogisticRegression(C=100, max_iter=5000)  # hardly regularised
for name, x in features.items():
    scores[name] = torch.tensor(cross_val_score(linear, x, target, cv=folds))
    print(f"{name:23} {scores[name].mean():.1%} +- {scores[name].std():.1%}")

# %%
# The size of a molecule alone is nearly as good as anything that follows: it tells one
# ring from three. The mean has lost it, and gains only a few points on always saying
# "mutagenic". The sum has it back; which elements and bonds there are adds a little. A
# graph network has to beat *that*.
#
# The network
# -----------
# A GIN layer adds up the features of an atom and its neighbours and sends the sum through
# a small MLP
# (`Xu et al. 2019 <https://arxiv.org/abs/1810.00826>`_). After each layer all atoms are
# pooled; the classifier reads the pools side by side. The paper ignores bond types.
# `GINEConv
# <https://pytorch-geometric.readthedocs.io/en/latest/generated/torch_geometric.nn.conv.GINEConv.html>`_
# (`Hu et al. 2020 <https://arxiv.org/abs/1905.12265>`_) adds an embedding of the bond to
# each message. We train both. ``plain_last=False`` closes each MLP with batch
# normalisation and a ReLU.


class GIN(nn.Module):
    def __init__(self, bonds, width=16):
        super().__init__()
        self.bonds = bonds
        mlps = [MLP([size, width, width], plain_last=False) for size in (7, width, width)]
        convs = [GINEConv(mlp, edge_dim=4) if bonds else GINConv(mlp) for mlp in mlps]
        self.convs = nn.ModuleList(convs)
        self.head = nn.Sequential(nn.Dropout(0.5), nn.Linear(7 + 3 * width, 2))

    def forward(self, graphs):
        x, bonds = graphs.x, (graphs.edge_attr,) if self.bonds else ()
        pools = [global_add_pool(x, graphs.batch, graphs.num_graphs)]
        for conv in self.convs:
            x = conv(x, graphs.edge_index, *bonds)
            pools.append(global_add_pool(x, graphs.batch, graphs.num_graphs))
        return self.head(torch.cat(pools, dim=1))


# %%
# The score is the share of right answers.


def accuracy(model, graphs):
    with torch.no_grad():
        return (model.eval()(graphs).argmax(1) == graphs.y).float().mean().item()


# %%
# All training molecules are one batch, so an epoch is one step. We fix 100 epochs beforehand
# and write down the held-out accuracy after every one of them, for a later question.


def train(bonds, train_rows, test_rows, epochs=100):
    parts = [[molecules[i] for i in rows] for rows in (train_rows, test_rows)]
    known, unseen = (Batch.from_data_list(part).to(device) for part in parts)
    model = GIN(bonds).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    history = []
    for _ in range(epochs):
        loss = nn.functional.cross_entropy(model.train()(known), known.y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        history.append(accuracy(model, unseen))
    return torch.tensor(history)


# %%
# Ten folds for each of the two networks, and all five methods in one table.

curves = {}
for name, bonds in (("GIN", False), ("GIN with bonds", True)):
    curves[name] = torch.stack([train(bonds, *fold) for fold in folds])  # (folds, epochs)
    scores[name] = curves[name][:, -1]
    print(f"{name:23} {scores[name].mean():.1%} +- {scores[name].std():.1%}")
gain = scores["GIN with bonds"] - scores["sum of atoms and bonds"]
print(f"gain over counting, fold by fold: {gain.mean():.1%} +- {gain.std() / 10**0.5:.1%}")

# %%
# The bars show the mean over the ten folds, the whiskers its standard error.

fig, ax = plt.subplots(figsize=(8, 3.2), layout="constrained")
all_scores = torch.stack(list(scores.values()))  # (methods, folds)
style = {"xerr": all_scores.std(1) / 10**0.5, "capsize": 4}
ax.barh(list(scores), all_scores.mean(1), color=["0.6"] * 4 + ["C0"] * 2, **style)
ax.axvline(majority, color="k", linestyle=":", label="always mutagenic")
ax.axvline(0.894, color="C1", linestyle="--", label="published GIN (Xu et al. 2019)")
ax.invert_yaxis()
ax.set(xlabel="accuracy on held-out molecules", xlim=(0.5, 1))
ax.set_title("Counting atoms is nearly as good as a graph network here")
fig.legend(loc="outside lower center", ncols=2)
plt.show()

# %%
# A fold holds 19 molecules, so one molecule moves its score by five points. Above, the +-
# behind a method is the spread of the folds, as in the paper; the whiskers, and the +- of
# the gain, are the error of a mean. Compared fold by fold, the gain over counting is
# no larger than its error: these ten folds cannot tell the graph networks from the
# counts. Quoting one without the other would be the usual mistake.
#
# Where do the published 89.4 % come from?
# ----------------------------------------
# The paper reports 89.4 +- 5.6 %, and says how: one epoch is chosen *for all folds
# together*, the one with the best mean held-out accuracy. But held-out molecules that
# choose the epoch are no longer unseen. We wrote every epoch down, so we can do it
# fairly: the other nine folds choose the epoch, and the tenth, which had no say, gives
# the score. The difference is flattery.

fig, ax = plt.subplots(figsize=(8, 3.6), layout="constrained")
flattery = []
for (name, curve), colour in zip(curves.items(), ("C0", "C1"), strict=True):
    mean = curve.mean(0)  # (epochs,)
    others = (curve.sum(0) - curve) / (len(curve) - 1)  # mean of the other nine folds
    fair = curve.gather(1, others.argmax(1, keepdim=True)).mean()
    flattery.append(mean.max() - fair)
    print(f"{name:15} last epoch {mean[-1]:.1%}, best {mean.max():.1%}, fair {fair:.1%}")
    ax.plot(range(1, len(mean) + 1), mean, colour, label=name)
    ax.plot(mean.argmax() + 1, mean.max(), "o", color=colour)
ax.set(xlabel="epoch", ylabel="mean accuracy of ten folds")
ax.set_title("The dots are where looking at the held-out folds would have stopped")
ax.legend()
plt.show()

# %%
# Chosen fairly, the epoch is worth about a point less, and no clear gain on one fixed
# beforehand. By the paper's protocol our GIN ends some three points below the
# published one, and the one that also sees bonds, which the paper's does not, level with
# it. The paper's network is deeper, and its width, batch size and dropout were chosen in
# the same way. None of these gaps exceeds the spread of the folds.

assert majority < scores["mean of atoms"].mean() < majority + 0.08
assert scores["sum of atoms"].mean() > scores["mean of atoms"].mean() + 0.08
assert scores["GIN with bonds"].mean() > 0.83
assert sum(flattery) > 0, flattery

# %%
# Where next
# ----------
# - :doc:`message_passing_from_scratch` takes one such layer apart.
# - For a benchmark in which a difference can be seen, take a larger set:
#   ``torch_geometric.datasets.TUDataset("data", "NCI1")`` has 4,110 molecules.

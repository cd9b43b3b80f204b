# /// script
# requires-python = ">=3.11"
# dependencies = [
#     "torch==2.14.*",
#     "torch_cluster==1.6.3",
#     "bokeh-sampledata>=2026.1",
#     "scipy",
#     "matplotlib",
# ]
#
# [tool.gallery]
# modules = ["torch_cluster", "torch"]
# level = "advanced"
# task = "foundations"
# step = 20
# data = ["world-cities", "us-air-routes"]
# claim = "torch_cluster and plain torch find the same 8 nearest towns (to 1 m), the same pairs within 50 km and the same 60 farthest points among 45,065 towns; the default limit of 32 neighbours loses over a quarter of the pairs, the default mode of cdist over 2 % of the nearest towns, and at 16,000 towns the tree is more than 10 times as fast as all pairs"
#
# [tool.uv]  # `uv run` compiles torch_cluster against the torch that it will meet
# extra-build-dependencies = { torch-cluster = ["torch==2.14.*", "ninja"] }
# ///
"""
Find neighbours with torch_cluster, or without it
=================================================

Point clouds become graphs by asking who is near whom. `torch_cluster
<https://github.com/rusty1s/pytorch_cluster>`_ answers with k nearest neighbours, all
neighbours in a radius, and farthest point sampling. We ask it about 45,065 towns of the
world and 514 airports, in three dimensions, write each answer in plain torch too, compare
them, and find where brute force stops paying. On the way lie three traps: degrees,
rounding, and a limit of 32. It takes about 15 seconds, once torch_cluster is compiled
(minutes).
"""

import matplotlib.pyplot as plt
import torch
import torch_cluster
from bokeh_sampledata.airport_routes import airports
from bokeh_sampledata.world_cities import data as towns
from scipy.spatial import cKDTree
from torch.utils.benchmark import Timer

# sphinx_gallery_thumbnail_number = 1
torch.manual_seed(0)
device = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
if torch.ops.torch_cluster.cuda_version() == -1:  # torch_cluster was built without CUDA
    device = torch.device("cpu")

# %%
# Points in space
# ---------------
# A place is given by two angles. We turn them into kilometres from the centre of the
# Earth, three numbers a place, so that the distance between two is a straight line (through
# the ground; for near places the ground makes no difference).


def to_space(latitude, longitude):
    north, east = (torch.tensor(a.to_numpy()).deg2rad() for a in (latitude, longitude))
    unit = [north.cos() * east.cos(), north.cos() * east.sin(), north.sin()]
    return 6371 * torch.stack(unit, dim=1).float().to(device)  # (places, 3), km


points = to_space(towns["lat"], towns["lng"])
fields = to_space(airports["Latitude"], airports["Longitude"])
print(f"{len(points):,} towns, {len(fields)} airports of the USA")

# %%
# The nearest airport of each town
# --------------------------------
# ``knn(x, y, k)`` finds for each row of ``y`` the ``k`` nearest rows of ``x``. It returns
# edges, a row of ``y`` and a row of ``x`` each.

town, nearest = torch_cluster.knn(fields, points, 1)
away = (points[town] - fields[nearest]).norm(dim=1).cpu()  # km
inside = (towns["lng"].between(-126, -66) & towns["lat"].between(24, 50)).to_numpy()
start = towns[["lng", "lat"]].to_numpy()[inside]
end = airports[["Longitude", "Latitude"]].to_numpy()[nearest.cpu().numpy()[inside]]
print(f"on the map the median town is {away[inside.nonzero()].median():.0f} km away")

fig, ax = plt.subplots(figsize=(8, 4.6), layout="constrained")
ax.plot([start[:, 0], end[:, 0]], [start[:, 1], end[:, 1]], color="C0", lw=0.7)
ax.plot(*end.T, ".", color="black", ms=4)
ax.set(xlim=(-126, -66), ylim=(24, 50), aspect=1.25)
ax.set(xlabel="longitude (°)", ylabel="latitude (°)")
ax.set_title("Each town tied to its nearest US airport (black)")
plt.show()

# %%
# A star for each airport. The long rays come from Mexico and Canada, whose own airports
# are not in our table.
#
# First trap: degrees are not a distance
# --------------------------------------
# Why not look for neighbours among latitudes and longitudes as they are? A degree of
# longitude shrinks towards the poles, and 180° west *is* 180° east. We find each town's
# nearest town both ways. ``knn_graph`` is ``knn`` of a set with itself, without the loops.


def nearest_town(x):
    found, itself = torch_cluster.knn_graph(x, 1)  # (2, towns): source, target
    return torch.zeros_like(found).index_copy(0, itself, found)


degrees = torch.tensor(towns[["lat", "lng"]].to_numpy(), dtype=torch.float32).to(device)
best = (points - points[nearest_town(points)]).norm(dim=1)
flat = (points - points[nearest_town(degrees)]).norm(dim=1)
worst = (flat - best).argmax().item()
wrong = (flat > best + 0.1).float().mean()
print(f"degrees miss the nearest town {wrong:.1%} of the time; the worst:")
print(f"{towns['name'][worst]}: {best[worst]:.0f} km away, by degrees {flat[worst]:.0f} km")

# %%
# Brute force in plain torch
# --------------------------
# All distances, then the smallest: ``torch.cdist`` and ``topk``. 45,065 squared are two
# billion distances, 8 GB, so we go block by block. The last argument of ``cdist`` is the
# second trap: without it, torch may compute distances by a matrix product.


def plain_knn(x, y, k, mode="donot_use_mm_for_euclid_dist"):
    found = []
    for block in y.split(1024):
        distance = torch.cdist(block, x, compute_mode=mode)  # (block, len(x))
        found.append(distance.topk(k, largest=False).indices)
    return torch.cat(found)  # (len(y), k)


def gaps(x, y, k, found):
    return (y[:, None] - x[found]).norm(dim=2)  # (len(y), k), km


every = points[::4].contiguous()  # one town of four: enough to compare, quick
_, column = torch_cluster.knn(points, every, 8)
tree = gaps(points, every, 8, column.view(-1, 8)).sort(dim=1).values
plain = gaps(points, every, 8, plain_knn(points, every, 8))
knn_error = (tree - plain).abs().max().item()
print(f"8 neighbours of {len(every):,} towns: distances differ by {knn_error:.0e} km")

# %%
# Equal. (We compare distances, not indices: a few towns share their coordinates, and which
# twin comes first is nobody's business.) Now with the distance that ``cdist`` prefers:

default = plain_knn(points, every, 2, "use_mm_for_euclid_dist_if_necessary")
second = gaps(points, every, 2, default)[:, 1]
missed = (second > plain[:, 1] + 0.01).float().mean().item()
excess = (second - plain[:, 1]).max().item()
print(f"{missed:.1%} of the nearest towns missed, by up to {excess:.1f} km")

# %%
# The product uses ``|a|² + |b|² - 2ab``. Here both squares are about 40,000,000, float32
# has seven digits, and what is left of two neighbours a kilometre apart is rounding.
# Subtract first, square after: that is what the other mode does, at a higher price on a
# GPU. Points far from the origin, or a model's features, are where it bites.
#
# Third trap: everybody within a radius, but at most 32
# -----------------------------------------------------
# ``radius`` gives all neighbours within a distance, up to ``max_num_neighbors``, which is
# 32 unless you say otherwise. We ask for towns within 50 km of each airport.

few = torch_cluster.radius(points, fields, 50.0)
whole = torch_cluster.radius(points, fields, 50.0, max_num_neighbors=len(points))
near = torch.cdist(fields, points, compute_mode="donot_use_mm_for_euclid_dist") <= 50
pairs = {"torch_cluster": whole, "plain torch": near.nonzero().T}
numbers = [(a * len(points) + b).sort().values for a, b in pairs.values()]
same_pairs = torch.equal(*numbers)
crowd = near.sum(dim=1)
print(f"pairs: {few.shape[1]:,} with the default, {whole.shape[1]:,} in truth")
print(f"cut at {(crowd > 32).sum()} airports, the largest crowd has {crowd.max()} towns")

# %%
# No warning says that a third of the pairs is missing, and they are missing where the crowd
# is. Plain torch needs one line and has no such limit, only the memory of its table.
#
# Spread out: farthest point sampling
# -----------------------------------
# Which 60 towns cover the world? Start with one, and take again and again the town that is
# farthest from all taken so far. ``fps`` wants a share instead of a number, and starts at
# random unless told not to.


def plain_fps(x, count):
    taken, distance = [0], (x - x[0]).norm(dim=1)
    for _ in range(count - 1):
        taken.append(distance.argmax().item())
        distance = distance.minimum((x - x[taken[-1]]).norm(dim=1))
    return torch.tensor(taken, device=x.device)


share = 59.5 / len(points)  # rounded up to 60
taken = torch_cluster.fps(points, ratio=share, random_start=False)
same_towns = torch.equal(taken, plain_fps(points, 60))
print("the same 60 towns, in the same order:", same_towns)

# %%
# How well do they cover? Of each town we ask how far it is to the nearest of the 60, and
# compare with 60 towns drawn at random.

drawn = [torch.randperm(len(points))[:60].to(device) for _ in range(20)]
found = [(t, plain_knn(points[t], points, 1)) for t in (taken, *drawn)]
reach = [gaps(points[t], points, 1, nearest) for t, nearest in found]  # km
farthest, by_chance = reach[0].max().item(), [r.max().item() for r in reach[1:]]
mean, mean_by_chance = reach[0].mean().item(), torch.cat(reach[1:]).mean().item()
print(f"farthest town: {farthest:,.0f} km, random {min(by_chance):,.0f} km at best")
print(f"mean distance: {mean:,.0f} km, random {mean_by_chance:,.0f} km")

# %%
# On the map, one of the twenty draws beside the farthest points:

fig, ax = plt.subplots(figsize=(8, 4.2), layout="constrained")
ax.plot(towns["lng"], towns["lat"], ".", color="0.7", ms=1)
for rows, style in ((drawn[0], "C1x"), (taken, "C0o")):
    label = "farthest points" if rows is taken else "60 at random"
    rows = rows.cpu().numpy()
    ax.plot(towns["lng"].iloc[rows], towns["lat"].iloc[rows], style, ms=5, label=label)
ax.set(xlabel="longitude (°)", ylabel="latitude (°)", xlim=(-180, 180), ylim=(-60, 85))
ax.set_title("60 of 45,065 towns, drawn by distance and by lot")
ax.legend(loc="lower left")
plt.show()

# %%
# Farthest points put islands on the map that chance forgets, so that nobody is left far
# away. Chance is better *on average*, since it draws where many towns are. Take farthest
# points for coverage, not for a typical sample.
#
# Where brute force stops paying
# ------------------------------
# torch_cluster builds a k-d tree on a CPU (on a GPU it, too, tries all pairs). We time 8
# neighbours of 250 to 16,000 towns in one thread, beside plain torch and SciPy's tree.


def times(count):
    x = points[torch.randperm(len(points))[:count].to(device)]
    names = {"x": x, "knn": torch_cluster.knn, "plain_knn": plain_knn, "tree": cKDTree}
    names["flat"] = x.cpu().numpy()
    statements = ["knn(x, x, 8)", "plain_knn(x, x, 8)", "tree(flat).query(flat, 8)"]
    timers = (Timer(statement, globals=names) for statement in statements)
    return [timer.blocked_autorange(min_run_time=0.2).median for timer in timers]


counts = (250, 1000, 4000, 16000)
seconds = torch.tensor([times(count) for count in counts])  # (counts, ways)
for count, row in zip(counts, seconds.tolist(), strict=True):
    print(f"{count:6,} towns:", *(f"{1e3 * s:9.1f} ms" for s in row))

# %%
# The slope in a plot with two logarithmic axes is the exponent: how the time grows.

ways = ("torch_cluster", "plain torch, all pairs", "SciPy's tree")
slopes = (seconds[-1] / seconds[1]).log() / torch.tensor(counts[-1] / counts[1]).log()
fig, ax = plt.subplots(figsize=(8, 3.8), layout="constrained")
for way, column, slope, mark in zip(ways, seconds.T, slopes, "o^s", strict=True):
    ax.loglog(counts, column, f"{mark}-", label=f"{way}: n to the {slope:.1f}")
ax.set(xlabel="towns (n)", ylabel="time for 8 neighbours of each (s)")
ax.set_title("All pairs grow with the square, trees little faster than the points")
ax.legend()
plt.show()

# %%
# On a CPU both trees win from a few hundred points on, and SciPy's, which needs no
# compiler, is as good as the compiled one. That holds in three dimensions. With tens of
# dimensions or more a tree has to look almost everywhere, and all pairs (or an approximate
# index) are the way to go.
#
# So, do you still need it?
# -------------------------
# ================================  ==================================================
# torch_cluster                     without it
# ================================  ==================================================
# ``knn``, few points or a GPU      ``cdist`` and ``topk``, ``plain_knn`` above
# ``knn``, many points, a CPU       ``scipy.spatial.cKDTree(x).query(y, k)``
# ``radius``                        ``cdist(y, x) <= r``, or ``query_ball_point``
# ``fps``                           ``plain_fps`` above
# ``random_walk``, ``graclus``      nothing as short: here it earns its compilation
# ================================  ==================================================
#
# PyG does not need it either: version 2.8 ignores it, says so in a warning, and takes its own
# ``knn``, ``radius`` and ``fps`` (and layers such as ``DynamicEdgeConv``) from `pyg-lib
# <https://github.com/pyg-team/pyg-lib>`_. Old code that imports torch_cluster itself is what
# is left.
#
# The claim
# ---------

assert knn_error < 1e-3 and same_pairs and same_towns  # km
assert few.shape[1] < 0.75 * whole.shape[1] and missed > 0.02
assert farthest < min(by_chance) and mean > mean_by_chance
assert seconds[-1, 1] > 10 * seconds[-1, 0]

# %%
# Where next
# ----------
# - :doc:`reduce_groups_with_torch_scatter` does the same for torch_scatter.
# - ``message_passing_from_scratch``, among the graph pages, uses the edges that you found.
# - For a real point cloud, take ``torch_geometric.datasets.ModelNet("data")`` and set
#   ``points`` to the ``pos`` of a shape.

# /// script
# requires-python = ">=3.11"
# dependencies = ["torch==2.14.*", "torchmetrics", "scikit-learn", "matplotlib"]
#
# [tool.gallery]
# modules = ["torch", "torchmetrics", "torch.utils.data"]
# level = "advanced"
# task = "speed"
# step = 95
# data = ["digits-8x8"]
# claim = "Two processes that average gradients end with the weights of one process with the doubled batch, to 1e-5 (float64: 1e-12), and with exactly its F1; means over unequal counts, or BatchNorm in each process, put the weights over 1 % off"
# ///
"""
Train on two processes with torchrun
====================================

In *data-parallel* training each process has a copy of the network and a part of every
batch; gradients are averaged before each step. Is that the same as one process with the
doubled batch? We start two processes with `torchrun
<https://docs.pytorch.org/docs/stable/elastic/run.html>`_, train on 1,797 digits of
scikit-learn, and compare all weights after every step with those of a plain loop. Then
come the cases where it is *not* the same, though nothing looks wrong. No GPU is needed.
It takes about 20 seconds, most of it for starting Python four times.
"""

import os
import subprocess
import sys
import time
from inspect import getsource
from pathlib import Path
from tempfile import TemporaryDirectory

import matplotlib.pyplot as plt
import torch
from sklearn.datasets import load_digits
from torch import distributed, nn
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset
from torchmetrics.classification import MulticlassF1Score

# %%
# The digits
# ----------
# There are 1,300 to learn from. For a later case we also make a copy of their labels with
# half of them unknown: ``cross_entropy`` passes over the label -100.

# sphinx_gallery_parallel = False
torch.manual_seed(0)
torch.set_num_threads(1)  # as torchrun has it in each process
device = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
pixels, classes = load_digits(return_X_y=True)
pixels, labels = torch.tensor(pixels / 16).float(), torch.tensor(classes)  # (1797, 64)
half = labels.where(torch.rand(len(labels)) < 0.5, -100)
training, test = torch.randperm(len(labels)).split([1300, 497])
digits = pixels[training], labels[training], half[training]
print(f"{len(training)} to learn from, {(digits[2] >= 0).sum()} in the copy with a label")

# %%
# Who gets which digits
# ---------------------
# A ``DistributedSampler`` shuffles all numbers, by seed and epoch alone, and gives each
# process every second one: no process need ask the other. But it must be told by
# ``set_epoch`` which epoch it is; left alone, it believes in epoch 0. Let us be process 0.

seen = {"told": set(), "not told": set()}
sampler = DistributedSampler(training, num_replicas=2, rank=0)
for epoch in range(5):
    for case, numbers in seen.items():
        sampler.set_epoch(epoch if case == "told" else 0)
        numbers |= set(sampler)
print("digits seen in five epochs:", {case: len(numbers) for case, numbers in seen.items()})

# %%
# Who forgets ``set_epoch`` gets the same order in every epoch, and for each process one
# half of the data for ever. No error tells.
#
# One script for any number of processes
# --------------------------------------
# The functions from here to ``main`` will be the script that torchrun starts. The network
# is small; some of the cases have a layer that normalises.


def network(case):
    width = 1024 if case == "wide" else 32
    norm = {"BatchNorm": nn.BatchNorm1d(width), "LayerNorm": nn.LayerNorm(width)}
    ends = nn.Linear(64, width), nn.Linear(width, 10)
    return nn.Sequential(ends[0], norm.get(case, nn.Identity()), nn.ReLU(), ends[1])


# %%
# ``world`` is the number of processes, ``rank`` the number of this one. A batch has 64
# digits, or 32 in each of two processes. Wrapping the network in
# ``DistributedDataParallel`` (DDP) is all that is done to it. The wrapper first copies
# process 0's weights to the others, so only that one need load ours. Then, during each
# ``backward``, it averages the gradients over the processes, bucket by bucket.


def prepared(case, start, rank, world):
    dtype = torch.float64 if case == "float64" else torch.float32
    model = network(case).to(start["device"], dtype)
    if rank == 0 or case == "no DDP":
        model.load_state_dict(start["first"][case])
    if world > 1 and case != "no DDP":
        model = nn.parallel.DistributedDataParallel(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    sampler = DistributedSampler(start["digits"][0], world, rank)
    loader = DataLoader(TensorDataset(*start["digits"]), 64 // world, sampler=sampler)
    return model, optimizer, loader


# %%
# The loss is the usual one, but for the case "weighted", which is explained below.


def loss_of(case, logits, labels, world):
    if "weighted" not in case:
        return nn.functional.cross_entropy(logits, labels)
    count = (labels >= 0).sum()
    if world > 1:
        distributed.all_reduce(count)  # adds up all processes' counts, in place
    return nn.functional.cross_entropy(logits, labels, reduction="sum") * world / count


# %%
# The loop is a loop as always. We keep the weights after every step, and the time.


def train(case, start, rank=0, world=1):
    model, optimizer, loader = prepared(case, start, rank, world)
    first, trail, clock = next(model.parameters()), [], []
    for epoch in range(5):
        loader.sampler.set_epoch(epoch)
        for images, labels, half in loader:
            target = (half if "half" in case else labels).to(first.device)
            loss = loss_of(case, model(images.to(first)), target, world)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            trail.append(nn.utils.parameters_to_vector(model.parameters()).detach().cpu())
            clock.append(time.perf_counter())
    step = torch.tensor(clock, dtype=torch.float64).diff().median().item()
    return torch.stack(trail), step, judge(model, first, start, rank, world)


# %%
# In the test each process takes its own digits, 249 and 248 of them. A torchmetrics object,
# called like a function, gives the score of this process; ``compute`` adds up the counts of
# all, where there is a process group. We go around the wrapper (``module``), which may
# wait for the other process at each call: with unequal numbers of batches that hangs.


@torch.no_grad()
def judge(model, first, start, rank, world):
    images, labels = (part[rank::world].to(first.device) for part in start["test"])
    logits = getattr(model, "module", model).eval()(images.to(first))
    metric = MulticlassF1Score(num_classes=10).to(first.device)
    mine, together = metric(logits, labels).item(), metric.compute().item()
    return mine, together, (logits.argmax(dim=1) == labels).cpu()


# %%
# The entry. torchrun tells each process its number and where to meet the others in
# environment variables (``RANK``, ``LOCAL_RANK``, ``WORLD_SIZE``, ``MASTER_ADDR``,
# ``MASTER_PORT``), which ``init_process_group`` reads. The *backend* carries the messages:
# NCCL between GPUs, gloo between CPUs.


def main():
    start = torch.load("start.pt")
    if start["device"] != "cpu":
        torch.accelerator.set_device_index(distributed.get_node_local_rank())
    backend = distributed.get_default_backend_for_device(start["device"])
    distributed.init_process_group(backend)
    rank, world = distributed.get_rank(), distributed.get_world_size()
    found = {case: train(case, start, rank, world) for case in start["first"]}
    torch.save(found, f"rank{rank}.pt")
    distributed.destroy_process_group()


# %%
# Start it
# --------
# A notebook is no file, so we write one: the imports that are needed, the functions above,
# a call of ``main``.

imports = """
import time, torch
from torch import distributed, nn
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset
from torchmetrics.classification import MulticlassF1Score
"""
functions = map(getsource, (network, prepared, loss_of, train, judge, main))
folder = TemporaryDirectory()
Path(folder.name, "digits.py").write_text("\n\n".join([imports, *functions, "main()"]))

# %%
# What it needs to know lies beside it: the data, the cases, and for each case its first
# weights. Each process needs a GPU of its own; with fewer than two, all stay on the CPU.

cases = ["as usual", "float64", "wide", "half labelled, mean", "half labelled, weighted"]
cases += ["BatchNorm", "LayerNorm", "no DDP"]
start = {"digits": digits, "test": (pixels[test], labels[test])}
start["device"] = device.type if torch.accelerator.device_count() > 1 else "cpu"
start["first"] = {case: network(case).state_dict() for case in cases}
torch.save(start, f"{folder.name}/start.pt")

# %%
# In a terminal one would write ``torchrun --standalone --nproc-per-node=2 digits.py``.
# ``--standalone`` means one machine; we also give its address, lest its name be looked
# up. Then the same training here, as a plain loop without any process group.

command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
command += ["--local-addr=127.0.0.1", "--nproc-per-node=2", "digits.py"]
os.environ["OMP_NUM_THREADS"] = "1"  # threads of each process that is started
subprocess.run(command, cwd=folder.name, check=True)
ranks = [torch.load(f"{folder.name}/rank{rank}.pt") for rank in range(2)]
folder.cleanup()
one = {case: train(case, start) for case in cases}

# %%
# The answer
# ----------
# Do the two have equal weights at the end? How far are these from those of the plain loop,
# as a share of their length? And what is the F1 of both?

distance = {}
for case, (single, _, (_, score, _)) in one.items():
    (double, _, (_, score_of_two, _)), (other, *_) = ranks[0][case], ranks[1][case]
    distance[case] = ((double - single).norm(dim=1) / single.norm(dim=1)).tolist()
    words = f"equal {torch.equal(double, other)!s:5}  off by {distance[case][-1]:.0e}"
    print(f"{case:23}  {words}  F1 {score:.3f} and {score_of_two:.3f}")

# %%
# The same as a figure, over all steps.

wrong = {"half labelled, mean": "-", "BatchNorm": "--", "no DDP": ":"}
blue = iter(["-", "--", ":", "-.", (0, (1, 3))])
fig, ax = plt.subplots(figsize=(8, 4.2), layout="constrained")
for case, values in distance.items():
    look = {"color": "C1", "ls": wrong[case]} if case in wrong else {"ls": next(blue)}
    ax.semilogy(range(1, len(values) + 1), values, **{"color": "C0"} | look, label=case)
ax.set(xlabel="step", ylabel="relative distance", title="How far two processes are off one")
fig.legend(loc="outside right center")
plt.show()

# %%
# *As usual*, the two are one: what is left is rounding, since the sums are added in another
# order. *float64* proves it, where the distance shrinks as much as the rounding does.
# *No DDP* shows what far apart means: there process 0 learns from its half alone.
#
# *Half labelled, mean*: each process divides by the number of its own labels, and the mean
# of two means is not the mean of all. Every step is a bit off. The same happens
# wherever processes average over different counts: tokens of sentences, boxes in
# photographs. *Weighted* mends it: divide the sum of the losses by the count of all
# processes. DDP will divide by the number of processes, hence ``* world``.
#
# *BatchNorm* normalises with the mean and spread of 32 digits instead of 64. That is no
# mistake, but another network for every number of processes.
# ``nn.SyncBatchNorm.convert_sync_batchnorm`` makes them share the two, on GPUs only;
# *LayerNorm*, which looks at one digit at a time, needs no such thing.
#
# But for *no DDP*, the scores betray none of this. What differs is not always worse, but
# the number of processes has become a setting that nobody chose.
#
# A score of all processes
# ------------------------
# F1 was measured on both halves of the test. The average of the two is not the score of
# the whole; the score of the added counts is.

exact, synced = one["as usual"][2][1], [rank["as usual"][2][1] for rank in ranks]
mean = sum(rank["as usual"][2][0] for rank in ranks) / 2
print(f"one process {exact:.6f}, counts added up {synced[0]:.6f}, mean of two {mean:.6f}")

# %%
# Each process took its test digits by ``rank::world``, since the sampler has a trap here:
# to make all shares equal it *repeats* digits. We see what would be counted.

hits, counted = one["as usual"][2][2].double(), {}
for world in (1, 2, 64):
    samplers = [DistributedSampler(test, world, rank, False) for rank in range(world)]
    rows = [row for sampler in samplers for row in sampler]
    counted[world] = len(rows)
    print(f"{world:2} processes: {len(rows)} of 497 judged, {hits[rows].mean():.4%} right")

# %%
# With many processes that is the score of a test set which nobody has. ``drop_last=True``
# leaves digits out instead, which is no better.
#
# What it costs
# -------------
# The median time of a step, with loading, of one process, and of two which share the
# batch. Every process sends its gradients, four bytes a weight. (In a ring of n processes
# each sends 2 (n - 1) / n times that; for two, once.)

for case in ("as usual", "wide"):
    single, double = 1e3 * one[case][1], 1e3 * ranks[0][case][1]
    sent = f"{one[case][0].shape[1] * 4e-3:.1f} kB a step sent by each"
    print(f"{case:8} {sent}: one process {single:.1f} ms, two {double:.1f} ms")

# %%
# These are times of this machine. A step of so small a network is over sooner than the
# messages, and two processes need more time than one. They pay where a step computes for
# long compared with what it sends: with large batches, deep networks, and a GPU for each.
#
# More machines
# -------------
# The script stays as it is, in a folder that all machines see. On each of, say, four
# machines with eight GPUs, start the same command::
#
#    torchrun --nnodes=4 --nproc-per-node=8 --rdzv-id=digits --rdzv-backend=c10d \
#             --rdzv-endpoint=first-machine:29400 digits.py
#
# They meet at the *rendezvous* endpoint, any one of the machines, and ``RANK`` runs from 0
# to 31. What else changes:
#
# - A batch is 32 times that of one process. Often the learning rate is raised in proportion
#   and warmed up (`Goyal et al. 2017 <https://arxiv.org/abs/1706.02677>`_).
# - If a process dies, torchrun stops all of them, and with ``--max-restarts`` starts them
#   again from the top: write checkpoints, in process 0 only, and load them in all.
# - Data too large for a copy on each machine are cut into files, some for each. Mind that
#   all processes need the same number of batches, or some wait for ever.
#
# The claim
# ---------
# Two processes are one process, up to rounding, if what is averaged may be averaged.

last = {case: values[-1] for case, values in distance.items()}
right = [off for case, off in last.items() if case not in wrong]
assert max(right) < 1e-5 and last["float64"] < 1e-12, last
assert min(last[case] for case in wrong) > 0.01, last
assert synced[0] == synced[1] == exact != mean
assert len(seen["not told"]) == 650 < 1000 < len(seen["told"]) and counted[64] == 512

# %%
# Where next
# ----------
# - :doc:`add_up_a_score_over_batches` has more on scores that must not be averaged.
# - :doc:`stop_a_training_and_resume_it` writes the checkpoint that a restart needs.
# - For a network too large for one GPU, ``torch.distributed.fsdp.fully_shard`` cuts the
#   weights themselves in shares.
# - For all of MNIST take ``torchvision.datasets.MNIST(root, download=True)``; only
#   process 0 should download.

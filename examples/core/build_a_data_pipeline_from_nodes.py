# /// script
# requires-python = ">=3.11"
# dependencies = ["torch==2.14.*", "torchdata==0.11.*", "soundfile", "foxdot", "matplotlib"]
#
# [tool.gallery]
# modules = ["torchdata", "torch.utils.data"]
# level = "intermediate"
# task = "data"
# step = 147
# data = ["foxdot-drums"]
# claim = "A pipeline of torchdata.nodes gives the batches of a DataLoader bit for bit, with threads or processes; its threads share one cache, where two DataLoader workers decode every file again; its processes draw the same random numbers, at least every second one a repetition, until each sample brings its own seed"
# ///
"""
Build a data pipeline from nodes, and know when to
==================================================

A `DataLoader <https://docs.pytorch.org/docs/stable/data.html>`_ prepares data in other
processes. With `torchdata.nodes
<https://meta-pytorch.org/data/beta/torchdata.nodes.html>`_ you put the same loader
together from parts and may run it in threads. When is that worth it? We read drum hits
that come with FoxDot, check that both give the same batches bit for bit, and time them on
work done in C and on work done in Python. Then come two differences that no clock shows:
what threads share, and how processes draw random numbers. It takes about 20 seconds.
"""

import gc
import time
from importlib.util import find_spec
from itertools import islice
from pathlib import Path

import matplotlib.pyplot as plt
import soundfile
import torch
from torch.utils import data
from torchdata import nodes

# sphinx_gallery_parallel = False
torch.manual_seed(0)
torch.set_num_threads(1)  # only workers run side by side, not the inside of an operation
device = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")

# %%
# Two kinds of work
# -----------------
# ``spectrum`` reads a file and makes a picture of it. Nearly all of that happens in C, in
# soundfile and torch, and such code lets go of Python's global lock: two threads can do it
# at the same time. ``crossings`` counts how often a sound changes its sign, in Python. It
# holds the lock all the time.

root = Path(find_spec("FoxDot").submodule_search_locations[0]) / "snd"
files = sorted(root.rglob("*.wav"))[::3]  # a third of them is enough
window = torch.hann_window(1024)


def spectrum(number):
    samples, _ = soundfile.read(files[number], dtype="float32", always_2d=True)
    sound = torch.from_numpy(samples).mean(dim=1)
    sound = torch.nn.functional.pad(sound, (0, max(0, 1024 - len(sound))))
    power = torch.stft(sound, 1024, 256, window=window, return_complex=True).abs().log1p()
    return torch.nn.functional.interpolate(power[None, None], (128, 128))[0, 0]


def crossings(number):
    samples, _ = soundfile.read(files[number], 30_000, dtype="float32", always_2d=True)
    positive = [value > 0 for value in samples[:, 0].tolist()]
    return sum(a != b for a, b in zip(positive, positive[1:], strict=False))


# %%
# A loader from parts
# -------------------
# Each node wraps the one before it. A sampler gives numbers; a ``ParallelMapper`` makes
# samples of them, in threads or processes, and keeps their order; a ``Batcher`` gathers
# them in lists, and a ``Mapper`` makes tensors of those. A ``Prefetcher`` does all this
# ahead of time in one more thread, and the ``Loader`` can be walked again and again.
# (``PinMemory`` is for CUDA if not told otherwise: torchdata 0.11 asks for a CUDA device as
# soon as you make one.)


def order():
    return data.DistributedSampler(files, num_replicas=1, rank=0)


def built(prepare, method="thread", numbers=None):
    numbers = numbers or nodes.SamplerWrapper(order())
    samples = nodes.ParallelMapper(numbers, prepare, num_workers=2, method=method)
    batches = nodes.Mapper(
        nodes.Batcher(samples, 16, drop_last=False), data.default_collate
    )
    batches = nodes.PinMemory(batches) if torch.cuda.is_available() else batches
    return nodes.Loader(nodes.Prefetcher(batches, prefetch_factor=2))


# %%
# The usual way: a data set with an index, and a ``DataLoader``. Both take the same sampler,
# a ``DistributedSampler`` for one process. Its order depends on seed and epoch alone, and
# ``SamplerWrapper`` counts the epochs for it.


class Files(data.Dataset):
    def __init__(self, prepare):
        self.prepare = prepare

    def __len__(self):
        return len(files)

    def __getitem__(self, number):
        return self.prepare(number)


def usual(prepare, workers=2, keep=False):
    setup = {"num_workers": workers, "persistent_workers": keep}
    return data.DataLoader(Files(prepare), 16, sampler=order(), **setup)


# %%
# Equal, and how fast?
# --------------------
# ``walk`` takes one epoch and notes when the first batch is there and when the last. (A
# node with processes ends them when it is collected. We see to that before others start.)

ways = {f"DataLoader, workers: {n}": lambda work, n=n: usual(work, n) for n in range(3)}
ways["nodes, 2 threads"] = lambda work: built(work, "thread")
ways["nodes, 2 processes"] = lambda work: built(work, "process")


def walk(loader):
    gc.collect()
    start, batches, times = time.perf_counter(), [], []
    for batch in loader:
        batches.append(batch.to(device, non_blocking=True))
        times.append(time.perf_counter() - start)
    return torch.cat(batches), times[0], times[-1]


# %%
# All take turns, twice, and the better time counts. On some systems worker processes import
# this script, hence the guard.

if __name__ == "__main__":
    runs, equal = {}, []
    for way in 2 * list(ways):
        for work in (spectrum, crossings):
            runs.setdefault((work, way), []).append(walk(ways[way](work)))
    for (work, _), both in runs.items():
        plain = runs[work, "DataLoader, workers: 0"][0][0]
        equal += [torch.equal(found, plain) for found, *_ in both]
    print(f"{len(files)} files; equal to the last bit: {sum(equal)} of {len(equal)} epochs")

# %%
# The clocks. A dark bar ends when the first batch is there, a light one with the epoch.

if __name__ == "__main__":
    fig, axes = plt.subplots(1, 2, figsize=(9, 3.2), sharey=True, layout="constrained")
    for ax, work in zip(axes, (spectrum, crossings), strict=True):
        for way in ways:
            first, whole = (min(run[i] for run in runs[work, way]) for i in (1, 2))
            ax.barh(way, whole, color="C0", alpha=0.4)
            ax.barh(way, first, color="C0")
            print(f"{work.__name__:9} {way:22} {first:.2f} s, {whole:.2f} s")
        ax.set(xlabel="seconds (dark: to the first batch)", title=work.__name__)
    fig.suptitle("Work in C (left) and in Python (right)")
    plt.show()

# %%
# Read the figure with three things in mind. First, processes must be started, and must
# send what they made; threads need neither. Second, a worker of a ``DataLoader`` makes
# *whole batches*, so the first one comes no sooner with more workers, while a
# ``ParallelMapper`` shares out *single samples*. Third, two threads can halve the time of
# work in C, given two free cores, but not that of work in Python, for which they wait for
# one another. So take threads for decoders and for short epochs, processes for transforms
# in Python. How large the gaps are depends on the cores at hand and on who else uses them:
# measure your own work.
#
# What threads share
# ------------------
# Why decode a file twice? ``was_known`` keeps what it made in a ``dict``, and says whether
# the file was in it. We walk two epochs and count in the second.

cache = {}


def was_known(number):
    known = number in cache
    cache[number] = cache[number] if known else spectrum(number)
    return known


# %%
# The second epoch has another order. Nodes count epochs for the sampler; with a
# ``DataLoader`` we tell it.


def second_epoch(loader):
    cache.clear()
    walk(loader)
    if isinstance(loader, data.DataLoader):
        loader.sampler.set_epoch(1)
    return walk(loader)[0].float().mean().item()


if __name__ == "__main__":
    known = {kind: second_epoch(built(was_known, kind)) for kind in ("thread", "process")}
    known |= {"DataLoader": second_epoch(usual(was_known))}
    known |= {"DataLoader, workers kept": second_epoch(usual(was_known, keep=True))}
    for name, share in known.items():
        print(f"{name:24}: {share:.0%} of the files were known")

# %%
# Threads live in one process and fill one cache. Worker processes fill a copy each, which
# ends with the epoch. With ``persistent_workers=True`` the copies live on, but a batch goes
# to either worker, and about half of its files were seen by the other one only. (For the
# same reason threads share an open file or a connection, with all its dangers.)
#
# Who draws the random numbers?
# -----------------------------
# Augmentation draws random numbers inside the workers. ``draw`` stands for it: for each
# sample, it returns the number that it drew. In two epochs all should differ.


def draw(number):
    return torch.rand(())


def draw_by_seed(pair):
    return torch.rand((), generator=torch.Generator().manual_seed(pair[1]))


def seeded(kind):
    generator = torch.Generator().manual_seed(0)

    def give_seed(number):
        return number, torch.randint(2**60, (), generator=generator).item()

    pairs = nodes.Mapper(nodes.SamplerWrapper(order()), give_seed)
    return built(draw_by_seed, kind, pairs)


# %%
# ``draw_by_seed`` is the remedy. A ``Mapper`` *before* the workers, in the main process,
# gives each number a seed to take along.

if __name__ == "__main__":
    drawn = {}
    for name in ("thread", "process", "DataLoader", "seeded thread", "seeded process"):
        loader = usual(draw) if name == "DataLoader" else None
        loader = loader or (seeded(name[7:]) if "seeded" in name else built(draw, name))
        drawn[name] = torch.cat([walk(loader)[0] for _ in range(2)])
        differ = len(drawn[name].unique()) == 2 * len(files)
        print(f"{name:14}:", "all differ" if differ else "at least half are repetitions")
    print("seeded, equal:", torch.equal(drawn["seeded thread"], drawn["seeded process"]))

# %%
# The processes of a ``ParallelMapper`` begin with the same random state, both of them, and
# again in each epoch: two samples get the same noise, and the second epoch brings nothing
# new. A ``DataLoader`` seeds its workers, nodes (0.11) do not, and nothing warns you.
# Threads draw from one generator, so nothing repeats, but which sample gets which number
# depends on who comes first. With a seed for each sample, threads and processes agree to
# the last bit, and every run is the same. (To resume, keep the generator's state, too.)
#
# Mix two sources
# ---------------
# Bass drums are rare. ``MultiNodeWeightedSampler`` draws from several nodes by weight. Are
# the weights kept? We count in 4,000 draws; chance alone moves the share by one standard
# deviation of the binomial, as a rule.

bass = [number for number, file in enumerate(files) if file.parent.parent.name == "x"]
others = sorted(set(range(len(files))) - set(bass))
weights, draws = {"bass": 0.3, "others": 0.7}, 4000
sources = {"bass": nodes.IterableWrapper(bass), "others": nodes.IterableWrapper(others)}
mixed = nodes.MultiNodeWeightedSampler(sources, weights, nodes.StopCriteria.CYCLE_FOREVER)
hits = sum(number in bass for number in islice(nodes.Loader(mixed), draws)) / draws
off = (hits - 0.3) / (0.3 * 0.7 / draws) ** 0.5
print(f"bass drums: {len(bass) / len(files):.1%} of the files, {hits:.1%} of the draws,")
print(f"{off:+.1f} standard deviations from 30 %")

# %%
# Stop and go on
# --------------
# Every node knows where it is, and the ``Loader`` collects what they know. After three
# batches we hand that to a new pipeline.

first, second = built(spectrum), built(spectrum)
batches = iter(first)
used, state = list(islice(batches, 3)), first.state_dict()
rest = torch.cat(list(batches))
second.load_state_dict(state)
resumed = torch.equal(torch.cat(list(second)), rest)
print(f"a state of {len(str(state))} characters; rest of the epoch equal: {resumed}")

# %%
# The state counts and holds no data: samples that were prepared ahead are made again.
#
# Is it worth it, then? For a data set with an index and batches of samples the
# ``DataLoader`` does the same with one line. Nodes pay where threads do (decoders, a shared
# cache, a quick start), for streams mixed by weight, and for pipelines that must resume.
# They came with torchdata 0.10 in the place of ``DataPipes`` and ``DataLoader2``, which
# went after 0.9; the documentation of 0.11 still calls them beta, and in June 2026 a
# `maintainer wrote <https://github.com/meta-pytorch/data/issues/1549>`_ that the project
# is maintained but gets no new development.
#
# The claim
# ---------
# Equal batches, one cache for threads, repetitions from processes, weights that are kept.
# Times are printed only.

assert resumed and abs(off) < 4, (resumed, off)
if __name__ == "__main__":
    assert all(equal) and len(equal) == 20, equal
    assert known["thread"] == 1 and known["process"] == known["DataLoader"] == 0, known
    assert len(drawn["process"].unique()) <= len(files), drawn
    assert len(drawn["seeded process"].unique()) == 2 * len(files)
    assert torch.equal(drawn["seeded thread"], drawn["seeded process"])

# %%
# Where next
# ----------
# - :doc:`resume_data_in_mid_epoch` compares ways to resume, with more samplers and their
#   traps.
# - :doc:`dataloader_four_gifts` and :doc:`datasets_from_files_without_leakage` are about
#   what a plain ``DataLoader`` gives.
# - For photographs, let ``prepare`` return ``torchvision.io.decode_image(path)``, and
#   measure again.

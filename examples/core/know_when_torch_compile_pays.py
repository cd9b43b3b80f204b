# /// script
# requires-python = ">=3.11"
# dependencies = ["torch==2.14.*", "numpy", "scikit-learn", "matplotlib"]
#
# [tool.gallery]
# modules = ["torch"]
# level = "advanced"
# task = "speed"
# step = 87
# data = ["sklearn-photos"]
# claim = "Where a C++ compiler exists, a photograph goes through a film curve over 3 times as fast compiled as operation by operation, equal to 1e-4, and exact sRGB curves, whose powers cost more than the memory, gain less than half as much; a second size costs a second compilation, a third none, a branch on data splits the graph"
# no-pretend = "torch.compile does not trace through the mode that pretends a device"
# ///
"""
Know when torch.compile pays, and what makes it compile again
=============================================================

`torch.compile <https://docs.pytorch.org/docs/stable/generated/torch.compile.html>`_ reads
a function, makes a graph of its operations and a compiled loop of the graph. What does
that gain, what does it cost, and after how many calls is it paid back? We develop a
photograph with a chain of small operations, once with cheap arithmetic and once with
costly powers, and then count what makes PyTorch compile anew: new sizes, new numbers,
branches on data. It takes about twenty seconds, most of them in the C++ compiler.
"""

import os
import shutil
import statistics
import tempfile
import time

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import load_sample_image

# sphinx_gallery_thumbnail_number = 1
torch.manual_seed(0)
torch.set_num_threads(1)  # one core for both sides
device = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")

# %%
# A chain of small operations
# ---------------------------
# To brighten a photograph and bend its highlights instead of cutting them off: undo the
# screen's gamma curve (here by a square), expose, make the colours stronger, bend the values
# like film does (with a `curve by Krzysztof Narkowicz
# <https://knarkowicz.wordpress.com/2016/01/06/aces-filmic-tone-mapping-curve/>`_), and put
# the gamma back.

pixels = np.array(load_sample_image("china.jpg"))  # (height, width, colour)
photo = (torch.from_numpy(pixels) / 255).permute(2, 0, 1).contiguous().to(device)
print(f"{tuple(photo.shape)}: {photo.numel() * 4 / 1e6:.1f} MB in float32")


def film(photo, exposure):
    """A photograph (3, height, width) in [0, 1], brighter by ``exposure`` stops."""
    light = photo * photo * 2**exposure
    grey = 0.2126 * light[0] + 0.7152 * light[1] + 0.0722 * light[2]
    light = (grey + 1.3 * (light - grey)).clamp(min=0)
    light = light * (2.51 * light + 0.03) / (light * (2.43 * light + 0.59) + 0.14)
    return light.clamp(0, 1).sqrt()


# %%
# As it stands, in *eager* mode, each operation reads a whole picture from memory and writes
# a whole picture back, for the next one to read again. Compiled, one loop takes a few
# pixels at a time through all of it, in registers. The first call compiles, with C++ for a
# CPU and Triton for a GPU. Not every machine has a compiler, so we look; the backend
# ``"eager"`` makes the graph and no code.

compiler = shutil.which("g++") or shutil.which("clang++")
backend = "inductor" if compiler or device.type != "cpu" else "eager"
cache = tempfile.mkdtemp()  # a fresh one: what was compiled before is not compiled again
os.environ["TORCHINDUCTOR_CACHE_DIR"] = cache
os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = "1"  # one kernel needs no pool of workers


def seconds(function, *arguments):
    """Seconds of one call, and its result; an accelerator is waited for."""
    start = time.perf_counter()
    result = function(*arguments)
    if device.type != "cpu":
        torch.accelerator.synchronize()
    return time.perf_counter() - start, result


# %%
# We time the first call, compare the results, then time later calls of both in turn. An
# accelerator gets 64 pictures, tiled: one alone is done before the next call has started.

subject = photo if device.type == "cpu" else photo.repeat(1, 8, 8)


def race(function):
    """Seconds of the first compiled call, of an eager and of a compiled call."""
    compiled = torch.compile(function, backend=backend)
    first, fused = seconds(compiled, subject, 1.5)
    gap = (fused - function(subject, 1.5)).abs().max().item()
    runs = [[seconds(f, subject, 1.5)[0] for f in (function, compiled)] for _ in range(20)]
    slow, fast = (statistics.median(times) for times in zip(*runs, strict=True))
    print(f"{function.__name__}: eager {slow * 1e3:.1f} ms, {backend} {fast * 1e3:.1f} ms,")
    print(f"   {slow / fast:.1f} times as fast, largest difference {gap:.0e}")
    return first, slow, fast, gap


first, eager, fused, film_gap = race(film)
print(f"the first call took {first:.1f} s: as long as {first / eager:,.0f} eager calls")

# %%
# The picture is the same but for rounding, and each later call is many times as fast,
# though it adds and multiplies the same numbers. What is gone is the traffic: a dozen
# pictures written to memory and read back.
#
# Where it gains little
# ---------------------
# The square was a stand-in. Screens follow the curves of `sRGB
# <https://en.wikipedia.org/wiki/SRGB>`_, with a power of 2.4. We put them in.


def film_for_screens(photo, exposure):
    """The same with the exact curves of sRGB."""
    linear = torch.where(photo > 0.04045, ((photo + 0.055) / 1.055) ** 2.4, photo / 12.92)
    developed = film(linear.sqrt(), exposure) ** 2  # film() squares and takes the root
    curve = 1.055 * developed.clamp(min=1e-8) ** (1 / 2.4) - 0.055
    return torch.where(developed > 0.0031308, curve, 12.92 * developed)


_, exact_eager, exact_fused, exact_gap = race(film_for_screens)

# %%
# A power costs more than the way to memory and back, and the compiled loop has no faster
# one. It even takes more of them: ``grey`` needs all three colours of a pixel, and a loop
# that keeps no picture in between works them out anew for each of the three. Eager mode
# takes two powers a number, the loop on a CPU five (``TORCH_LOGS=output_code`` prints it).
# So little is gained, or something lost. ``torch.compile`` saves memory traffic and calls.
# Where neither is what you wait for, as in large matrix products and convolutions, it
# cannot save much.
#
# When is the first call paid back?

calls = torch.logspace(0, 5, 100)
fig, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3.6), layout="constrained")
fig.suptitle("Before and after the film curve, and what compiling it costs and saves")
halves = torch.cat([photo[..., :320], film(photo, 1.5)[..., 320:]], dim=-1)
left.imshow(halves.permute(1, 2, 0).cpu().numpy())
left.set(xticks=[], yticks=[], xlabel="as taken | 1.5 stops brighter")
right.loglog(calls, calls * eager, "--", label="eager")
right.loglog(calls, first + calls * fused, label=f"compiled ({backend})")
right.set(xlabel="calls of film()", ylabel="total time (s)")
right.legend()
plt.show()
if fused < eager:
    print(f"time lost until then is back after {first / (eager - fused):,.0f} calls")

# %%
# A training run makes that many steps; a script that treats one picture does not. (From
# the second run of a program on, code is taken from a cache on disk, unless the cache is
# new as on this page, and the first call is much cheaper.)
#
# What makes it compile again
# ---------------------------
# The compiled loop holds for what was seen: sizes, types, numbers. *Guards* check that at
# each call, and where one fails, PyTorch compiles anew. A slow program that recompiles at
# every step looks just like a slow program. So count: a backend of our own gets each
# graph, keeps it, and runs it as it is, which needs no compiler.

graphs = []


def counting(graph, inputs):
    """A backend that keeps the graph and returns it as the thing to be called."""
    graphs.append(graph)
    return graph.forward


def count_graphs(function, *calls, **options):
    """How many graphs each call made, in order."""
    torch.compiler.reset()
    compiled, counts = torch.compile(function, backend=counting, **options), []
    for arguments in calls:
        graphs.clear()
        compiled(*arguments)
        counts.append(len(graphs))
    return counts


# %%
# The same function, called with other sizes, numbers and types:

sizes = [(photo[:, :n], 1.5) for n in (100, 200, 300, 400)]
counts = {
    "four sizes": count_graphs(film, *sizes),
    "four sizes, dynamic=False": count_graphs(film, *sizes, dynamic=False),
    "four sizes, dynamic=True": count_graphs(film, *sizes, dynamic=True),
    "four numbers": count_graphs(film, *[(photo, n / 2) for n in range(1, 5)]),
    "float32, float16, float32": count_graphs(
        film, *[(x, 1.5) for x in (photo, photo.half(), photo)]
    ),
}
for name, made in counts.items():
    print(f"{name:26} {made}: {sum(made)} compilations")

# %%
# The first time a size or a number changes, PyTorch compiles once more and makes it a
# variable; then all values will do (but for sizes 0 and 1, which have programs of their
# own). ``dynamic=True`` has that from the start, ``dynamic=False`` forbids it and pays for
# each size, which is right if there are few and speed is all. A new type is always a new
# program, kept beside the old. After eight programs for one function PyTorch gives up,
# warns once, and runs what is new in eager mode.
#
# Branches on data
# ----------------
# What if the code asks the *data* which way to go?


def auto_film(photo):
    if photo.mean() < 0.4:  # a dark picture
        return film(photo, 2.0)
    return film(photo, 1.0)


split = count_graphs(auto_film, (photo,))
print("graphs of a call with a branch:", split)
try:
    count_graphs(auto_film, (photo,), fullgraph=True)
except torch._dynamo.exc.Unsupported as error:
    print("with fullgraph=True:", *str(error).splitlines()[:2], sep="\n")

# %%
# The answer is not known while the graph is made, so it is cut in two: one graph up to
# the question, then Python decides, then a second graph. Each cut costs a way through
# Python and memory, quietly. ``fullgraph=True`` makes it an error with a line number, the
# better way to find them; ``print`` and ``.item()`` cut as well. The cure is arithmetic:


def auto_film_whole(photo):
    return film(photo, torch.where(photo.mean() < 0.4, 2.0, 1.0))


whole = count_graphs(auto_film_whole, (photo,), (photo / 2,), fullgraph=True)
same = torch.allclose(auto_film_whole(photo), auto_film(photo), atol=1e-6)
print(f"with torch.where: graphs {whole}, same picture: {same}")

# %%
# Claim
# -----
# Speeds are claimed only where there was a compiler; that powers cost more than the
# traffic, for a CPU only.

shutil.rmtree(cache, ignore_errors=True)
assert film_gap < 1e-4 and exact_gap < 1e-4
assert backend == "eager" or eager / fused > 3
dear = exact_eager / exact_fused < eager / fused / 2
assert backend == "eager" or device.type != "cpu" or dear
assert counts["four sizes"] == counts["four numbers"] == [1, 1, 0, 0]
assert counts["four sizes, dynamic=False"] == [1, 1, 1, 1]
assert counts["four sizes, dynamic=True"] == [1, 0, 0, 0]
assert split == [2] and whole == [1, 0] and same

# %%
# Where next
# ----------
# - :doc:`make_a_training_step_faster`: find out first what you wait for.
# - :doc:`make_parallel_math_pay`: what a call costs, and why small tensors are slow.
# - A whole model is compiled the same way: ``model.compile()``, then train as before.

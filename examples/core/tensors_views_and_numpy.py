# /// script
# requires-python = ">=3.11"
# dependencies = ["torch==2.14.*", "numpy", "scikit-learn", "matplotlib"]
#
# [tool.gallery]
# modules = ["torch"]
# level = "beginner"
# task = "foundations"
# step = 10
# data = ["sklearn-photos"]
# claim = "Nine pictures share one storage, NumPy reads it without a copy, one vectorised line is over 10 times as fast as a Python loop, and torch has over 1,200 operators"
# ///
"""
Look inside a tensor with a photograph
======================================

A tensor is a block of memory and a recipe for reading it. Whoever knows the recipe
knows which operations are free, which copy, and why some fail. We take two
photographs from scikit-learn, bend one by changing
`strides <https://docs.pytorch.org/docs/stable/tensor_view.html>`_ alone, share it
with NumPy, `broadcast <https://docs.pytorch.org/docs/stable/notes/broadcasting.html>`_,
and count PyTorch's operations. It takes a few seconds.
"""

import statistics
import textwrap
import timeit

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import load_sample_image

# sphinx_gallery_thumbnail_number = 1
torch.manual_seed(0)
device = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")

array = np.array(load_sample_image("china.jpg"))  # a copy that we may write to
photo = torch.from_numpy(array)  # (height, width, colour)
print(f"shape   {tuple(photo.shape)}: {photo.numel():,} numbers")
print(f"dtype   {photo.dtype}: {photo.element_size()} byte each, 0 to 255")
print(f"stride  {photo.stride()}")
print(f"storage {photo.untyped_storage().nbytes():,} bytes in one row")

# %%
# The memory knows nothing of rows or colours: it is one long row of bytes. *Shape* says
# how far each index runs and *stride* how many elements to jump when it grows by one:
# to the next row 1,920, to the next pixel 3, to the next colour 1. So we can find any
# number by hand, in the raw bytes.

y, x, colour = (int(torch.randint(size, ())) for size in photo.shape)
row_jump, pixel_jump, colour_jump = photo.stride()
place = y * row_jump + x * pixel_jump + colour * colour_jump
by_hand = photo.untyped_storage()[place]
print(f"photo[{y}, {x}, {colour}] = {photo[y, x, colour]}")
print(f"byte {place:,} of the storage = {by_hand}")

# %%
# The two agree, at a pixel drawn at random.
#
# One block of memory, nine pictures
# ----------------------------------
# If a tensor is only a recipe, a new recipe makes a new picture and costs nothing. Each
# line below reads the *same bytes*. ``as_strided`` writes the recipe by hand: with one
# pixel more than a row in the row stride, every row starts one pixel further right.

height, width, _ = photo.shape
lean = (height - 1, width, 3), (row_jump + 3, pixel_jump, colour_jump)
views = {
    "photo": photo,
    "photo[60:210, 190:415]": photo[60:210, 190:415],
    "photo[::14, ::14]": photo[::14, ::14],
    "photo[..., 0] (red)": photo[..., 0],
    "photo.transpose(0, 1)": photo.transpose(0, 1),
    "photo.as_strided(*lean)": photo.as_strided(*lean),
    "photo.reshape(61, -1, 3)[:, ::7]": photo.reshape(61, -1, 3)[:, ::7],
    "photo[250].expand_as(photo)": photo[250].expand_as(photo),
    "photo[:, 320:321].expand_as(photo)": photo[:, 320:321].expand_as(photo),
}
storages = {view.untyped_storage().data_ptr() for view in views.values()}
print(f"{len(views)} pictures, {len(storages)} storage")

# %%
# Nine tensors, one address. The figure shows what they see.

fig, axes = plt.subplots(3, 3, figsize=(9, 7), layout="constrained")
for ax, (code, view) in zip(axes.flat, views.items(), strict=True):
    ax.imshow(view, cmap="Reds_r", vmin=0, vmax=255)
    ax.set_title(code, fontsize=8, family="monospace")
    ax.set(xlabel=f"stride {view.stride()}", xticks=[], yticks=[])
fig.suptitle("Nine views of one photograph: the same bytes, read with other strides")
plt.show()

# %%
# Read the strides under the pictures. Skipping pixels multiplies them, transposing
# swaps them, a crop leaves them alone and only starts elsewhere. The temple leans
# because each row starts a pixel late. Seven rows read as one long row, of which every
# 7th pixel is kept, make seven small temples. The two striped pictures have a stride of
# **0**: they read one row, or one column, again and again.
#
# View or copy?
# -------------
# Strides can express a regular walk through memory and nothing else. Whatever needs
# another walk, or other numbers, must copy. The storage's address tells which happened.

results = {
    "photo.permute(2, 0, 1)": photo.permute(2, 0, 1),
    "photo.permute(2, 0, 1).reshape(3, -1)": photo.permute(2, 0, 1).reshape(3, -1),
    "photo.permute(2, 0, 1).reshape(-1)": photo.permute(2, 0, 1).reshape(-1),
    "photo.flip(1)": photo.flip(1),
    "photo[photo > 128]": photo[photo > 128],
    "photo.float()": photo.float(),
}
for code, result in results.items():
    shared = result.untyped_storage().data_ptr() in storages
    print(f"{code:38} {'view' if shared else 'COPY'}  {result.stride()}")

# %%
# With the colours first, one line for each colour is still a view, in steps of 3. One
# single line for all three is too much to ask, since at the end of red it would have to
# jump back to the start. There ``reshape`` copies, without a word. ``flip`` copies
# because PyTorch has no negative strides (NumPy has), the mask because its pixels have
# no regular step.
#
# Write through a view, read it in NumPy
# --------------------------------------
# A view has no pixels of its own, so writing to it changes everyone who shares the
# memory. We draw *upright* bars into the leaning view and look at the NumPy array that
# the memory came from. ``unflatten`` splits the width into 8 strips of 80 pixels; the
# first 10 of each become a bar.

painted = array.copy()
leaning = torch.from_numpy(painted).as_strided(*lean)
leaning.unflatten(1, (8, 80))[:, :, :10] = torch.tensor([255, 220, 0]).to(torch.uint8)

fig, axes = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
for ax, picture in zip(axes, (leaning, painted), strict=True):
    ax.imshow(picture)
    ax.set(xlabel="column (pixels)", ylabel="row (pixels)")
axes[0].set_title("The PyTorch view that we wrote to")
axes[1].set_title("The NumPy array that nobody touched")
plt.show()

# %%
# The bars slant in NumPy, because there each row starts where it should. No byte went
# from one library to the other. The addresses say so too, both ways, while
# ``torch.tensor`` makes a copy of its own.

address = array.__array_interface__["data"][0]
bridge = {
    "torch.from_numpy(array)": torch.from_numpy(array).data_ptr(),
    "photo.numpy()": photo.numpy().__array_interface__["data"][0],
    "torch.tensor(array)": torch.tensor(array).data_ptr(),
}
for code, pointer in bridge.items():
    print(f"{code:24} same address as array: {pointer == address}")

# %%
# The bridge spans main memory only: a tensor on an accelerator must be fetched with
# ``.cpu()`` first, which copies.
#
# Broadcasting is a stride of zero
# --------------------------------
# To fade one photograph into another, every pixel of a column needs the same weight. A
# ramp of 640 numbers is enough: PyTorch stretches its shape to fit, from the right.

flower = torch.from_numpy(np.array(load_sample_image("flower.jpg"))).to(device) / 255
china = photo.to(device) / 255
ramp = torch.linspace(0, 1, width, device=device).unsqueeze(1)  # (640, 1)
fade = (1 - ramp) * china + ramp * flower  # (640, 1) with (427, 640, 3)
stretched = ramp.expand_as(china)
print(f"shape {tuple(ramp.shape)} -> {tuple(stretched.shape)}")
print(f"strides {ramp.stride()} -> {stretched.stride()}")

fig, axes = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
for ax, picture in zip(axes, (stretched[..., 0], fade), strict=True):
    ax.imshow(picture.cpu(), cmap="viridis")
    ax.set(xlabel="column (pixels)", ylabel="row (pixels)")
axes[0].set_title("640 weights, stretched to 427 x 640 (dark 0, bright 1)")
axes[1].set_title("One photograph fades into the other")
plt.show()

# %%
# The stretched ramp has the strides ``(0, 1, 0)``: moving down or to another colour
# stays at the same weight. That is the striped picture from above, put to work, and the
# 273,280 weights on the left take no more memory than 640.
#
# One line against a loop
# -----------------------
# Grey is a weighted sum of red, green and blue (weights of `ITU-R BT.601
# <https://www.itu.int/rec/R-REC-BT.601>`_). We compute it for every pixel with a plain
# Python loop over lists, the fairest loop there is, and with one product.

weights = torch.tensor([0.299, 0.587, 0.114], device=device)
pixels = china.reshape(-1, 3)
pixel_list = pixels.tolist()


def loop():
    return [0.299 * r + 0.587 * g + 0.114 * b for r, g, b in pixel_list]


def vectorised():
    return (pixels @ weights).cpu()  # .cpu() also waits for an accelerator


# %%
# Both must give the same picture before we time them. Each runs seven times; the median
# is not disturbed by a busy moment.

torch.testing.assert_close(torch.tensor(loop()), vectorised())
seconds = {}
for function in (loop, vectorised):
    seconds[function] = statistics.median(timeit.repeat(function, number=1, repeat=7))
    print(f"{function.__name__:10} {seconds[function] * 1000:8.2f} ms")
ratio = seconds[loop] / seconds[vectorised]
print(f"the loop takes {ratio:.0f} times as long")

# %%
# The loop asks Python for 273,280 small sums. The product is one call, which walks
# through the memory in compiled code. Think in whole tensors and the loop is written
# for you.
#
# Errors that you will meet
# -------------------------
# Most first errors are about the recipe. Here are four, raised on purpose.

mistakes = {
    "weights of the wrong axis": lambda: china * ramp.flatten(),
    "view that no stride can walk": lambda: photo.permute(2, 0, 1).view(-1),
    "NumPy's negative stride": lambda: torch.from_numpy(array[:, ::-1]),
    "writing to a stretched tensor": lambda: photo[250].expand(9, -1, -1).add_(1),
}
for name, mistake in mistakes.items():
    try:
        mistake()
    except (RuntimeError, ValueError) as error:
        print(f"{name}:\n{textwrap.fill(str(error).split('. ')[0], 60)}\n")

# %%
# 1. Shapes are matched from the right: 640 weights met 3 colours. Add the missing axis
#    with ``unsqueeze``.
# 2. ``view`` never copies, so it refuses where strides cannot do it; ``reshape`` may
#    copy.
# 3. ``array[:, ::-1].copy()`` gives PyTorch a stride that it can read.
# 4. Nine rows share one memory, so which would win? ``clone`` first.
#
# How many operations are there?
# ------------------------------
# PyTorch's own `tutorial
# <https://docs.pytorch.org/tutorials/beginner/basics/tensorqs_tutorial.html>`_ speaks
# of "over 1200 tensor operations". We can count: every operation of ATen, PyTorch's
# tensor library, is registered by name with the dispatcher, which picks the code for
# CPU or GPU.

aten = [n for n in torch._C._dispatch_get_all_op_names() if n.startswith("aten::")]
operators = {name.removeprefix("aten::").split(".")[0] for name in aten}
public = {name for name in operators if not name.startswith("_")}
twins = {name for name in public if name.endswith("_") and name[:-1] in public}
distinct = {name for name in public - twins if "backward" not in name}
entries = torch.overrides.get_overridable_functions().values()
counts = {
    "signatures (add.Tensor, add.Scalar)": len(aten),
    "operators: one for each name": len(operators),
    "Python functions and methods": sum(len(functions) for functions in entries),
    "operators without internal ones": len(public),
    "... and without add_ and backward": len(distinct),
}

# %%
# The last three rows need a word: functions and methods are what `torch.overrides
# <https://docs.pytorch.org/docs/stable/torch.overrides.html>`_ lists as taking tensors;
# internal names start with ``_``; ``add_`` is the in-place twin of ``add``.

fig, ax = plt.subplots(figsize=(8, 3), layout="constrained")
bars = ax.barh(list(counts), list(counts.values()))
ax.bar_label(bars, fmt="{:,.0f}", padding=4)
ax.axvline(1200, color="black", linestyle="--")
ax.invert_yaxis()
ax.set(
    xlabel="how many (dashed line: 1,200)",
    xlim=(0, 3700),
    title="PyTorch's operations, counted five ways",
)
plt.show()

# %%
# So the famous number depends on what counts as one. We take **operators by name** as
# the fair reading, and it stands well above 1,200. Whoever folds in-place twins,
# internal helpers and backward passes into the function they belong to falls clearly
# short of it.

assert len(storages) == 1 and by_hand == photo[y, x, colour]
assert not np.array_equal(painted, array)  # written through the view
assert [pointer == address for pointer in bridge.values()] == [True, True, False]
assert stretched.stride() == (0, 1, 0) and ratio > 10, ratio
assert len(operators) > 1200 > len(distinct), counts

# %%
# Where next
# ----------
# - :doc:`dataloader_four_gifts` feeds a network with tensors, batch by batch.
# - For your own pictures replace ``load_sample_image("china.jpg")`` by
#   ``PIL.Image.open("mine.jpg")``.

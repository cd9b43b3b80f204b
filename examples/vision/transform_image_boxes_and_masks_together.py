# /// script
# requires-python = ">=3.11"
# dependencies = [
#     "torch==2.14.*",
#     "torchvision==0.29.1",
#     "stardist",
#     "pillow",
#     "numpy",
#     "matplotlib",
# ]
#
# [tool.gallery]
# modules = ["torchvision", "torch"]
# level = "beginner"
# task = "data"
# step = 10
# data = ["stardist-nuclei"]
# claim = "After a flip all 125 boxes fit their moved masks exactly; left behind, they overlap by less than 5 %"
# ///
"""
Transform image, boxes and masks together
=========================================

Flip a picture and its bounding boxes are wrong, unless they flip too.
`torchvision.transforms.v2 <https://docs.pytorch.org/vision/stable/transforms.html>`_
moves image, boxes and masks in one call, once
`tv_tensors <https://docs.pytorch.org/vision/stable/tv_tensors.html>`_ say which tensor
is what. We augment a real microscope image of 125 cell nuclei, prove with their masks
that the boxes follow, see why turned boxes grow, and step into five traps on purpose.
It takes a few seconds.
"""

from importlib.util import find_spec
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from PIL import Image
from torchvision import ops, tv_tensors
from torchvision.transforms import v2
from torchvision.utils import draw_bounding_boxes, draw_segmentation_masks, make_grid

# sphinx_gallery_thumbnail_number = 1

torch.manual_seed(0)
device = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")

# %%
# One image, 125 nuclei
# ---------------------
# The `stardist <https://github.com/stardist/stardist>`_ package carries a fluorescence
# image from the 2018 Data Science Bowl (Caicedo et al., Nature Methods 2019) and its
# label map: 0 is background, and each nucleus has a number of its own. We read the two
# files without importing the package, and stretch the faint image to the 8-bit array of
# height x width x channel that a camera gives.

folder = Path(find_spec("stardist").submodule_search_locations[0]) / "data" / "images"
intensity = np.array(Image.open(folder / "img2d.tif"), dtype=np.float32)
label_map = np.array(Image.open(folder / "mask2d.tif"), dtype=np.int64)

brightness = np.clip((intensity - 12) / 120, 0, 1) ** 0.7
photo = np.repeat((255 * brightness[..., None]).astype(np.uint8), 3, axis=2)

# %%
# Wrap each tensor once
# ---------------------
# An image may be brightened and interpolated, labels may not, and a box is four
# coordinates: a transform must know what it moves. A ``tv_tensor`` is a tensor with
# that knowledge, its type. ``masks_to_boxes`` gives the last *pixel* inside, while
# transforms count *edges*, so we add one (the first trap shows what happens otherwise).


def tight_boxes(masks):  # (nuclei, height, width) -> (nuclei, 4)
    return ops.masks_to_boxes(masks) + torch.tensor([0, 0, 1, 1], device=masks.device)


image = v2.functional.to_image(photo).to(device)  # (channels, height, width)
mask = tv_tensors.Mask(label_map, device=device)  # (height, width)
labels = mask.unique()[1:]  # the nuclei's numbers, without the background
masks = mask == labels[:, None, None]  # (nuclei, height, width), one plane each
boxes = tv_tensors.BoundingBoxes(tight_boxes(masks), format="XYXY", canvas_size=mask.shape)
sample = {"image": image, "boxes": boxes, "mask": mask, "labels": labels}
for name, value in sample.items():
    print(f"{name:6} {type(value).__name__:13} {tuple(value.shape)} {value.dtype}")

# %%
# A pipeline to copy
# ------------------
# Some steps can be your own: a module with a ``forward``. This one fits the boxes to
# the masks again and drops nuclei of which hardly anything is left; why that is wise
# comes out below.


class RefitBoxes(torch.nn.Module):
    def forward(self, sample):
        masks = sample["mask"] == sample["labels"][:, None, None]
        seen = masks.flatten(1).sum(1) >= 20  # pixels
        boxes = tv_tensors.wrap(tight_boxes(masks[seen]), like=sample["boxes"])
        return sample | {"boxes": boxes, "labels": sample["labels"][seen]}


# %%
# Geometry comes first, then colour, then tidying up.
# `SanitizeBoundingBoxes
# <https://docs.pytorch.org/vision/stable/generated/torchvision.transforms.v2.SanitizeBoundingBoxes.html>`_
# drops the boxes that left the image, and their labels with them.

steps = [
    v2.RandomRotation(180, interpolation=v2.InterpolationMode.BILINEAR),
    v2.CenterCrop(360),  # cuts off the empty corners of a turned image
    v2.RandomCrop(200),
    v2.RandomHorizontalFlip(),
    v2.ColorJitter(brightness=0.4, contrast=0.4),  # touches the image only
    v2.SanitizeBoundingBoxes(),
    RefitBoxes(),
    v2.ToDtype(torch.float32, scale=True),  # the image only, to 0 ... 1
]
augment = v2.Compose(steps)
views = [augment(sample) for _ in range(4)]
print("nuclei in each view:", [len(view["labels"]) for view in views])

# %%
# To see the result, ``draw_segmentation_masks`` and ``draw_bounding_boxes`` paint it.
# A nucleus takes its colour from its number, so it keeps the colour wherever it goes.


def draw(sample):
    labels = sample["labels"].cpu()
    masks = sample["mask"].cpu() == labels[:, None, None]
    hues = plt.colormaps["hsv"](labels.numpy() * 0.618 % 1, bytes=True)[:, :3]
    colors = [tuple(hue) for hue in hues.tolist()]
    drawn = draw_segmentation_masks(sample["image"].cpu(), masks, 0.5, colors)
    return draw_bounding_boxes(drawn, sample["boxes"].cpu(), colors=colors)


fig, axes = plt.subplot_mosaic("ooab;oocd", figsize=(8, 4.4), layout="constrained")
fig.suptitle("One image with 125 nuclei (left), and four random views of it")
for ax, view in zip(axes.values(), [sample, *views], strict=True):
    ax.imshow(draw(view).permute(1, 2, 0).numpy())
    ax.set_axis_off()
plt.show()

# %%
# In every view each box frames its nucleus and each coloured mask covers it, although
# the view was turned, cropped and perhaps mirrored. One call drew one random angle and
# used it for all three.
#
# Why not transform the image alone?
# ----------------------------------
# Because nothing complains. Beside an image, a plain tensor passes through untouched;
# forgetting to wrap the boxes is enough to leave them behind. The overlap of two boxes
# is measured by intersection over union (IoU): 1 when identical, 0 when apart.


def overlap(boxes, others):  # IoU of each box with its partner
    return ops.box_iou(boxes, others).diagonal()


flip = v2.RandomHorizontalFlip(p=1)
_, forgotten = flip(image, boxes.as_subclass(torch.Tensor))
flipped = flip(sample)
truth = tight_boxes(flipped["mask"] == labels[:, None, None])
left_behind, moved = overlap(forgotten, truth), overlap(flipped["boxes"], truth)
print(f"mean IoU: {left_behind.mean():.3f} left behind, {moved.mean():.3f} moved along")

# %%
# Boxes that stayed have next to nothing in common with the nuclei. A detector trained
# on the left picture learns that nuclei are where they are not, and only a poor score
# would ever tell.

picture = flipped["image"].cpu()
before = draw_bounding_boxes(picture, forgotten.cpu(), colors="orange")
after = draw_bounding_boxes(picture, flipped["boxes"].cpu(), colors="orange")
closer = torch.stack([before, after])[..., 100:400, 100:400]
fig, ax = plt.subplots(figsize=(8, 4.2), layout="constrained")
ax.imshow(make_grid(closer, padding=8, pad_value=255).permute(1, 2, 0).numpy())
ax.set_title("Flipped image: boxes left behind (left), boxes that moved along (right)")
ax.set_axis_off()
plt.show()

# %%
# The proof: fit the boxes afresh and compare
# -------------------------------------------
# The masks know where each nucleus went. So we transform, fit fresh boxes to the moved
# masks, and compare them with the boxes that torchvision moved. *Whole* nuclei are
# those that do not touch the edge of the new image; IoU is the mean over all.


def compare(transform):
    moved = transform(sample)
    masks = moved["mask"] == labels[:, None, None]
    fresh = tight_boxes(masks)
    seen = masks.flatten(1).any(1)
    cut = masks[:, [0, -1]].any((1, 2)) | masks[:, :, [0, -1]].any((1, 2))
    return overlap(moved["boxes"], fresh), overlap(boxes, fresh), seen, seen & ~cut


# %%
# Four transforms that only move or repeat pixels, then two that must drop or mix some.

names = ["flip", "quarter turn", "double", "crop to 300", "halve", "turn by 45°"]
transforms = [flip, v2.RandomRotation((90, 90)), v2.Resize(1024), v2.CenterCrop(300)]
transforms += [v2.Resize(256), v2.RandomRotation((45, 45))]
for name, transform in zip(names, transforms, strict=True):
    iou, _, seen, whole = compare(transform)
    print(f"{name:12} {seen.sum():3} nuclei, IoU {iou[seen].mean():.3f},", end=" ")
    print(f"exact for {(iou[whole] == 1).sum():3} of {whole.sum():3} whole")

# %%
# Flips, quarter turns and doubling are exact. So is a crop for whole nuclei; where it
# cuts one, the moved box is the cut box of the whole nucleus, wider than what is left
# of it. Halving drops mask pixels, so a fresh box may differ by one of them. Turning
# is another matter.
#
# Why turned boxes grow
# ---------------------
# torchvision knows the four corners of a box, not its nucleus. It turns the corners and
# frames *them* upright. For a round object geometry then gives IoU = 1 / (1 + sin 2a).
# We measure with the nuclei near the middle, which stay in view at any angle.

farthest = (boxes.view(-1, 2, 2) - 256).abs().amax(1).norm(dim=1)  # corner, from the middle
angles = torch.arange(0, 91, 7.5)
moved_iou, stale_iou = [], []
for angle in angles.tolist():
    iou, stale, _, _ = compare(v2.RandomRotation((angle, angle)))
    moved_iou.append(iou[farthest < 255].mean().item())
    stale_iou.append(stale[farthest < 255].mean().item())

# %%
# The curve stands beside a close look at the image after 45°: the moved boxes in
# orange, and in cyan those that ``RefitBoxes`` finds inside them.

turned = transforms[-1](sample)
drawn = draw_bounding_boxes(turned["image"].cpu(), turned["boxes"].cpu(), colors="orange")
drawn = draw_bounding_boxes(drawn, RefitBoxes()(turned)["boxes"].cpu(), colors="cyan")
fig, (left, right) = plt.subplots(1, 2, figsize=(8.5, 4), layout="constrained")
left.imshow(drawn[:, 190:320, 190:320].permute(1, 2, 0).numpy())
left.set_title("After 45°: moved (orange), refitted (cyan)")
left.set_axis_off()
right.plot(angles, moved_iou, "o", label="boxes moved along")
right.plot(angles, 1 / (1 + torch.sin(2 * angles.deg2rad())), "k:", label="round object")
right.plot(angles, stale_iou, "s--", label="boxes left behind")
right.set(xlabel="angle (degrees)", ylabel="mean IoU with fresh boxes", ylim=(0, 1.05))
right.set_title("Moved boxes loosen as the image turns")
right.legend(loc=(0.3, 0.15))
plt.show()

# %%
# The dots follow the prediction: at 45° the box of a round nucleus doubles its area, and
# the IoU falls to one half. Each nucleus is still inside, but a detector would learn
# frames that are too wide. With masks the cure is ``RefitBoxes``; without, keep angles
# small. (torchvision can also keep turned boxes as such, with the format ``CXCYWHR``.)
#
# Traps with boxes: edges and formats
# -----------------------------------
# Boxes straight from ``masks_to_boxes`` end a pixel early, and flipping moves that gap
# to the other side. A wrongly declared format raises no error either.

last_pixels = tv_tensors.wrap(ops.masks_to_boxes(masks), like=boxes)
truth = ops.masks_to_boxes(flip(tv_tensors.Mask(masks)))
print(f"pixels taken for edges: mean IoU {overlap(flip(last_pixels), truth).mean():.3f}")

wrong = tv_tensors.BoundingBoxes(boxes, format="XYWH", canvas_size=mask.shape)
valid = v2.SanitizeBoundingBoxes(labels_getter=None)(wrong)
print(f"corners declared as width and height: {len(valid)} of {len(wrong)} boxes remain")

# %%
# One pixel costs these small nuclei a tenth of their IoU. The wrong format throws most
# boxes out of the image, where ``SanitizeBoundingBoxes`` quietly removes them: count
# your boxes once. ``v2.ConvertBoundingBoxFormat`` changes a format properly.
#
# Traps with images: channel order and range
# ------------------------------------------
# NumPy images have the channels last, torchvision wants them first, and a float image
# must lie between 0 and 1.

resized = v2.Resize((128, 128))(torch.from_numpy(photo))
print("resized without to_image:", tuple(resized.shape))
brighten = v2.ColorJitter(brightness=(1.2, 1.2))
scaled = v2.ToDtype(torch.float32, scale=True)(image)
print("grey values after .float() and brightening: ", len(brighten(image.float()).unique()))
print("grey values after ToDtype and brightening:", len(brighten(scaled).unique()))

# %%
# Without ``to_image`` the 512 rows were taken for channels. After ``.float()`` the values run
# to 255, all above 1 counts as overexposed, and only black and white survive.
#
# The trap with masks: nuclei that never existed
# ----------------------------------------------
# Halfway between nucleus 100 and background 0 there is no nucleus 50. A ``Mask`` is
# therefore never interpolated; a plain tensor, taken for an image, is.

as_mask = v2.Resize(256)(mask).cpu()
as_image = v2.Resize(256)(mask.as_subclass(torch.Tensor)[None])[0].cpu()
unknown = as_image[~torch.isin(as_image, mask.cpu().unique())]
print(f"{len(unknown.unique())} unknown labels on {len(unknown)} pixels")

fig, ax = plt.subplots(figsize=(8, 4.2), layout="constrained")
closer = torch.stack([as_mask, as_image])[:, None, 60:160, 60:160]
ax.imshow(make_grid(closer, padding=4)[0].numpy(), cmap="nipy_spectral")
ax.set_title("Label map made smaller: as a Mask (left), wrongly as an image (right)")
ax.set_axis_off()
plt.show()

# %%
# The rims on the right are made-up nuclei. Some carry the number of a real nucleus
# elsewhere, so that a check for unknown labels misses them.
#
# The same randomness again
# -------------------------
# The transforms draw from PyTorch's generator: one seed repeats the whole pipeline.

torch.manual_seed(7)
first = augment(sample)
torch.manual_seed(7)
again = augment(sample)
print("same seed, same image:", torch.equal(first["image"], again["image"]))

# %%
# The claim, checked
# ------------------
# All 125 boxes followed the flip to the pixel, and those left behind did not.

assert (moved == 1).sum() == 125, moved.min()
assert left_behind.mean() < 0.05, left_behind.mean()
assert all(torch.equal(first[key], again[key]) for key in sample)

# %%
# Where next
# ----------
# - :doc:`classify_handwritten_digits` trains a network on images bent by the same
#   transforms.
# - For COCO, ``torchvision.datasets.wrap_dataset_for_transforms_v2`` turns the targets of
#   ``CocoDetection`` into the same ``tv_tensors`` in one line.

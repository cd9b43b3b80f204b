# /// script
# requires-python = ">=3.11"
# dependencies = ["torch==2.14.*", "torchmetrics", "scikit-learn", "matplotlib"]
#
# [tool.gallery]
# modules = ["torchmetrics", "torch"]
# level = "beginner"
# task = "evaluation"
# step = 100
# data = ["breast-cancer"]
# claim = "The mean of F1 scores over batches of 8 is over 2 points off and depends on the order; a torchmetrics object that adds up equals scikit-learn to 1e-6, in any order, also when two halves are merged"
# ///
"""
Add up a score over batches, and say how sure it is
===================================================

Test data come in batches, scores are wanted for the whole. Why not average the batches'
scores? Because it gives another number. We measure by how much on scikit-learn's 569
breast tumours, do it right with `torchmetrics
<https://lightning.ai/docs/torchmetrics/stable/>`_, check against scikit-learn, merge the
counts of two workers, and ask at the end how much of a difference between two models is
chance. It takes about ten seconds.
"""

import matplotlib.pyplot as plt
import torch
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torchmetrics import MetricCollection
from torchmetrics import classification as binary
from torchmetrics.wrappers import BootStrapper

torch.manual_seed(0)
device = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")

# %%
# A model to be judged
# --------------------
# Thirty measurements of cell nuclei say whether a tumour is malignant (about a third are).
# To leave something to be judged, logistic regression gets only the first two and half of
# the tumours.

features, benign = load_breast_cancer(return_X_y=True)
order = torch.randperm(len(benign)).numpy()
training, test = order[:284], order[284:]
truth = torch.tensor(1 - benign[test], device=device)  # malignant, what we look for, is 1


def probabilities(columns):
    model = make_pipeline(StandardScaler(), LogisticRegression())
    model.fit(features[training, :columns], 1 - benign[training])
    found = model.predict_proba(features[test, :columns])[:, 1]
    return torch.tensor(found, dtype=torch.float32, device=device)


probability = probabilities(columns=2)
print(f"{len(test)} test tumours, {truth.sum()} malignant")
print(f"always benign: {1 - truth.float().mean():.1%} right, F1 0")

# %%
# The average of batch scores
# ---------------------------
# F1 is the harmonic mean of precision and recall. We compute it for each batch and average,
# for several sizes of batch and twenty orders of the same tumours. (Called like a function,
# a torchmetrics object gives the score of just this batch.)

f1 = binary.BinaryF1Score().to(device)
sizes = (4, 8, 16, 32, 64, 285)
averages = {size: [] for size in sizes}
for size in sizes:
    for _ in range(20):
        batches = torch.randperm(len(test)).to(device).split(size)
        scores = [f1(probability[rows], truth[rows]) for rows in batches]
        averages[size].append(torch.stack(scores).mean().item())
exact = f1_score(truth.cpu(), (probability > 0.5).cpu())
for size, found in averages.items():
    print(
        f"batches of {size:3}: {min(found):.3f} to {max(found):.3f}, scikit-learn {exact:.3f}"
    )

# %%
# The same predictions, the same tumours: the average depends on the order, and for small
# batches it is far too low. It need not get better with every step: of 285 tumours,
# batches of 64 leave 29 for the last one, which counts as much as any other.

fig, ax = plt.subplots(figsize=(8, 3.6), layout="constrained")
for size, found in averages.items():
    ax.plot([size] * len(found), found, "o", color="C0", alpha=0.4)
ax.axhline(exact, color="C1", label="F1 of all test tumours")
ax.set_xscale("log", base=2)
ax.set_xticks(sizes, sizes)
ax.set(xlabel="tumours in a batch", ylabel="mean of batch F1 (20 orders)")
ax.set_title("An average of F1 scores is not an F1 score")
ax.legend()
plt.show()

# %%
# A ratio of sums is not the mean of ratios. In a batch of 4 tumours there is often none that
# is malignant, and torchmetrics then counts its F1 as 0; but also larger batches divide by
# numbers that vary.
#
# Add up first, divide once
# -------------------------
# A torchmetrics object keeps the counts (here: true and false positives and negatives).
# ``update`` adds a batch, ``compute`` divides at the end. A `MetricCollection
# <https://lightning.ai/docs/torchmetrics/stable/pages/overview.html#metriccollection>`_
# feeds several at once, and those with the same counts share them.

wanted = [
    binary.BinaryAccuracy(),
    binary.BinaryRecall(),
    binary.BinaryF1Score(),
    binary.BinaryAUROC(),
]
metrics = MetricCollection(wanted).to(device)
for rows in torch.randperm(len(test)).to(device).split(8):
    metrics.update(probability[rows], truth[rows])
found = {name: value.item() for name, value in metrics.compute().items()}
area = roc_auc_score(truth.cpu(), probability.cpu())
print({name: round(value, 3) for name, value in found.items()})
print(f"off scikit-learn: F1 {found['BinaryF1Score'] - exact:.0e}, ", end="")
print(f"AUROC {found['BinaryAUROC'] - area:.0e}")
print("computed together:", list(metrics.compute_groups.values()))

# %%
# Equal to scikit-learn on the whole, from batches of 8. Accuracy alone would have survived
# averaging, with batches of equal size; recall, F1 and AUROC would not. AUROC needs all
# probabilities, so that metric keeps a list, which grows with the data (``thresholds=200``
# bounds it).
#
# Two workers, one score
# ----------------------
# On several processes each sees a part of the data. What may be exchanged is the state, not
# the score: ``merge_state`` adds one metric's counts to another's, as torchmetrics does by
# itself under ``torch.distributed``. (Merge before the first ``compute``, which keeps its
# answer until the next ``update``.)

parts = [torch.arange(0, 100), torch.arange(100, len(test))]
workers = [binary.BinaryF1Score().to(device) for _ in parts]
for worker, part in zip(workers, parts, strict=True):
    worker.update(probability[part.to(device)], truth[part.to(device)])
workers[0].merge_state(workers[1])
merged = workers[0].compute().item()
scores = [f1(probability[part.to(device)], truth[part.to(device)]) for part in parts]
mean_of_two = torch.stack(scores).mean().item()
print(
    f"mean of the workers' scores {mean_of_two:.4f}, merged {merged:.4f}, exact {exact:.4f}"
)

# %%
# How sure is a score?
# --------------------
# Other 285 tumours would give another number. The bootstrap draws the tumours again and
# again, with replacement, and looks at the spread; `BootStrapper
# <https://lightning.ai/docs/torchmetrics/stable/wrappers/bootstrapper.html>`_ wraps any
# metric. (By default it draws how often each tumour counts from a Poisson distribution of
# mean 1, which is nearly the same.) We judge two models, with two and with six measurements.

better = probabilities(columns=6)
level = torch.tensor([0.05, 0.95], device=device)
for name, model in (("2 measurements", probability), ("6 measurements", better)):
    score = BootStrapper(
        binary.BinaryF1Score(), num_bootstraps=300, quantile=level, raw=False
    )
    score = score.to(device)
    score.update(model, truth)
    low, high = score.compute()["quantile"].tolist()
    print(f"{name}: F1 {f1(model, truth):.3f}, 90 % interval {low:.3f} to {high:.3f}")

# %%
# The intervals are wide, and they overlap. That does not mean that the models cannot be told
# apart: both judge the *same* tumours, so that much of the chance is shared. The paired
# question is asked on each drawn set: what is the difference?

differences = []
for _ in range(1000):
    drawn = torch.randint(len(test), (len(test),)).to(device)
    pair = [f1(model[drawn], truth[drawn]) for model in (better, probability)]
    differences.append((pair[0] - pair[1]).item())
differences = torch.tensor(differences)
low, high = differences.quantile(torch.tensor([0.05, 0.95])).tolist()
print(
    f"gain of six measurements: {differences.mean():.3f}, 90 % from {low:.3f} to {high:.3f}"
)


# %%
# The figure shows all thousand draws.

fig, ax = plt.subplots(figsize=(8, 3.2), layout="constrained")
ax.hist(differences, bins=40, color="C0")
ax.axvline(0, color="k", lw=1)
ax.axvspan(low, high, color="C1", alpha=0.2, label="90 % of the draws")
ax.set(xlabel="F1 with six measurements - F1 with two", ylabel="draws")
ax.set_title("Is the better model better, or lucky?")
ax.legend()
plt.show()

# %%
# Nearly all draws lie on one side of zero: of these two fitted models the one with six
# measurements is better on tumours like these, although the separate intervals overlap.
# (Whether another training half would agree is another question: fit again to ask it.)
# Compare models on the same samples, and look at differences.

off = exact - torch.tensor(averages[8]).mean().item()
assert off > 0.02 and max(averages[8]) - min(averages[8]) > 0.03, averages[8]
assert (
    abs(found["BinaryF1Score"] - exact) < 1e-6 and abs(found["BinaryAUROC"] - area) < 1e-6
)
assert abs(merged - exact) < 1e-6
assert differences.mean() > 0, differences.mean()

# %%
# Where next
# ----------
# - :doc:`dataloader_four_gifts` makes the batches.
# - For more classes take ``MulticlassF1Score(num_classes, average="macro")``, and mind that
#   its mean over classes is again not the mean over batches.
# - To do it on a large set: the loop stays the same with ``torchvision.datasets.CIFAR10``.

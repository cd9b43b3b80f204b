# /// script
# requires-python = ">=3.11"
# dependencies = [
#     "torch==2.14.*",
#     "torchaudio==2.11.*",
#     "foxdot>=0.9",
#     "scikit-learn",
#     "soundfile",
#     "ipython",
#     "matplotlib",
# ]
#
# [tool.gallery]
# modules = ["torchaudio", "torch.nn"]
# level = "intermediate"
# task = "classification"
# step = 50
# data = ["foxdot-drums"]
# claim = "In 5-fold cross-validation on 108 drum hits of eight kinds a CNN on raw sound names over 70 % right, one on log-mel over 75 %, the majority class 28 %; the raw net's trained filters are over 5 times wider than mel bands"
# ///
"""
Classify drum hits from raw sound
=================================

Kick, snare or clap? A 1-D convolutional network can learn its own filters from the
samples, or look at a log-mel spectrogram. With only a hundred labelled hits, which is
better, and does either beat a linear model on `MFCC
<https://docs.pytorch.org/audio/stable/generated/torchaudio.transforms.MFCC.html>`_
statistics? We remove twins, cross-validate all three on percussion samples of the
live-coding package `FoxDot <https://github.com/Qirky/FoxDot>`_, then look at the filters
that the network learnt. The page takes about 25 seconds on one core.
"""

from importlib.util import find_spec
from pathlib import Path

import matplotlib.pyplot as plt
import soundfile
import torch
import torchaudio.functional as F
import torchaudio.transforms as T
from IPython.display import Audio
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import ConfusionMatrixDisplay
from torch import nn

# sphinx_gallery_thumbnail_number = 1
torch.manual_seed(0)
torch.set_num_threads(1)  # small batches: a second thread brings little
device = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")

# %%
# Read hits of many rates
# -----------------------
# FoxDot sorts its samples into folders named after the character that plays them: ``x``
# is a bass drum, ``_/hyphen`` a closed hi-hat. We join folders into classes of at least
# eight clips and leave out game-console and drum-machine kits. Only the files are read;
# FoxDot is not imported.

classes = {
    "kick": "x/lower x/upper v/lower v/upper",
    "snare": "o/lower o/upper i/lower i/upper u/lower d/upper",
    "hi-hat": "_/hyphen _/equals _/colon",
    "cymbal": "_/tilde _/hash",
    "clap": "_/asterix h/upper",
    "tabla": "p/lower p/upper",
    "tom, conga": "m/upper c/lower",
    "metal": "r/lower r/upper",
}
root = Path(find_spec("FoxDot").submodule_search_locations[0]) / "snd"
folders = [(k, root / name) for k, v in enumerate(classes.values()) for name in v.split()]
files = [(path, k) for k, folder in folders for path in sorted(folder.iterdir())]

# %%
# Every hit becomes mono, 16 kHz, 0.3 s long (cut or filled with silence), peak 1. Without
# the peak step loudness would tell the class: the hi-hats here are recorded quietly.

sample_rate, length = 16_000, 4_800


def read(path):
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    hit = F.resample(torch.from_numpy(samples).mean(1), rate, sample_rate)[:length]
    return nn.functional.pad(hit, (0, length - len(hit))) / hit.abs().max(), rate


clips, rates = zip(*(read(path) for path, _ in files), strict=True)
clips = torch.stack(clips)  # (clips, time)
print(len(clips), "clips, sample rates", sorted(set(rates)))

# %%
# Remove the twins
# ----------------
# Sample packs repeat themselves, also across folders. A twin in the test fold would be
# graded as knowledge. We slide each hit over all others: a peak of the normalised
# cross-correlation of 1 means the same sound up to gain, sign and shift. From 0.8 on, we
# keep only the first of the two.

kept, names = [], [f"{p.parent.relative_to(root)}/{p.stem}" for p, _ in files]
spectra = torch.fft.rfft(nn.functional.normalize(clips), n=2 * length)
for number, name in enumerate(names):
    likeness = torch.fft.irfft(spectra * spectra[number].conj()).abs().amax(1)
    twins = [other for other in kept if likeness[other] > 0.8]
    if twins:
        print(f"{name:26} {likeness[twins[0]]:.3f} like {names[twins[0]]}")
    else:
        kept.append(number)

hits = clips[kept]
target = torch.tensor([files[number][1] for number in kept])
print(len(hits), "hits:", dict(zip(classes, target.bincount().tolist(), strict=True)))

# %%
# Eleven of 119 clips go. Four are exact copies, one of them in two folders. Others are
# takes or settings of one sound, such as the hi-hats in ``_/colon``. Some of the kicks
# may only be similar; a lost clip costs less than a leaked one.
#
# Five folds, and two baselines
# -----------------------------
# So few hits allow no fixed test set. In five-fold cross-validation each hit is tested
# exactly once, by a model that never trained on it; every class is spread evenly over
# the folds. All models see the same folds and the same training copies: each hit at five
# speeds, which moves pitch and length together.

folds = torch.empty_like(target)
for label, size in enumerate(target.bincount()):
    folds[target == label] = (torch.randperm(int(size)) + label) % 5

margin = 160  # 10 ms of silence in front, used for random shifts
speeds = [F.resample(hits, 100, new)[:, :length] for new in (84, 91, 100, 110, 119)]
# (speed, hit, time)
copies = torch.stack([nn.functional.pad(s, (margin, length - s.shape[1])) for s in speeds])

# %%
# Baseline one calls every hit a snare. Baseline two is the classical recipe: mean and
# standard deviation over time of 20 MFCCs, then logistic regression.

mel = dict(n_fft=512, win_length=256, hop_length=128, n_mels=40)
mfcc = T.MFCC(sample_rate, 20, melkwargs=mel)
cepstra = [mfcc(copy) for copy in copies[..., margin:]]  # (hit, coefficient, frame)
pooled = torch.stack([torch.cat([c.mean(-1), c.std(-1)], dim=1) for c in cepstra])
predicted = {k: torch.full_like(target, -1) for k in ("MFCC, linear", "raw", "log-mel")}
predicted["majority class"] = torch.full_like(target, int(target.mode().values))
for fold in range(5):
    train, test = folds != fold, folds == fold
    known = pooled[:, train].flatten(0, 1)
    scaled = (pooled - known.mean(0)) / known.std(0)
    model = LogisticRegression(max_iter=3000)
    model.fit(scaled[:, train].flatten(0, 1), target[train].repeat(5))
    predicted["MFCC, linear"][test] = torch.from_numpy(model.predict(scaled[2, test]))

# %%
# One network, two front ends
# ---------------------------
# The networks differ only in how 0.3 s of sound become 40 channels. **raw** begins like
# M5 (`Dai et al. 2017 <https://arxiv.org/abs/1610.00087>`_): long strided filters, batch
# norm, ReLU, maximum. The filters start as noise. **log-mel** is a fixed spectrogram. The
# body after it is the same: two convolutions, an average over time, a linear layer.


def network(front_end):
    if front_end == "raw":  # filters of 8 ms, one step every 2 ms
        layers = [nn.Conv1d(1, 40, 128, stride=32, bias=False), nn.BatchNorm1d(40)]
        layers += [nn.ReLU(), nn.MaxPool1d(4)]
    else:
        layers = [T.MelSpectrogram(sample_rate, **mel), T.AmplitudeToDB(top_db=60)]
        layers += [nn.Flatten(1, 2), nn.BatchNorm1d(40)]
    layers += [nn.Conv1d(40, 64, 3, padding=1), nn.BatchNorm1d(64), nn.ReLU()]
    layers += [nn.MaxPool1d(4), nn.Conv1d(64, 64, 3, padding=1), nn.BatchNorm1d(64)]
    layers += [nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Dropout(0.3)]
    return nn.Sequential(*layers, nn.Linear(64, len(classes))).to(device)


# %%
# Augment and train
# -----------------
# A training batch takes each hit at a random speed, shifts all by up to 10 ms, scales
# them and flips signs. None of that changes what was hit, and all of it happens to the
# waveform, so it serves both front ends.


def batch(train, size=32):
    chosen = train[torch.randperm(len(train))[:size]]
    start = int(torch.randint(margin + 1, ()))
    waveform = copies[torch.randint(5, (size,)), chosen, start : start + length]
    gain = torch.empty(size, 1).uniform_(0.3, 1) * (2 * torch.randint(2, (size, 1)) - 1)
    return (gain * waveform)[:, None].to(device), target[chosen].to(device)


# %%
# Training is the usual loop, with a learning rate that rises and falls once.


def fit(model, train, steps=180):
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.01, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    for _ in range(steps):
        waveform, label = batch(train)
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(waveform), label, label_smoothing=0.1).backward()
        optimizer.step()
        schedule.step()
    return model.eval()


# %%
# Ten trainings: two front ends, five folds, all with the same number of steps; no fold is
# stopped early on its own score. Network size, clip length and steps were settled on these
# same hits, though, to fit the running time, so the shares are a little flattering.

models = {}
for name in ("raw", "log-mel"):
    for fold in range(5):
        models[name] = fit(network(name), (folds != fold).nonzero().squeeze(1))
        with torch.no_grad():
            scores = models[name](hits[folds == fold][:, None].to(device))
        predicted[name][folds == fold] = scores.argmax(1).cpu()

accuracy = {k: (p == target).double().mean().item() for k, p in predicted.items()}
for name, share in accuracy.items():
    print(f"{name:15} names {share:.1%} of {len(target)} hits")

# %%
# One hit is nearly 1 %, and with so few of them each share has a standard error of about
# 4 %, so read no ranking into small gaps. All three are far above the majority class. The
# raw network does not clearly beat the linear model, and with other seeds too it stays a
# few hits behind log-mel. Longer training may close the gap: with 400 steps and two seeds
# it was level once and four hits behind once. Dai et al. had 8,732 city sounds, and their
# network of 18 layers on raw sound matched models on log-mel.
#
# The folds do not know who recorded what, and hits of one sample pack sound alike. On a
# new pack expect less.
#
# Who is mistaken for whom
# ------------------------
# Rows are what was played, columns what was heard.

fig, axes = plt.subplots(1, 2, figsize=(9.5, 4.9), layout="constrained", sharey=True)
names = list(classes)
style = dict(cmap="viridis", colorbar=False, xticks_rotation=60, display_labels=names)
for ax, name in zip(axes, ("raw", "log-mel"), strict=True):
    ConfusionMatrixDisplay.from_predictions(target, predicted[name], ax=ax, **style)
    ax.set(title=f"{name}: {accuracy[name]:.0%}", xlabel="predicted class", ylabel="")
axes[0].set(ylabel="true class (number of hits)")
fig.suptitle("Confusion matrices of two networks, five folds together")
plt.show()

# %%
# Kicks, deep and alone down there, are safe. Many hi-hats are taken for cymbals or
# snares: all three are mostly noise, and 0.3 s cuts off much of a cymbal's ring. The
# class "metal" holds all sorts of struck objects, and both networks scatter it.
#
# Listen. First a hit that both networks name right:

right = {name: answer == target for name, answer in predicted.items()}
number = int((right["raw"] & right["log-mel"]).nonzero()[0])
print("both say", names[target[number]])
Audio(hits[number].numpy(), rate=sample_rate)

# %%
# And one that only log-mel gets right. Would you have known?

number = int((~right["raw"] & right["log-mel"]).nonzero()[0])
print("raw says", names[predicted["raw"][number]], "but it is", names[target[number]])
Audio(hits[number].numpy(), rate=sample_rate)

# %%
# What did the first layer learn?
# -------------------------------
# The Fourier transform of a filter shows which frequencies it lets pass. Its effective
# width is the squared sum of its power spectrum over the sum of squares: 8 kHz if it
# passes all alike, a few hundred hertz for a band. Beside the filters stands the mel bank.


def power_spectrum(layer):
    return torch.fft.rfft(layer.weight.detach()[:, 0], n=512).abs().square().cpu()


powers = {"raw, before training": power_spectrum(network("raw")[0])}
powers["raw, trained"] = power_spectrum(models["raw"][0])
powers["mel bank"] = models["log-mel"][0].mel_scale.fb.T.cpu()  # (filter, frequency)

# %%
# Drawn below, each filter is a column, sorted by the strongest frequency, and the median
# of the widths stands above.

width = {}
fig, axes = plt.subplots(1, 3, figsize=(9.5, 4), layout="constrained", sharey=True)
style = dict(origin="lower", aspect="auto", vmin=-30, extent=(0, 40, 0, 8))
for ax, (name, power) in zip(axes, powers.items(), strict=True):
    power = power[power.argmax(1).argsort()]
    decibels = 10 * (power / power.amax(1, keepdim=True) + 1e-6).log10()
    image = ax.imshow(decibels.T.numpy(), **style)
    widths = power.sum(1).square() / power.square().sum(1)  # in frequency bins
    width[name] = widths.median().item() * sample_rate / 512
    ax.set(title=f"{name}: {width[name]:,.0f} Hz", xlabel="filter (sorted)")
axes[0].set(ylabel="frequency (kHz)")
fig.colorbar(image, ax=axes, label="power below the filter's maximum (dB)")
fig.suptitle("What the 40 filters of each front end let pass")
plt.show()

# %%
# Trained from noise, the filters are still mostly noise. The median is narrower than
# before, and many filters now peak below 1 kHz, where drums have their body; but there is
# no bank of bands. The network works with nearly random projections and leaves the rest
# to its body. The mel bank starts where the raw filters have not arrived.
#
# The claim
# ---------

assert accuracy["raw"] > 0.7 and accuracy["log-mel"] > 0.75, accuracy
assert width["raw, trained"] > 5 * width["mel bank"], width

# %%
# Where next
# ----------
# - :doc:`see_sound_waveforms_and_spectrograms` explains the window that a log-mel front
#   end needs.
# - To try the raw network where data is plentiful, put
#   ``torchaudio.datasets.SPEECHCOMMANDS(root, download=True)`` with its 105,829 spoken
#   words in place of the hits.

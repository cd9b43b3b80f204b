# /// script
# requires-python = ">=3.11"
# dependencies = [
#     "torch==2.14.*",
#     "torchaudio==2.11.*",
#     "pyo",
#     "soundfile",
#     "ipython",
#     "matplotlib",
# ]
#
# [tool.gallery]
# modules = ["torchaudio", "torch.optim"]
# level = "advanced"
# task = "signal processing"
# step = 70
# data = ["pyo-sounds"]
# claim = "Two equaliser bands that gradient descent places match a hall's spectrum to 1 dB rms, where ten fixed octave bands leave over 1.2 dB, and hold within 0.4 dB of that in the other channel; the gradient through torchaudio's filter equals the one of its frequency response to 1e-3 and takes over 5 times as long"
# ///
"""
Fit an equaliser to a hall by gradient descent
==============================================

A hall colours what is played in it. Which equaliser settings give that colour? Turning
knobs is a search; torchaudio's filters can be differentiated, so we let the gradient turn
them: centre frequency, gain and width of each band. The target is the spectrum of a hall
impulse response that comes with `pyo <https://belangeo.github.io/pyo/>`_, the filter
`torchaudio.functional.equalizer_biquad
<https://docs.pytorch.org/audio/stable/generated/torchaudio.functional.equalizer_biquad.html>`_,
the baseline an equaliser with ten fixed bands, the judge the hall's other channel. It
takes about ten seconds.
"""

import math
from importlib.util import find_spec
from pathlib import Path

import matplotlib.pyplot as plt
import soundfile
import torch
import torchaudio.functional as F
from IPython.display import Audio
from torch.utils.benchmark import Timer

# sphinx_gallery_thumbnail_number = 1
torch.manual_seed(0)
torch.set_num_threads(1)  # small tensors: a second thread costs more than it brings
device = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")

# %%
# The colour of a hall
# --------------------
# An impulse response is what a microphone records after a clap. We fit to the left channel
# and keep the right one to be judged on. (The files are located without importing pyo.)

package = Path(find_spec("pyo").submodule_search_locations[0])
impulse, rate = soundfile.read(package / "lib/snds/IRMediumHallStereo.wav", dtype="float32")
hall = torch.from_numpy(impulse.T).to(device)  # (2 channels, time)
voice, _ = soundfile.read(package / "examples/snds/baseballmajeur_m.aif", dtype="float32")
speech = torch.from_numpy(voice).to(device)  # at the same rate
print(f"{hall.shape[1] / rate:.1f} s of hall in two channels at {rate:,} Hz")

# %%
# The ear does not hear single bins but about a third of an octave at once. So the target
# is the mean power within a third of an octave around 200 frequencies, evenly spaced in
# octaves, in decibels. Loudness is no colour: the mean level is taken off.

FFT = 2**17
hertz = torch.logspace(math.log10(60), math.log10(16_000), 200, device=device)


def centred(decibels):
    return decibels - decibels.mean(dim=-1, keepdim=True)


def colour(waveform):  # (..., time) -> (..., 200)
    power = torch.fft.rfft(waveform, FFT).abs().square().double().cpu().cumsum(-1)
    first, last = (hertz.cpu() * 2**shift * FFT / rate for shift in (-1 / 6, 1 / 6))
    band = power[..., last.long()] - power[..., first.long()]
    return centred(10 * (band / (last.long() - first.long())).log10()).float().to(device)


def rms(decibels):
    return decibels.square().mean(dim=-1).sqrt()


left, right = colour(hall)
print(f"flat would be {rms(left):.2f} dB off, the right channel is {rms(left - right):.2f}")

# %%
# A band is three numbers
# -----------------------
# A peaking filter raises or lowers what lies around a centre frequency. It is a *biquad*:
# each output sample is a weighted sum of the last three inputs and two outputs. The
# formulas for the weights, ``b`` and ``a``, are those of R. Bristow-Johnson's cookbook,
# which torchaudio uses too. We write them for many bands at once.


def weights(hertz, gain, q):  # each (..., bands) -> two of (..., bands, 3)
    angle, root = 2 * math.pi * hertz / rate, 10 ** (gain / 40)
    width, turn = angle.sin() / (2 * q), -2 * angle.cos()
    b = torch.stack([1 + width * root, turn, 1 - width * root], dim=-1)
    return b, torch.stack([1 + width / root, turn, 1 - width / root], dim=-1)


# %%
# At one frequency a filter multiplies by a complex number, the quotient of two polynomials
# in ``exp(-1j * angle)``. In decibels the bands simply add up.

angles = 2 * math.pi * hertz / rate
powers = torch.exp(-1j * angles * torch.arange(3, device=device)[:, None])  # (3, 200)


def response(bands):  # (hertz, gain, q) -> (..., 200)
    b, a = (part.to(powers.dtype) @ powers for part in weights(*bands))
    return centred(20 * (b / a).abs().log10().sum(dim=-2))


one = torch.tensor([500.0, -6.0, 1.0], device=device)  # hertz, gain (dB), q
b, a = weights(*one)
ours, theirs = F.lfilter(speech, a, b), F.equalizer_biquad(speech, rate, *one.tolist())
difference = (ours - theirs).abs().max().item()
print(f"largest difference between our weights and torchaudio's: {difference:.0e}")

# %%
# Let the gradient place the bands
# --------------------------------
# Frequency and width are learnt as logarithms, so that they stay positive and a step is as
# large in the bass as in the treble. Sixteen random starts are trained side by side, as one
# batch, and the best is kept.


def fit(count, starts=16, steps=500):
    first = torch.rand(starts, count) * math.log(16_000 / 60) + math.log(60)
    logs = torch.stack([first, torch.zeros(starts, count)]).to(device).requires_grad_()
    gain = torch.zeros(starts, count, device=device, requires_grad=True)
    optimizer = torch.optim.Adam([{"params": [logs], "lr": 0.03}, {"params": [gain]}], 0.3)
    for _ in range(steps):
        optimizer.zero_grad()
        error = rms(response((logs[0].exp(), gain, logs[1].exp())) - left)  # (starts,)
        error.square().sum().backward()
        optimizer.step()
    best = error.argmin()
    bands = logs[0, best].exp(), gain[best], logs[1, best].exp()
    return [part.detach() for part in bands], error.detach().sort().values


# %%
# The baseline is what hangs in many a rack: ten bands an octave apart, each as wide as its
# place, only the gains to be set. L-BFGS finds their best values.


def fit_gains(hertz, q):
    gain = torch.zeros_like(hertz, requires_grad=True)
    optimizer = torch.optim.LBFGS([gain], max_iter=400, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        error = rms(response((hertz, gain, q)) - left).square()
        error.backward()
        return error

    optimizer.step(closure)
    return hertz, gain.detach(), q


octaves = 31.25 * 2 ** torch.arange(10.0, device=device)
fixed = fit_gains(octaves, torch.full_like(octaves, math.sqrt(2)))

# %%
# One to four free bands beside the ten fixed ones, in the channel that was fitted and in
# the one that was not.

found, errors, ends = {"ten fixed": fixed}, {}, {}
for count in (1, 2, 3, 4):
    found[f"{count} free"], ends[count] = fit(count)
for name, bands in found.items():
    errors[name] = [rms(response(bands) - channel).item() for channel in (left, right)]
    print(f"{name:9} left {errors[name][0]:.2f} dB, right {errors[name][1]:.2f} dB")

# %%
# What it found, and where the rest of the error lies.

fig, axes = plt.subplots(2, 1, figsize=(8, 6), layout="constrained", sharex=True)
fig.suptitle("A hall's colour, and two equalisers that were fitted to it")
for ax, base in zip(axes, (0, left), strict=True):
    ax.plot(hertz.cpu(), (left - base).cpu(), color="0.5", lw=4, label="hall, left")
    for name, style in (("ten fixed", "C1--"), ("2 free", "C0-")):
        ax.plot(hertz.cpu(), (response(found[name]) - base).cpu(), style, label=name)
for centre, gain, q in zip(*found["2 free"], strict=True):
    axes[0].axvline(centre.item(), color="C0", lw=0.8)
    print(f"band at {centre:6,.0f} Hz: {gain:+5.1f} dB, Q {q:.2f}")
axes[0].set(ylabel="level (dB)", xscale="log")
axes[1].set(ylabel="level minus the hall's (dB)", xlabel="frequency (Hz)", ylim=(-4, 4))
axes[0].legend()
plt.show()

# %%
# The hall is dark: between 1 kHz and 16 kHz the level falls by 30 dB. Gradient descent found
# that one very wide hill (its *Q*, centre over width, is small) and one dip at the top draw
# this line. It is closer than ten bands in fixed places:
# those leave ripples and miss the top. Further free bands gain little. In the right channel
# all are worse, for it differs from the left by 1 dB itself.
#
# Why sixteen starts
# ------------------
# The error is not convex: a band that starts on the wrong side may never cross. Here are
# the errors at which two free bands ended.

print("dB rms:", *(f"{end:.2f}" for end in ends[2]))

# %%
# Most starts end close together, some stay far above. Sixteen took hardly longer than one
# here, since they are rows of one batch.
#
# Through the filter itself
# -------------------------
# We never ran the filter to fit it. One can: ``equalizer_biquad`` takes tensors for its
# settings, and gradients flow through the recursion. Send in a single 1 and the output is
# the impulse response; its Fourier transform at our 200 frequencies gives the same error.

SAMPLES = 2**13
click = torch.zeros(SAMPLES, device=device)
click[0] = 0.1  # small, see below
transform = torch.exp(-1j * angles[:, None] * torch.arange(SAMPLES, device=device))


def by_filter(bands):
    waveform = click
    for hertz, gain, q in zip(*bands, strict=True):
        waveform = F.equalizer_biquad(waveform, rate, hertz, gain, q)
    return centred(20 * (transform @ waveform.to(transform.dtype)).abs().log10())


# %%
# Both gradients, at settings half-way, and what each costs.

start = [700.0, 9000.0], [6.0, -6.0], [0.5, 1.0]
knobs = [torch.tensor(part, device=device, requires_grad=True) for part in start]
gradients, seconds = {}, {}
for way in (response, by_filter):

    def gradient(way=way):
        return torch.autograd.grad(rms(way(knobs) - left), knobs)

    gradients[way] = torch.cat(gradient())
    timer = Timer("gradient()", globals={"gradient": gradient})
    seconds[way] = timer.blocked_autorange(min_run_time=0.5).median
off = gradients[by_filter] - gradients[response]
disagreement = (off / gradients[response]).abs().max().item()
ratio = seconds[by_filter] / seconds[response]
print(f"the gradients agree to {disagreement:.0e} (relative)")
print(f"through {SAMPLES:,} samples of filter it takes {ratio:.0f} times as long")

# %%
# The same numbers at many times the price, because a recursion runs sample by sample. So:
# train a linear filter by its frequency response, run it by ``lfilter``. If something that
# is not linear follows, such as a compressor, there is no response, and the gradient has to
# go the long way.
#
# A trap: the filter clips
# ------------------------
# ``lfilter``, and with it every biquad of torchaudio, cuts its output to the range from -1
# to 1 unless told otherwise. A warm boost of speech that already fills the range loses peaks.
# A gradient learns nothing from these peaks either: a sample that is cut does not move.

warm = F.equalizer_biquad(speech, rate, 300.0, 12.0, 0.7)
peak = 8 * F.equalizer_biquad(speech / 8, rate, 300.0, 12.0, 0.7).abs().max()
print(f"{(warm.abs() == 1).float().mean():.1%} of samples cut, true peak {peak:.1f}")

# %%
# So lower the level before the filter and raise it after, or call ``lfilter`` yourself with
# ``clamp=False``, as we do to listen. All three are brought to one loudness.


def equalised(waveform, bands):
    b, a = weights(*bands)
    for k in range(len(b)):
        waveform = F.lfilter(waveform, a[k], b[k], clamp=False)
    return waveform


coloured = equalised(speech, found["2 free"])
sounds = {"dry": speech, "equaliser": coloured, "hall": F.fftconvolve(speech, hall[0])}
for name, waveform in sounds.items():
    waveform = F.resample(waveform[: len(speech)], rate, 22_050)
    sounds[name] = (0.05 * waveform / waveform.square().mean().sqrt()).cpu()

# %%
# First the voice as it was recorded.

Audio(sounds["dry"].numpy(), rate=22_050, normalize=False)

# %%
# Then the same words through the two bands.

Audio(sounds["equaliser"].numpy(), rate=22_050, normalize=False)

# %%
# And in the hall, by convolution with its left channel.

Audio(sounds["hall"].numpy(), rate=22_050, normalize=False)

# %%
# Equally dark, and yet not the same place. An equaliser colours each moment and holds none
# back; the hall also smears sound over time, into the pauses. As a number: how far the level
# of the quietest tenth of all 20 ms frames lies below that of the loudest tenth.

for name, waveform in sounds.items():
    level = 10 * waveform.unfold(0, 441, 441).square().mean(dim=1).log10()
    low, high = level.quantile(torch.tensor([0.1, 0.9])).tolist()
    print(f"{name:9} pauses lie {high - low:4.1f} dB below the voice")

# %%
# The hall fills the pauses, which no setting of an equaliser can do: that takes a filter as
# long as the echo.
#
# The claim, checked
# ------------------

assert difference < 1e-4, difference
assert errors["2 free"][0] < 1.0, errors
assert errors["ten fixed"][0] > 1.2, errors
assert errors["2 free"][1] < errors["2 free"][0] + 0.4, errors
assert disagreement < 1e-3, disagreement
assert ratio > (5 if device.type == "cpu" else 2), ratio

# %%
# Where next
# ----------
# - :doc:`resample_without_aliasing` measures filters that torchaudio designs itself.
# - :doc:`see_sound_waveforms_and_spectrograms` looks at the same voice in time and frequency.
# - ``torchaudio.functional.convolve`` with the impulse response gives the smear too. For
#   other halls to be fitted, look at the OpenAIR library of impulse responses.

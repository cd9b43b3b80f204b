# /// script
# requires-python = ">=3.11"
# dependencies = [
#     "torch==2.14.*",
#     "torchaudio==2.11.*",
#     "pyo",
#     "scipy",
#     "soundfile",
#     "ipython",
#     "matplotlib",
# ]
#
# [tool.gallery]
# modules = ["torchaudio", "torch"]
# level = "beginner"
# task = "signal processing"
# step = 30
# data = ["pyo-sounds"]
# claim = "Taking every fifth sample of a drum loop leaves alias 16 dB below the music, torchaudio's default filter 34 dB, scipy's 35 dB; a Kaiser window leaves over 100 dB, with width 16 or, flat up to 4 kHz, with width 64"
# ///
"""
Resample without aliasing
=========================

A fifth of the samples, a fifth of the work: why not take every fifth sample? Because
what is too high for the new rate does not vanish, it comes back at another pitch. We
hear it, measure how many decibels of it remain in a drum loop, and find out what the
settings of `torchaudio.functional.resample
<https://docs.pytorch.org/audio/stable/generated/torchaudio.functional.resample.html>`_
buy and cost, beside scipy's ``resample_poly``. The loop comes with `pyo
<https://belangeo.github.io/pyo/>`_. The page takes about ten seconds.
"""

from importlib.util import find_spec
from pathlib import Path

import matplotlib.pyplot as plt
import soundfile
import torch
import torchaudio.functional as F
import torchaudio.transforms as T
from IPython.display import Audio
from scipy.signal import resample_poly
from torch.utils.benchmark import Timer

# sphinx_gallery_thumbnail_number = 1
torch.manual_seed(0)
device = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")

# %%
# A rising tone comes down again
# ------------------------------
# At 8,820 samples a second nothing above half of that, 4,410 Hz, can be told from a lower
# tone (this half is called the Nyquist frequency). A tone that rises evenly from 0 to
# 22,050 Hz in three seconds shows what becomes of the rest. Its phase is computed in double
# precision: at 200,000 radians float32 would be wrong by a hundredth.

old_rate, new_rate = 44_100, 8_820
seconds = torch.arange(3 * old_rate, dtype=torch.float64) / old_rate
phase = torch.pi * (old_rate / 2) / 3 * seconds.square()
sweep = torch.sin(phase).float().to(device)  # (time,)
sweeps = {"every fifth sample": sweep[::5]}
sweeps["resample"] = F.resample(sweep, old_rate, new_rate)

# %%
# Both results as spectrograms: frequency upwards, time to the right.

fig, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained", sharey=True)
for ax, (name, waveform) in zip(axes, sweeps.items(), strict=True):
    power = T.Spectrogram(n_fft=256, hop_length=64).to(device)(waveform)
    decibels = 10 * torch.log10(power / power.max() + 1e-9).cpu().numpy()
    style = dict(origin="lower", aspect="auto", vmin=-80, extent=(0, 3, 0, new_rate / 2))
    image = ax.imshow(decibels, **style)
    ax.set(title=name, xlabel="time (s)")
axes[0].set(ylabel="frequency (Hz)")
fig.colorbar(image, ax=axes, label="power below the maximum (dB)")
fig.suptitle("The same rising tone, taken to 8,820 Hz in two ways")
plt.show()

# %%
# On the left the tone is reflected at 4,410 Hz, comes down to zero and rises again, on five
# legs of which only the first is true. The others are as strong: this is **aliasing**, and no
# later filter can tell it from sound. On the right the tone ends when it leaves the range, as it should, with a faint
# reflection at the turn. Listen to the left one.

Audio(sweeps["every fifth sample"].cpu().numpy(), rate=new_rate)

# %%
# Seven ways to a fifth
# ---------------------
# A resampler first removes what is too high, by a windowed sinc filter, then drops samples.
# ``lowpass_filter_width`` is the filter's length, ``rolloff`` its cut-off as a part of the
# Nyquist frequency, and the window may be Hann's (the default) or Kaiser's with a parameter
# ``beta``. The last two settings are those that torchaudio's documentation gives for
# the presets ``kaiser_fast`` and ``kaiser_best`` of librosa's resampler.


def torchaudio_with(**settings):
    return lambda waveform: F.resample(waveform, old_rate, new_rate, **settings)


def scipy_default(waveform):
    found = resample_poly(waveform.cpu().numpy(), 1, 5, axis=-1)
    return torch.from_numpy(found).to(waveform.device)


kaiser = dict(resampling_method="sinc_interp_kaiser")
fast = dict(kaiser, lowpass_filter_width=16, rolloff=0.85, beta=8.555504641634386)
best = dict(kaiser, lowpass_filter_width=64, rolloff=0.9475937167399596)

# %%
# scipy's default is a Kaiser window too, ten zero crossings long, ``beta`` 5.

methods = {"every fifth sample": lambda waveform: waveform[..., ::5]}
methods["scipy"] = scipy_default
methods["default"] = torchaudio_with()
methods["rolloff 0.85"] = torchaudio_with(rolloff=0.85)
methods["width 64"] = torchaudio_with(lowpass_filter_width=64)
methods["Kaiser, 16"] = torchaudio_with(**fast)
methods["Kaiser, 64"] = torchaudio_with(**best, beta=14.769656459379492)
noise = torch.randn(old_rate, device=device)
ours = torchaudio_with(**kaiser, lowpass_filter_width=10, rolloff=1, beta=5.0)(noise)
same = (ours - scipy_default(noise)).abs().max().item()
print(f"scipy's filter set in torchaudio: differs by at most {same:.4f} on unit noise")

# %%
# So the two libraries do the same, with other settings.
#
# What comes through, tone by tone
# --------------------------------
# We send in short tones, one every 50 Hz, and measure the power that comes out. Below
# 4,410 Hz all should pass (0 dB). Above, everything that comes out is alias.

frequency = torch.arange(35, old_rate // 2, 50)  # Hz
turns = frequency[:, None] * torch.arange(old_rate // 4, dtype=torch.float64) / old_rate
tones = torch.sin(2 * torch.pi * turns).float().to(device)  # (tone, time)
gain = {}
for name, method in methods.items():
    power = method(tones)[:, 200:-200].square().mean(1)  # without the ends
    gain[name] = 10 * torch.log10(2 * power + 1e-15).cpu()  # a sine has power 1 / 2

fig, ax = plt.subplots(figsize=(8, 4), layout="constrained")
for name, line in zip(list(methods)[1:], ("-.", "-", "-", "-", "--", "--"), strict=True):
    ax.plot(frequency, gain[name], line, label=name)
ax.axvline(new_rate / 2, color="k", lw=0.8)
ax.set(xlabel="frequency of the tone (Hz)", ylabel="level that comes out (dB)")
ax.set(xlim=(2500, 7000), ylim=(-125, 5), title="Right of the line, what passes is alias")
ax.legend(fontsize="small")
plt.show()

# %%
# Every filter falls, and none falls like a wall. The default and scipy let a tone just above
# the line through at -7 dB. There are three ways to better it, each with a price. A lower
# ``rolloff`` moves the same slope to the left and costs treble. A larger width makes the
# slope steeper and costs time. Kaiser's window lowers what lies at the foot of the slope.
#
# How much alias is in the music?
# -------------------------------
# Tones weigh all frequencies alike, music does not. Resampling is linear, so we can split
# the loop into what fits the new rate and what does not, and resample each alone: the first
# part gives the wanted sound, the second gives *nothing but alias*.

folder = Path(find_spec("pyo").submodule_search_locations[0]) / "examples/snds"
samples, rate = soundfile.read(folder / "drumloop.wav", dtype="float32")
drums = torch.from_numpy(samples)[: len(samples) // 5 * 5].to(device)
spectrum = torch.fft.rfft(drums)
fits = torch.fft.rfftfreq(len(drums), 1 / rate).to(device) < new_rate / 2
wanted = torch.fft.irfft(spectrum * fits, n=len(drums))
too_high = torch.fft.irfft(spectrum * ~fits, n=len(drums))

ends = slice(441, -441)  # the split is not clean at the ends of the recording
alias = {}
for name, method in methods.items():
    powers = [method(part)[ends].square().mean() for part in (too_high, wanted)]
    alias[name] = 10 * torch.log10(powers[0] / powers[1]).item()

# %%
# The alias of every fifth sample, alone. These are hi-hats that were at 5 to 22 kHz.

Audio(too_high[::5][: 3 * new_rate].cpu().numpy(), rate=new_rate)

# %%
# The whole loop with it, and then resampled with the default.

Audio(drums[::5][: 3 * new_rate].cpu().numpy(), rate=new_rate, normalize=False)

# %%
# Duller, and without the hiss:

clean = methods["default"](drums)
Audio(clean[: 3 * new_rate].cpu().numpy(), rate=new_rate, normalize=False)

# %%
# What quality costs
# ------------------
# Beside the alias we note up to which frequency a method is flat (within 1 dB) and its
# time. PyTorch's ``Timer`` repeats, waits for the device and takes the median. Times are
# from one thread and relative to the default; they vary from machine to machine.

cost, flat = {}, {}
for name, method in methods.items():
    timer = Timer("method(drums)", globals=dict(method=method, drums=drums))
    cost[name] = timer.blocked_autorange(min_run_time=0.3).median
    lost = frequency[(gain[name] < -1) & (frequency < new_rate / 2)]
    flat[name] = int(lost.min()) if len(lost) else new_rate // 2
print("                      alias    flat to    time")
for name in methods:
    print(f"{name:19} {alias[name]:6.1f} dB {flat[name]:6} Hz", end="  ")
    print(f"{cost[name] / cost['default']:7.3f} times the default")

# %%
# The default is about 17 dB cleaner than the slice. *Kaiser, 16* is almost 80 dB cleaner
# than that, flat to 200 Hz less, and on one CPU thread takes two to three times as long.
# *Kaiser, 64* keeps 600 Hz more, for several times the work. Width 64 with the Hann window
# costs the same and is much worse: with ``rolloff`` 0.99 its steep slope still ends above
# the line. Cheap, flat, clean: a setting has two of the three.

fig, ax = plt.subplots(figsize=(8, 3.8), layout="constrained")
for name in list(methods)[1:]:
    point = cost[name] / cost["default"], alias[name]
    ax.semilogx(*point, "o", color="C1" if name == "scipy" else "C0")
    label = f"{name}, flat to {flat[name]:,} Hz"
    ax.annotate(label, point, (6, 5), textcoords="offset points", fontsize="small")
ax.axhline(alias["every fifth sample"], color="0.5", ls=":", label="every fifth sample")
ax.set(xlabel="time (default = 1)", ylabel="alias relative to music (dB)", xlim=(0.5, 150))
ax.set(title="Cleanness of a drum loop at 8,820 Hz against cost")
ax.xaxis.set_major_formatter("{x:g}")
ax.legend()
plt.show()

# %%
# Is 34 dB enough? For a network that hears telephone speech, mostly. To publish music, or
# to train a model that generates sound, hardly.
#
# Rates that do not go well together
# ----------------------------------
# 44,100 to 8,820 is 5 to 1 and needs one filter. Other pairs need one filter for each of
# ``new / gcd`` positions between samples, and each has ``old / gcd`` taps or more.
# ``T.Resample`` makes that kernel once; ``F.resample`` makes it again at every call.

for target in (8_820, 8_000, 8_004):
    kernel = T.Resample(old_rate, target).kernel
    size = kernel.numel() * kernel.element_size() / 1e6
    print(
        f"to {target} Hz: {kernel.shape[0]:4} filters of {kernel.shape[2]}: {size:.4f} MB"
    )
    assert kernel.shape[0] == target // torch.tensor(target).gcd(torch.tensor(old_rate))

# %%
# Four hertz more, sixty times the memory. Who stretches training data by random factors
# should round the rates so that they share a large divisor (at 8,003 Hz, a prime, it would
# be over a gigabyte).
#
# The wrong label
# ---------------
# A tensor does not know its rate. Somebody hands on our 8,820 Hz loop, the next one takes
# it for the common 11,025 Hz. No error:

semitones = 12 * torch.log2(torch.tensor(11_025 / new_rate)).item()
print(
    f"{len(clean) / new_rate:.2f} s of drums become {len(clean) / 11_025:.2f} s, ", end=""
)
print(f"{semitones:.1f} semitones higher")
Audio(clean[: 3 * new_rate].cpu().numpy(), rate=11_025, normalize=False)

# %%
# Faster and higher by the same factor. On drums the ear may let it pass, a network learns
# it. The duration gives it away: print seconds, not samples, beside those of the file.
#
# The claim
# ---------

assert -17 < alias["every fifth sample"] < -15, alias
assert -35 < alias["default"] < -33 and -37 < alias["scipy"] < -34, alias
assert max(alias["Kaiser, 16"], alias["Kaiser, 64"]) < -100, alias
assert flat["Kaiser, 64"] > 4_000, flat

# %%
# Where next
# ----------
# - :doc:`see_sound_waveforms_and_spectrograms` explains the pictures.
# - :doc:`classify_drum_hits_from_raw_sound` resamples recordings of many rates before it
#   learns from them.
# - For a large set put ``T.Resample(48_000, 16_000)`` behind a data set such as
#   ``torchaudio.datasets.VCTK_092``, on the device, one object for all batches.

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
# modules = ["torchaudio", "torch"]
# level = "beginner"
# task = "signal processing"
# step = 10
# data = ["pyo-sounds"]
# claim = "For windows of 12 to 372 ms a flute partial is 2 / window Hz wide (within 10 %) and a drum hit's smear times that width stays above 1; with phase the speech returns at over 100 dB SNR, without it below 0 dB"
# ///
"""
See sound: waveforms and spectrograms
=====================================

A waveform says *when* air moved, a spectrogram says *which pitch* sounded when. How
finely it can say both depends on one number, the window length. We measure that trade
on a flute and a drum, then turn spectrograms back into sound. The recordings come with
`pyo <https://belangeo.github.io/pyo/>`_; the tools are `Spectrogram
<https://docs.pytorch.org/audio/stable/generated/torchaudio.transforms.Spectrogram.html>`_
and `GriffinLim
<https://docs.pytorch.org/audio/stable/generated/torchaudio.transforms.GriffinLim.html>`_.
The page runs in a few seconds.
"""

from importlib.util import find_spec
from pathlib import Path

import matplotlib.pyplot as plt
import soundfile
import torch
import torchaudio.functional as F
import torchaudio.transforms as T
from IPython.display import Audio

# sphinx_gallery_thumbnail_number = 2
torch.manual_seed(0)
device = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")

# %%
# Read three sounds
# -----------------
# ``find_spec`` tells where pyo keeps its files without importing it. We read them with
# soundfile, because ``torchaudio.load`` needs torchcodec and FFmpeg libraries that a
# fresh machine lacks. All three are resampled to one rate, so one second is the same
# number of samples everywhere.
package = Path(find_spec("pyo").submodule_search_locations[0])
files = dict(speech="baseballmajeur_m.aif", flute="flute.aif", drums="drumloop.wav")
sample_rate = 22_050  # samples a second
sounds = {}
for name, file in files.items():
    samples, rate = soundfile.read(package / "examples/snds" / file, dtype="float32")
    sounds[name] = F.resample(torch.from_numpy(samples), rate, sample_rate).to(device)
    print(f"{name:7}{len(samples):,} samples at {rate} Hz: {len(samples) / rate:.1f} s")
speech, flute, drums = sounds.values()

# %%
# A waveform is a one-dimensional float tensor between -1 and 1. Before any plot: listen.
# First two seconds of the speech.
Audio(speech[: 2 * sample_rate].cpu().numpy(), rate=sample_rate)

# %%
# Then two seconds of the flute: one note at a time, each held steady.
Audio(flute[: 2 * sample_rate].cpu().numpy(), rate=sample_rate)

# %%
# And two seconds of the drums: nothing is held, everything is an onset.
Audio(drums[: 2 * sample_rate].cpu().numpy(), rate=sample_rate)

# %%
# The waveform shows when
# -----------------------
# Draw each sound twice: whole, and 20 ms of it under the magnifying glass.
fig, axes = plt.subplots(3, 2, figsize=(9, 5.5), layout="constrained")
for (whole, zoom), name, moment in zip(axes, sounds, (3.2, 2.4, 2.795), strict=True):
    waveform = sounds[name].cpu()
    part = waveform[int(moment * sample_rate) :][: sample_rate // 50]
    whole.plot(torch.arange(len(waveform)) / sample_rate, waveform, linewidth=0.4)
    zoom.plot(1000 * torch.arange(len(part)) / sample_rate, part, color="C1")
    whole.set(ylabel=f"{name}\namplitude", ylim=(-1, 1))
axes[2, 0].set(xlabel="time (s)")
axes[2, 1].set(xlabel="time (ms)")
fig.suptitle("Waveforms of speech, flute and drums: whole (left) and 20 ms (right)")
plt.show()

# %%
# The left column shows loudness over time: syllables, notes, hits. Pitch hides in the
# right column: the flute repeats itself about nine times in 20 ms, so it sounds at about
# 450 Hz. The drum hit repeats nothing. Counting periods by eye works for one note. For
# anything else there is the spectrogram.
#
# The spectrogram shows which pitch, when
# ---------------------------------------
# Cut the waveform into short overlapping pieces, fade each piece in and out with a
# window, and take the Fourier transform of each. The squared magnitudes become the
# columns of a picture. Ears judge ratios, so we show decibels: 10 dB is a factor of ten
# in power.


def draw(ax, waveform, window_length):
    transform = T.Spectrogram(n_fft=window_length, hop_length=window_length // 8)
    power = transform.to(device)(waveform)  # (frequency, time)
    decibels = 10 * torch.log10(power / power.max() + 1e-9).cpu().numpy()
    extent = (0, len(waveform) / sample_rate, 0, sample_rate / 2000)
    return ax.imshow(decibels, origin="lower", aspect="auto", vmin=-60, extent=extent)


# %%
# The same 46 ms window (1,024 samples) serves all three sounds.
fig, axes = plt.subplots(3, 1, figsize=(9, 5.5), layout="constrained", sharex=True)
for ax, (name, waveform) in zip(axes, sounds.items(), strict=True):
    image = draw(ax, waveform, window_length=1024)
    ax.set(ylabel=f"{name}\nfrequency (kHz)", ylim=(0, 8))
axes[2].set(xlabel="time (s)", xlim=(0, 5.4))
fig.colorbar(image, ax=axes, label="power below the maximum (dB)")
fig.suptitle("Spectrograms of speech, flute and drums")
plt.show()

# %%
# The flute is a ladder: a note and its multiples, the partials, lie as level rungs, and
# the melody is the rungs jumping. The drums are upright walls: each hit holds all
# frequencies at one moment. Speech has both, slanting ladders for the vowels and hazy
# walls for sounds such as *s*.
#
# A longer window: sharper pitch, blurred time
# --------------------------------------------
# Now the only free choice, the window length, in both directions: 12 ms and 186 ms.
fig, axes = plt.subplots(2, 2, figsize=(9, 5.5), layout="constrained", sharey=True)
for row, name in zip(axes, ("flute", "drums"), strict=True):
    for ax, window_length in zip(row, (256, 4096), strict=True):
        image = draw(ax, sounds[name][: 2 * sample_rate], window_length)
        ax.set(title=f"{name}, {window_length / 22.05:.0f} ms window", ylim=(0, 3))
fig.supxlabel("time (s)")
fig.supylabel("frequency (kHz)")
fig.colorbar(image, ax=axes, label="power below the maximum (dB)")
fig.suptitle("Short windows keep time, long windows keep pitch")
plt.show()

# %%
# Read the rows crosswise. The short window draws the drum hits as thin walls and the
# flute as thick bars. The long window makes the flute's rungs thin and smears every drum
# hit over a tenth of a second, half of it *before* the stick landed.
#
# Measure the trade
# -----------------
# How wide is a line? Take its full width at -6 dB, where the amplitude has fallen to a
# half. For the Hann window (torchaudio's default) theory is simple: a steady tone is
# **2 / window** hertz wide (Harris, 1978, table 1) and an instant click **window / 2**
# seconds long. Their product is 1, whatever the window length.


def width(power, step):  # of the highest peak, at -6 dB: a quarter of its power
    peak = int(power.argmax())
    below = (power < power[peak] / 4).nonzero().squeeze(1)
    left, right = below[below < peak].max(), below[below > peak].min()
    return float(right - left - 1) * step


def partial_width(window_length, n_fft=2**17):  # in Hz, of the note around 2.45 s
    note = flute[int(2.45 * sample_rate) - window_length // 2 :][:window_length]
    frame = note * torch.hann_window(window_length, device=device)
    return width(torch.fft.rfft(frame, n=n_fft).abs().square(), sample_rate / n_fft)


def onset_smear(window_length, hop_length=8):  # in seconds, of the hit at 2.8 s
    hit = drums[int(2.4 * sample_rate) : int(3.2 * sample_rate)]
    power = T.Spectrogram(window_length, hop_length=hop_length).to(device)(hit)
    return width(power.sum(0), hop_length / sample_rate)


# %%
# One held flute note and one drum hit, six windows. Beside each measurement stands the
# theory, which knows nothing of flutes or drums.
lengths = (256, 512, 1024, 2048, 4096, 8192)
resolution = [(n / sample_rate, partial_width(n), onset_smear(n)) for n in lengths]

print("window    flute partial (theory)   drum hit (theory)   product")
for window, df, dt in resolution:
    print(f"{1000 * window:3.0f} ms   {df:7.1f} Hz ({2 / window:5.1f} Hz)", end="   ")
    print(f"{1000 * dt:6.1f} ms ({500 * window:5.1f} ms)   {df * dt:5.2f}")

# %%
# Every window is one point in the plane of time and frequency resolution. Low and left
# would be the perfect spectrogram.
fig, ax = plt.subplots(figsize=(7.5, 4.8), layout="constrained")
ax.fill_between([5, 500], 1, [200, 2], color="0.85", label="no Hann window gets here")
for window, df, dt in resolution:
    ax.loglog(1000 * dt, df, "o", color="C0")
    label = f"{1000 * window:.0f} ms window"
    ax.annotate(label, (1000 * dt, df), (8, 4), textcoords="offset points")
for axis in (ax.xaxis, ax.yaxis):
    axis.set_major_formatter("{x:g}")
ax.set(xlabel="smear of a drum hit in time (ms)", xlim=(5, 500), ylim=(3, 300))
ax.set(ylabel="width of a flute partial (Hz)", title="Sharp in time or in pitch")
ax.legend(loc="lower left")
plt.show()

# %%
# The points slide along the edge and never cross it. The flute keeps to theory at every
# length. The drum leaves it at short windows: a real hit lasts some milliseconds itself.
# Other windows move the edge only a little; a Gaussian, the best in Gabor's sense, has
# the product 0.88. So there is no best window, only a question. Asking for onsets? Short.
# Asking for pitch? Long. Speech work settles near 25 ms.
#
# Back to sound: what the picture left out
# ----------------------------------------
# ``power=None`` keeps the complex numbers, magnitude and phase. The picture shows only
# magnitude. From both, `InverseSpectrogram
# <https://docs.pytorch.org/audio/stable/generated/torchaudio.transforms.InverseSpectrogram.html>`_
# rebuilds the waveform; from magnitude alone, Griffin-Lim has to guess a phase that fits.
# The baseline is a random phase.
settings = dict(n_fft=1024, hop_length=256)
analyse = T.Spectrogram(**settings, power=None).to(device)
invert = T.InverseSpectrogram(**settings).to(device)
griffin_lim = T.GriffinLim(**settings, power=1, length=len(speech)).to(device)

spectrogram = analyse(speech)  # complex
magnitude = spectrogram.abs()
random = torch.polar(magnitude, 2 * torch.pi * torch.rand_like(magnitude))
rebuilt = {"true phase": invert(spectrogram, len(speech))}
rebuilt["Griffin-Lim"] = griffin_lim(magnitude)
rebuilt["random phase"] = invert(random, len(speech))

# %%
# Two yardsticks, both signal-to-noise ratios in decibels: on the waveform, and on the
# magnitudes of the spectrogram.


def snr(reference, estimate):
    error = (reference - estimate).square().sum()
    return float(10 * torch.log10(reference.square().sum() / error))


scores = {}
print("               waveform  spectrogram")
for name, waveform in rebuilt.items():
    scores[name] = snr(speech, waveform), snr(magnitude, analyse(waveform).abs())
    print(f"{name:13}", *(f"{score:9.1f} dB" for score in scores[name]))

# %%
# With phase nothing is lost but float32 rounding. Without it, Griffin-Lim scores *below
# zero* on the waveform, worse than handing in silence. Now hear what that number is
# worth.
Audio(rebuilt["Griffin-Lim"][: 2 * sample_rate].cpu().numpy(), rate=sample_rate)

# %%
# The same words in the same voice, a little metallic. Why the two judges disagree
# shows in 15 ms of the result.
pair = {"original": speech, "Griffin-Lim": rebuilt["Griffin-Lim"]}
start = int(3.2 * sample_rate)
fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
for style, (label, waveform) in zip(("-", "--"), pair.items(), strict=True):
    part = waveform[start:][: sample_rate // 66].cpu()
    left.plot(1000 * torch.arange(len(part)) / sample_rate, part, style)
    decibels = 20 * torch.log10(analyse(waveform).abs()[:, start // 256]).cpu()
    kilohertz = torch.linspace(0, sample_rate / 2000, len(decibels))
    right.plot(kilohertz, decibels, style, label=label)
left.set(xlabel="time (ms)", ylabel="amplitude")
right.set(xlabel="frequency (kHz)", ylabel="magnitude (dB)", xlim=(0, 5))
right.legend()
fig.suptitle("Griffin-Lim: another waveform (left), the same spectrum (right)")
plt.show()

# %%
# Each partial came back with the right strength and a shifted start. The ear hardly
# minds, the subtraction in the waveform SNR does. Judge a vocoder by spectra or by
# listening, never by waveform SNR.
#
# Three traps at the door
# -----------------------
# **Channels last.** soundfile returns ``(time, channels)``; torchaudio takes the *last*
# axis for time. Sometimes that fails loudly, sometimes not at all.
stereo, rate = soundfile.read(package / "lib/snds/IRMediumHallStereo.wav")
stereo = torch.from_numpy(stereo).float()
try:
    T.Spectrogram()(stereo)
except RuntimeError as error:
    print("Spectrogram:", str(error)[:64], "...")
print("resampled:", tuple(F.resample(stereo, rate, sample_rate).shape))
print("transposed, resampled:", tuple(F.resample(stereo.T, rate, sample_rate).shape))

# %%
# Resampling along the wrong axis merged left and right and changed no duration, without a
# word. Look at the shape after every read: the long axis must stand last.
#
# **Integer samples, wrong rate.** Files store 16-bit integers; a cast to float does not
# rescale them. And a tensor does not know its sample rate: whoever passes a wrong one
# gets a wrong pitch.
pcm, rate = soundfile.read(package / "examples/snds/flute.aif", dtype="int16")
pcm = torch.from_numpy(pcm)
for label, samples in (("only cast", pcm.float()), ("divided", pcm / 2**15)):
    print(f"{label}: {20 * torch.log10(samples.square().mean().sqrt()):.1f} dB")
loudest = int(T.Spectrogram(4096)(pcm / 2**15).mean(1).argmax())
for hz in (rate, sample_rate):
    print(f"at {hz} Hz: {len(pcm) / hz:.1f} s, loudest {loudest * hz / 4096:.0f} Hz")

# %%
# A forgotten division by 32,768 lifts everything by 90 dB and silently breaks each
# threshold set in decibels. A wrong rate stretches the duration and drops the pitch by
# the same factor: compare the duration with the one your player shows, and always pass
# ``sample_rate`` to ``MelSpectrogram``, which otherwise assumes 16,000 Hz.
#
# The claim
# ---------
for window, df, dt in resolution:
    assert abs(df * window / 2 - 1) < 0.10 and df * dt > 1, (window, df, dt)
assert scores["true phase"][0] > 100 and scores["Griffin-Lim"][0] < 0, scores
assert scores["Griffin-Lim"][1] > scores["random phase"][1] + 10, scores

# %%
# Where next
# ----------
# - :doc:`classify_drum_hits_from_raw_sound` lets a network listen to the waveform itself.
# - ``torchaudio.transforms.MelSpectrogram`` and ``MFCC`` squeeze a spectrogram further,
#   for recognition.
# - For a large set of recordings put
#   ``torchaudio.datasets.SPEECHCOMMANDS(root, download=True)`` in place of the three
#   files.

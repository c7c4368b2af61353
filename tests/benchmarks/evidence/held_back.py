"""The two sets that nothing is tuned on, of kinds that the others are not: photographed surfaces, and sounds."""

from __future__ import annotations

import hashlib
import io
import random
import re
import shutil
import struct
import subprocess
import tempfile
import wave
import zipfile
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tests.benchmarks.evidence.samples import Sample, debian_file
from transfer_cli.errors import UserError

_TEXTURES = "/usr/share/games/ufoai/base/0textures.pk3"
_MATERIALS = {
    "brick": "brick",
    "carpet": "carpet",
    "concrete": "conc|crete",
    "dirt": "dirt|soil|mud",
    "grass": "grass",
    "metal": "metal|mtl",
    "rock": "rock|stone",
    "roof": "roof",
    "street": "street|asphalt",
    "tile": "tile",
    "wallpaper": "wallpaper",
    "wood": "wood",
}
"""Classes, and what the names of their files say."""
_NO_SURFACE = r"dirty|textile|crate|door|window|light|sign|fence|fnce|box|_(nm|sm|gm|rm|fx\d*)$"
"""Things rather than materials, and maps of relief and gloss."""
_CROP_PIXELS = 128

_SOUNDFONT = "/usr/share/sounds/sf2/TimGM6mb.sf2"
_FAMILIES = [
    *("piano", "chromatic_percussion", "organ", "guitar", "bass", "strings", "ensemble", "brass"),
    *("reed", "pipe", "synth_lead", "synth_pad", "synth_effects", "ethnic", "percussive", "sound_effects"),
]
"""Of the 128 instruments of General MIDI, eight each."""
_NOTES = 24
_RATE = 16000
_TICKS = 480
"""Of a second: a quarter note at 60 a minute."""
_BANDS = 96


def materials() -> list[Sample]:
    """Photographs of surfaces, four crops each, the textures of the game UFO: Alien Invasion in Debian.

    All that a name shares but for its last letters (grass003, grass003_way_l2d) stays in one split.
    """
    archive = zipfile.ZipFile(debian_file(_TEXTURES, "ufoai-textures", "materials"))
    samples, seen = [], set()
    for name in sorted(archive.namelist()):
        stem, ending = Path(name).stem.lower(), Path(name).suffix.lower()
        labels = [label for label, words in _MATERIALS.items() if re.search(words, stem)]
        if len(labels) != 1 or re.search(_NO_SURFACE, stem) or ending not in (".jpg", ".png", ".tga"):
            continue
        content = archive.read(name)
        digest = hashlib.sha256(content).hexdigest()
        if digest in seen:
            continue
        seen.add(digest)
        variants = re.match(r".*\d", stem)
        group = f"{Path(name).parent}/{variants.group() if variants else stem}"
        samples += [Sample(labels[0], group, partial(_quarter, content, number)) for number in range(4)]
    return samples


def _quarter(content: bytes, number: int) -> Image.Image:
    """The quarter of that number, at most `_CROP_PIXELS` wide."""
    image = Image.open(io.BytesIO(content)).convert("RGBA").convert("RGB")
    across, down = image.width // 2, image.height // 2
    left, top = (number % 2) * across, (number // 2) * down
    quarter = image.crop((left, top, left + across, top + down))
    quarter.thumbnail((_CROP_PIXELS, _CROP_PIXELS))
    return quarter


def instruments() -> list[Sample]:
    """A second of each of 24 notes of 128 instruments as a mel spectrogram; the class is the family of instruments.

    FluidSynth plays Debian's TimGM6mb soundfont.
    """
    debian_file(_SOUNDFONT, "timgm6mb-soundfont", "instruments")
    if shutil.which("fluidsynth") is None:
        raise UserError("evidence.sets: instruments needs the program fluidsynth: apt-get install fluidsynth.")
    samples = []
    for program in range(128):
        family = _FAMILIES[program // 8]
        for number, sound in enumerate(_played(program)):
            samples.append(Sample(family, f"{program}_{number}", partial(_spectrogram, sound)))
    return samples


def _played(program: int) -> NDArray[np.float32]:
    """Notes of one instrument at different pitches and strengths, [24, samples of a second]."""
    choice = random.Random(program)
    notes = [(pitch, choice.randint(50, 120)) for pitch in choice.sample(range(36, 96), _NOTES)]
    with tempfile.TemporaryDirectory() as folder:
        score, sound = Path(folder, "notes.mid"), Path(folder, "notes.wav")
        score.write_bytes(_score(program, notes))
        command = ["fluidsynth", "-ni", "-q", "-r", str(_RATE), "-F", str(sound), _SOUNDFONT, str(score)]
        subprocess.run(command, check=True, capture_output=True)
        with wave.open(str(sound)) as opened:
            stereo = np.frombuffer(opened.readframes(opened.getnframes()), "<i2").reshape(-1, opened.getnchannels())
    mono = stereo.mean(1, dtype=np.float32)
    mono = np.pad(mono, (0, max(0, _NOTES * _RATE - len(mono))))
    return mono[: _NOTES * _RATE].reshape(_NOTES, _RATE)


def _score(program: int, notes: list[tuple[int, int]]) -> bytes:
    """A MIDI file that plays (pitch, strength) one a second, each for 0.7 s."""
    on = round(_TICKS * 0.7)
    track = b"\x00\xff\x51\x03\x0f\x42\x40" + bytes([0, 0xC0, program])
    for number, (pitch, strength) in enumerate(notes):
        pause = _length(0 if number == 0 else _TICKS - on)
        track += pause + bytes([0x90, pitch, strength]) + _length(on) + bytes([0x80, pitch, 0])
    track += _length(_TICKS) + b"\xff\x2f\x00"
    return b"MThd" + struct.pack(">IHHH", 6, 0, 1, _TICKS) + b"MTrk" + struct.pack(">I", len(track)) + track


def _length(ticks: int) -> bytes:
    """A number as MIDI writes it, seven bits a byte."""
    return bytes([0x80 | ticks >> 7, ticks & 0x7F]) if ticks > 0x7F else bytes([ticks])


def _spectrogram(sound: NDArray[np.float32]) -> Image.Image:
    """Loudness in decibels by mel band (up) and time (across), the 60 loudest of them from black to white."""
    from scipy.signal import stft

    _, _, spectrum = stft(sound, _RATE, nperseg=1024, noverlap=1024 - _RATE // _BANDS, boundary=None)
    power = _mel_bands(spectrum.shape[0]) @ np.abs(spectrum) ** 2
    decibels = 10 * np.log10(power + 1e-6)
    grey = np.clip((decibels - decibels.max()) / 60 + 1, 0, 1)
    return Image.fromarray(np.rint(grey[::-1] * 255).astype(np.uint8))


def _mel_bands(bins: int) -> NDArray[np.float64]:
    """Triangles of equal width in mel over the bins of a spectrum, [96, bins]."""
    top = 2595 * np.log10(1 + _RATE / 2 / 700)
    edges = 700 * (10 ** (np.linspace(0, top, _BANDS + 2) / 2595) - 1)
    places = np.linspace(0, _RATE / 2, bins)
    rise = (places - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    fall = (edges[2:, None] - places) / (edges[2:] - edges[1:-1])[:, None]
    return np.asarray(np.maximum(0, np.minimum(rise, fall)))

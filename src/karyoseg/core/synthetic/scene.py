"""What a synthetic image shows: nuclei, surroundings, optics and camera, as plain numbers."""

from __future__ import annotations

from dataclasses import dataclass

_FRACTIONS = ("clustering", "overlap", "mitotic", "apoptotic", "lobed", "alignment", "dome")
_NON_NEGATIVE = (
    "n_nuclei",
    "diameter_spread",
    "roughness",
    "brightness_spread",
    "chromatin",
    "chromocentres",
    "nucleoli",
    "rim",
    "defocus",
    "psf_sigma",
    "haze",
    "background",
    "gradient",
    "vignette",
    "debris",
    "ghosts",
    "read_noise",
    "offset",
    "exposure",
)
_BIT_DEPTHS = range(8, 17)


@dataclass(frozen=True)
class NucleiScene:
    """Parameters of one synthetic image.

    Brightness is relative: 1 is the plateau of a typical interphase nucleus.

    Parameters
    ----------
    shape : tuple of int
        Height and width of the image [px].
    n_nuclei : int
        Number of nuclei to place; fewer appear when the field is full.
    diameter : float
        Median equivalent diameter of interphase nuclei [px].
    diameter_spread : float
        Standard deviation of the logarithm of the diameter; draws are cut at two standard deviations.
    elongation : float
        Median ratio of long to short axis, at least 1.
    roughness : float
        Amplitude of the outline's Fourier harmonics relative to the radius.
    lobed : float
        Fraction of nuclei with an indentation (kidney shape).
    alignment : float
        0: random orientations, 1: all long axes parallel.
    clustering : float
        Fraction of nuclei placed in contact with another one.
    overlap : float
        Largest part of a nucleus that its neighbours may cover.
    mitotic : float
        Fraction of bright, compact, elongated metaphase or anaphase plates.
    apoptotic : float
        Fraction of small, very bright, fragmented nuclei.
    brightness_spread : float
        Standard deviation of the logarithm of nucleus brightness.
    chromatin : float
        Contrast of the chromatin texture (standard deviation relative to the mean).
    chromocentres : float
        Mean number of bright spots per nucleus.
    nucleoli : float
        Mean number of dark spots per nucleus.
    rim : float
        Extra brightness of the nuclear periphery.
    dome : float
        0: flat nuclei (spread cells), 1: round ones, dimmer towards the edge.
    defocus : float
        Scale of the half-normal extra blur of each nucleus (sigma) [px].
    psf_sigma : float
        Blur of the whole image, optics and focus error together (sigma) [px].
    haze : float
        Out-of-focus light around nuclei, relative to their own light.
    background : float
        Even background light.
    gradient : float
        Relative variation of the background across the field.
    vignette : float
        Relative loss of illumination in the dimmest corner.
    debris : int
        Number of unlabelled specks.
    ghosts : int
        Number of unlabelled nuclei far out of focus.
    photons : float
        Photo-electrons at brightness 1: fewer give more shot noise.
    read_noise : float
        Camera noise (standard deviation) [photo-electrons].
    offset : float
        Grey value of darkness.
    bit_depth : int
        8 gives uint8; 9 to 16 give uint16 with that many bits in use.
    exposure : float
        Grey value of brightness 1 relative to full scale; what is brighter than full scale saturates.
    """

    shape: tuple[int, int] = (256, 256)
    n_nuclei: int = 30
    diameter: float = 28.0
    diameter_spread: float = 0.15
    elongation: float = 1.3
    roughness: float = 0.03
    lobed: float = 0.1
    alignment: float = 0.0
    clustering: float = 0.35
    overlap: float = 0.15
    mitotic: float = 0.03
    apoptotic: float = 0.02
    brightness_spread: float = 0.25
    chromatin: float = 0.08
    chromocentres: float = 0.0
    nucleoli: float = 1.5
    rim: float = 0.0
    dome: float = 0.4
    defocus: float = 0.5
    psf_sigma: float = 0.9
    haze: float = 0.1
    background: float = 0.08
    gradient: float = 0.3
    vignette: float = 0.15
    debris: int = 3
    ghosts: int = 0
    photons: float = 150.0
    read_noise: float = 3.0
    offset: float = 4.0
    bit_depth: int = 8
    exposure: float = 0.35

    def __post_init__(self) -> None:
        """Refuse values no image can have."""
        wrong = [name for name in _FRACTIONS if not 0 <= getattr(self, name) <= 1]
        wrong += [name for name in _NON_NEGATIVE if getattr(self, name) < 0]
        wrong += [name for name in ("diameter", "photons") if getattr(self, name) <= 0]
        if min(self.shape) < 1:
            wrong.append("shape")
        if self.elongation < 1:
            wrong.append("elongation")
        if self.bit_depth not in _BIT_DEPTHS:
            wrong.append("bit_depth")
        if wrong:
            found = ", ".join(f"{name}={getattr(self, name)!r}" for name in wrong)
            raise ValueError(f"NucleiScene: out of range: {found}. See the class for what each one means.")

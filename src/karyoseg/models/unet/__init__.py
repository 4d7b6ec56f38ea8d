"""U-Nets that map how likely each pixel is part of a nucleus: the foreground maps of the full prediction."""

from karyoseg.models.unet.foreground import ForegroundModel

__all__ = ["ForegroundModel"]

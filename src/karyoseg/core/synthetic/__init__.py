"""Synthetic fluorescence nuclei with exact label images.

A :class:`NucleiScene` says what is on the slide and how the microscope sees it, :func:`render_scene` draws
it. :data:`SAMPLE_CLASSES` holds typical scenes, :func:`draw_scene` varies them from image to image.
"""

from karyoseg.core.synthetic.presets import SAMPLE_CLASSES, SceneKind, draw_scene
from karyoseg.core.synthetic.render import render_scene
from karyoseg.core.synthetic.scene import NucleiScene

__all__ = ["SAMPLE_CLASSES", "NucleiScene", "SceneKind", "draw_scene", "render_scene"]

"""Synthetic label images that look like those of images nobody annotated.

What a presegmentation found in the images of one style says how large, how dense and how close to each other their
nuclei are (:mod:`~karyoseg.core.mask_synthesis.population`); nuclei that somebody did annotate, in other images, and
simulated ones lend their shapes. See R. Hollandi et al., "nucleAIzer: A Parameter-free Deep Learning Framework for
Nucleus Segmentation Using Image Style Transfer", Cell Systems 10 (2020), doi:10.1016/j.cels.2020.04.003.
"""

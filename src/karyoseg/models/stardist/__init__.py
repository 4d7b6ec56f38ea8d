"""StarDist: instance segmentation by star-convex polygons.

References
----------
.. [1] Schmidt et al., "Cell Detection with Star-Convex Polygons", MICCAI 2018. :doi:`10.1007/978-3-030-00934-2_30`
"""

import os

# TensorFlow reads it when it is imported: without it every run starts with a page of remarks on the hardware.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import os

from karyoseg.models.stardist.segmenter import StarDistSegmenter

# Read when TensorFlow and StarDist are imported, which happens at the first use of a network.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# StarDist's suppression starts a parallel loop per candidate; threads that wait for the next one by spinning make it
# 20 times slower as soon as another process wants the processor.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__all__ = ["StarDistSegmenter"]

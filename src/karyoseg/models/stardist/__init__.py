"""StarDist: instance segmentation by star-convex polygons.

References
----------
.. [1] Schmidt et al., "Cell Detection with Star-Convex Polygons", MICCAI 2018. :doi:`10.1007/978-3-030-00934-2_30`
"""

import os

# TensorFlow reads it when it is imported. Its errors also come as exceptions; its log calls remarks errors, too.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from karyoseg.models.stardist.segmenter import StarDistSegmenter

__all__ = ["StarDistSegmenter"]

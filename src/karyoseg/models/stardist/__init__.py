"""StarDist: instance segmentation by star-convex polygons.

References
----------
.. [1] Schmidt et al., "Cell Detection with Star-Convex Polygons", MICCAI 2018. :doi:`10.1007/978-3-030-00934-2_30`
"""

from karyoseg.models.stardist.segmenter import StarDistSegmenter

__all__ = ["StarDistSegmenter"]

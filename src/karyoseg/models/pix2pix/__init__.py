"""Style transfer by pix2pix: images of one style from label images, to train on styles that nobody annotated.

References
----------
.. [1] Hollandi et al., "nucleAIzer: A Parameter-free Deep Learning Framework for Nucleus Segmentation Using Image Style
   Transfer", Cell Systems 10 (2020). :doi:`10.1016/j.cels.2020.04.003`
.. [2] Isola et al., "Image-to-Image Translation with Conditional Adversarial Networks", CVPR 2017.
   :doi:`10.1109/CVPR.2017.632`
"""

from karyoseg.models.pix2pix.generate import StyleGenerator
from karyoseg.models.pix2pix.training import deferred_training

__all__ = ["StyleGenerator", "deferred_training"]

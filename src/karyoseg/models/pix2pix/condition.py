"""What the generator is told of a label image.

A binary mask hides where one nucleus ends and a touching one begins, so images made from it have blobs where the labels
have several objects. The default condition adds the borders and how deep inside of its object a pixel lies.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from scipy import ndimage as ndi
from skimage.segmentation import find_boundaries

Condition = Literal["instance", "binary"]

#: Channels of each kind of condition.
N_CHANNELS: dict[Condition, int] = {"instance": 3, "binary": 1}


def encode_labels(labels: np.ndarray, condition: Condition = "instance") -> np.ndarray:
    """Turn a label image into the channels that the generator sees.

    Parameters
    ----------
    labels : (Y, X) integer ndarray
        Label image; 0 and below is background.
    condition : {"instance", "binary"}
        ``binary``: foreground, as in the original work. ``instance``: foreground, the outermost pixels of each object,
        and the distance to them, in shares of its largest value in the object. An object cut by the image border has
        no outline there: what is beyond is unknown.

    Returns
    -------
    (Y, X, C) float32 ndarray
        -1 for no, 1 for yes; the distance from -1 outside to 1 in the middle.

    Examples
    --------
    >>> labels = np.zeros((5, 6), int)
    >>> labels[1:4, 1:3], labels[1:4, 3:5] = 1, 2
    >>> (encode_labels(labels)[2, :, 0] > 0).astype(int).tolist()
    [0, 1, 1, 1, 1, 0]
    """
    labels = np.maximum(labels, 0)
    inside = labels > 0
    channels = [inside]
    if condition == "instance":
        border = find_boundaries(labels, mode="inner")
        channels += [border, _depth(labels, inside & ~border)]
    return np.stack([2 * channel.astype(np.float32) - 1 for channel in channels], axis=-1)


def _depth(labels: np.ndarray, core: np.ndarray) -> np.ndarray:
    """Distance to the outline of the own object, in shares of its largest value; 0 outside, 1 in the middle."""
    if core.all():  # an object that fills the image has no outline in it
        return np.ones(labels.shape, np.float32)
    distance = ndi.distance_transform_edt(core) + (labels > 0)  # the outline itself is one pixel deep
    deepest = np.zeros(int(labels.max()) + 1, np.float32)
    np.maximum.at(deepest, labels.ravel(), distance.ravel().astype(np.float32))
    deepest[0] = 1
    return (distance / deepest[labels]).astype(np.float32)

"""From microscopy images to evaluated nucleus segmentation models."""

import os

# OpenMP reads this when the first library that uses it is loaded (scikit-learn, long before StarDist). StarDist starts
# a parallel loop per candidate; threads that wait for the next one by spinning make its suppression of overlapping
# candidates 20 times slower as soon as anything else wants the processor.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Without this, TensorFlow leaves oneDNN off on processors that lack certain instructions. On an AMD Zen 3, a training
# step with it took 12 % (default network) to 22 % (16 filters) less time.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

__version__ = "0.1.0"

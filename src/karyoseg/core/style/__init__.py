"""The look of images: features that describe it, how far two looks are apart, and groups of images that look alike."""

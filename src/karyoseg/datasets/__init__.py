"""Kedro input/output classes, all on fsspec paths.

Each is imported when it is first used, for together they bring much that few commands need. Listed in ``__init__.pyi``.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

"""karyoseg beside plain stardist calls: `python -m benchmarks`."""

"""karyoseg beside plain stardist (`python -m benchmarks`), and further measurements in modules of their own."""

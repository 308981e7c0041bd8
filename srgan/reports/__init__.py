"""Reports of a run: curves, sheet, report.html, TensorBoard."""

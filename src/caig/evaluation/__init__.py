"""Measuring: metrics with their intervals, and the page a run leaves behind."""

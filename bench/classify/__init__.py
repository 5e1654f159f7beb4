"""Trains and judges the learned classifier: docs/classifier.md."""

"""Tests, and what they lean on: `oracle` and `simulated`."""

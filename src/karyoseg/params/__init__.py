"""Typed parameters, one module per group."""

"""Canari serves models and never ships a worse one."""

__version__ = "0.2.0"

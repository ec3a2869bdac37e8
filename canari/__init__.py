"""Canari serves models and never ships a worse one."""

__version__ = "0.1.0"

"""Pixels in, visual tokens out."""

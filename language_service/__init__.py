"""Text and visual tokens in, tokens out."""

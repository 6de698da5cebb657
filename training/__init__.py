"""How the small checkpoint that the project ships is made."""

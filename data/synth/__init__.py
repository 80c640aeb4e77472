"""Made-up shops of any size with planted structure, and the truth about them; nothing of the main line imports this."""

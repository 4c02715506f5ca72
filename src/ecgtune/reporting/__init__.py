"""Run and comparison folders into figures, tables, HTML and a model card. Reads files only."""

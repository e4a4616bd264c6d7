"""Catalogues, click logs, rendered scenes, and the words that captions are written with."""

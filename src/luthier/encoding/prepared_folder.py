"""What preparation and training agree on about a folder of prepared rows."""

# Where the texts of training rows lie that are tokenized on the fly; token stores have the name of their split.
TEXTS = "train-texts"
# Part of every key, and of what texts are made for: raise it when the same rows and settings shall give other tokens than before.
PREPARATION_VERSION = 4

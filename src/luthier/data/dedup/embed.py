"""Where the search for repeats by meaning takes its vectors from: text/embed.py, which the server's cache uses as well."""

from luthier.text.embed import Embedder, hash_static_model, load_embedder

__all__ = ["Embedder", "hash_static_model", "load_embedder"]

"""What the site needs beyond Sphinx and its extensions: a module each, named in `docs/conf.py`."""

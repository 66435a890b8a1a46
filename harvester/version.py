"""Which version this is; pyproject.toml has it as well, and a test compares the two."""

__version__ = "0.1.0"

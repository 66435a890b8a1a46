"""cdr-harvester: every call detail record of a voice API, once and exactly, in Parquet."""

__version__ = "0.1.0"

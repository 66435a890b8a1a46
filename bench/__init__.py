"""Benchmarks: ours beside bare aiohttp and other ways to do the job, as ratios within one run.

`make bench`, or one table at a time: `python -m bench --help`.  Nothing here is a test: a busy
machine changes every figure, and so a figure stands beside what was measured with it in turns.
"""

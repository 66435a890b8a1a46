"""The same job in other ways: each as its own users would write it in an afternoon.

Run as `python -m bench.peers.NAME IDS ADDRESS OUT`.  They sign, retry where that is usual,
normalise and write Parquet by date; they keep no books, survive no kill, and stop at the first
error.
"""

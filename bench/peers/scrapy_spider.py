"""Scrapy: `start` yields the requests, an item pipeline writes Parquet."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import scrapy
from scrapy.crawler import CrawlerProcess
from scrapy.http import Response

from bench.peers.job import WORKERS, Job, Writer, data_of, job, normalize, signed


def crawl(todo: Job) -> None:
    """Fetch and write every record."""

    class ParquetPipeline:
        """The end of an item's way."""

        def open_spider(self) -> None:
            self.writer = Writer(todo.out)

        def process_item(self, item: Any) -> Any:  # noqa: ANN401 - Scrapy's own type
            self.writer.add(normalize(item))
            return item

        def close_spider(self) -> None:
            self.writer.flush()

    class Records(scrapy.Spider):
        """A request an id."""

        name = "records"

        async def start(self) -> AsyncIterator[scrapy.Request]:
            for voice_id in todo.voice_ids():
                yield scrapy.Request(todo.prefix + voice_id, headers=signed(), dont_filter=True)

        def parse(self, response: Response) -> Iterator[Any]:
            yield data_of(response.json())

    process = CrawlerProcess(
        {
            "CONCURRENT_REQUESTS": WORKERS,
            "CONCURRENT_REQUESTS_PER_DOMAIN": WORKERS,
            # The default starts a hundred tasks for each answer.
            "CONCURRENT_ITEMS": 1,
            "DOWNLOAD_DELAY": 0,
            "LOG_LEVEL": "WARNING",
            "COOKIES_ENABLED": False,
            "REDIRECT_ENABLED": False,
            "ROBOTSTXT_OBEY": False,
            "TELNETCONSOLE_ENABLED": False,
            "ITEM_PIPELINES": {ParquetPipeline: 300},
        }
    )
    process.crawl(Records)
    process.start()


if __name__ == "__main__":
    crawl(job())

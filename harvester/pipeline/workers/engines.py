"""Where workers run: the links to them, by the name that the configuration gives their engine."""

from __future__ import annotations

from harvester.config import Workers
from harvester.pipeline.engine.local_workers import Fetching
from harvester.pipeline.engine.workers import MakeWorkers
from harvester.pipeline.workers import dispatcher
from harvester.pipeline.workers.child_link import ChildLink


def with_workers(fetching: Fetching, workers: Workers, to_fetch: int) -> MakeWorkers:
    """This process and those that `workers` names, to be made inside the loop.

    Raises ConfigError where their engine is not to be had.
    """
    if workers.engine == "ray":
        # Who has none need not wait for Ray.
        from harvester.pipeline.workers.ray_link import Cluster, RayLink

        cluster = Cluster(workers.ray_address)
        crew = dispatcher.Crew(
            count=workers.count,
            links=lambda count: [RayLink(cluster) for _ in range(count)],
            to_fetch=to_fetch,
            tells_secrets=False,
            close=cluster.close,
        )
    else:
        crew = dispatcher.Crew(
            count=workers.count,
            links=lambda count: [ChildLink() for _ in range(count)],
            to_fetch=to_fetch,
        )
    return dispatcher.with_workers(fetching, crew)

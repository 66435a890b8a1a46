"""The request for one record: GET recordGroup/{voiceId}, under vendor.base_url.

Source: the vendor's page https://itniotech.com/api/voice/recordGroup.
"""

from __future__ import annotations

from harvester.client.transport import Request

_PATH = "recordGroup/"


def record_request(voice_id: str) -> Request:
    """The request for the record of `voice_id`, which holds only unreserved characters.

    So there is nothing to quote: `inputs.voice_id` takes no other id.
    """
    return Request("GET", _PATH + voice_id)

"""The lean channel over a broker behind Redis Sentinel: kombu's own way to the master of the moment."""

from __future__ import annotations

from kombu.transport import redis as stock

from runtime.worker import channel, channel_transport


class Channel(channel.Channel, stock.SentinelChannel):  # type: ignore[misc]
    """Takes messages as runtime/worker/channel.py does, and connects as kombu's Sentinel channel does."""


class Transport(channel_transport.Transport):
    """`broker_transport` of a worker whose queue has `channel: lean`, where the broker's URL is `sentinel://…`."""

    default_port = stock.SentinelTransport.default_port
    Channel = Channel

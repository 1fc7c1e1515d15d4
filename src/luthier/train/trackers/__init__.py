"""Where metrics go besides metrics.jsonl."""

from luthier.train.trackers.fanout import Trackers, open_trackers
from luthier.train.trackers.tracker import Destination, Tracker

__all__ = ["Destination", "Tracker", "Trackers", "open_trackers"]

"""Results that change hands: one archive of run folders, checked before anything of it is added."""

from pebench.exchange.archive import Manifest
from pebench.exchange.export import export
from pebench.exchange.receive import preview, receive

__all__ = ["Manifest", "export", "preview", "receive"]

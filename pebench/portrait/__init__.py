"""Pictures of what encodings do to a logit: `logits` computes it, `drawing` draws it, `gallery` shows all."""

from pebench.portrait.drawing import FORMATS, picture_of
from pebench.portrait.gallery import gallery
from pebench.portrait.logits import Portrait, portrait

__all__ = ["FORMATS", "Portrait", "gallery", "picture_of", "portrait"]

"""The type checker behind jaxtyping's import hook: beartype, taking an int where a float is asked, as Python does."""

from beartype import BeartypeConf, beartype

check_types = beartype(conf=BeartypeConf(is_pep484_tower=True))

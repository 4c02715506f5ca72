"""ST-MEM: the published encoder."""

from ecgtune.models.registry import published_weights, register_encoder
from ecgtune.models.st_mem.network import STMEM
from ecgtune.models.st_mem.published import BASE, FORMAT

STMEM.published = FORMAT
register_encoder("st-mem", weights=published_weights("st-mem", BASE))(STMEM)

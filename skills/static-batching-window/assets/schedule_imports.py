import time

from server import counters
from server.decode import Decode
from server.prefill import Prefill
from server.sequence import Sequence
from server.slots import Slots


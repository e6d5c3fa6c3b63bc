from server.decode import Decode
from server.prefill import Prefill
from server.slots import Slots


"""Exit codes of every command.

Old syntax: the bootstrap imports this module on interpreters too old for the rest of the kit.
Code 1 means HOLD only; a run returns it after it has written HOLD.json.
"""

OK = 0
HOLD = 1
BAD_INPUT = 2
INVALID = 3
DISK_FULL = 4
INTERNAL = 70
INTERRUPTED = 130
TERMINATED = 143

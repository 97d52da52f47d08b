"""The scenarios, in the order of the table."""
from . import imports, restores, resumes, hooks, watch
from .parts import SCENARIOS

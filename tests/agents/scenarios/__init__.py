"""The scenarios, in the order of the table."""
from . import imports, keeps, restores, resumes, hooks, watch
from .parts import SCENARIOS

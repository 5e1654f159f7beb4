"""forebay-simulator: takes vLLM's flags, exports vLLM's metrics and answers as vLLM does."""

from dataclasses import replace
from typing import Final

from forebay.engines.vllm import VLLM

SIMULATED: Final = replace(VLLM, command=("forebay-simulator",), start_seconds=15.0, simulated=True)

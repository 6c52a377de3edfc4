"""Fine-tune vision-language models into multi-step agents with Generative Flow Networks."""

__version__ = "0.1.0"

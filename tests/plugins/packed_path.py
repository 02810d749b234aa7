"""pytest -p plugins.packed_path: on a CPU, recurrent layers take the packed path of GPUs."""

from deepspeech2.model import modeling_deepspeech2

modeling_deepspeech2.choose_path = lambda *sizes: "packed"

"""pytest -p plugins.bf16_autocast: on a CPU, the CTC model runs under bf16 autocast, as `bf16: true` does on a GPU."""

import torch

from deepspeech2 import DeepSpeech2ForCTC

DeepSpeech2ForCTC.forward = torch.autocast("cpu", torch.bfloat16)(DeepSpeech2ForCTC.forward)

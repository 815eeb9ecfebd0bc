"""Model directories that `rlhf convert` wrote from the golden ones, loaded by transformers: the same weights, nothing
missing, nothing left over, the same configuration.

    python tests/reference/check_directories.py [build/rlhf]
"""

import json
import os
import subprocess
import sys
import tempfile

import torch
import transformers

HERE = os.path.dirname(os.path.abspath(__file__))
RLHF = sys.argv[1] if len(sys.argv) > 1 else os.path.join(HERE, "../../build/rlhf")
MODELS = os.path.join(HERE, "../golden/models")
AUTO = {"ForCausalLM": transformers.AutoModelForCausalLM, "ForTokenClassification": transformers.AutoModelForTokenClassification,
        "ForSequenceClassification": transformers.AutoModelForSequenceClassification}
DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}
transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()

for name in sorted(os.listdir(MODELS)):
    source = os.path.join(MODELS, name)
    architecture = json.load(open(os.path.join(source, "config.json")))["architectures"][0]
    auto = next(model for suffix, model in AUTO.items() if architecture.endswith(suffix))
    original = auto.from_pretrained(source, dtype=torch.float32)
    for dtype, kind in DTYPES.items():
        with tempfile.TemporaryDirectory() as temporary:
            to = os.path.join(temporary, "model")
            subprocess.run([RLHF, "convert", f"from={source}", f"to={to}", f"to_dtype={dtype}"], check=True, stderr=subprocess.DEVNULL)
            model, report = auto.from_pretrained(to, dtype="auto", output_loading_info=True)
        assert not any(report[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys")), report
        assert model.dtype == kind, model.dtype
        for key, value in original.state_dict().items():
            assert torch.equal(model.state_dict()[key], value.to(kind)), key  # to(): nearest, ties to even
        for field in ("rope_parameters", "rms_norm_eps", "eos_token_id", "tie_word_embeddings", "num_labels", "max_position_embeddings"):
            assert getattr(model.config, field) == getattr(original.config, field), field
        if architecture.endswith("ForCausalLM"):
            assert model.generation_config.eos_token_id == original.generation_config.eos_token_id
    print(f"{name}: ok")

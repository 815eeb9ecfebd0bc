"""Small GGUF files and what they hold, for tests/model/gguf_test.cpp.

    python tests/reference/make_golden_gguf.py

tests/golden/gguf/ gets
  blocks.gguf, blocks.safetensors   random blocks of every type that is read, and gguf-py's dequantisation
  NAME.gguf                         the model of tests/golden/models/NAME as llama.cpp's converter lays it out,
                                    with a small tokenizer of one of the kinds in its metadata
  tokens.json                       texts and their ids under the tokenizers that went into those files
Needs gguf, numpy, safetensors, tokenizers, torch, transformers. transformers' own GGUF import reads the Llama file
back to the weights of the model it was made from: the order of rows is its, not ours.
"""

import json
import math
import os

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType as Type
from safetensors.numpy import load_file, save_file
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoModelForCausalLM

HERE = os.path.dirname(os.path.abspath(__file__))
MODELS, OUT = os.path.join(HERE, "../golden/models"), os.path.join(HERE, "../golden/gguf")
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
CORPUS = ["the theory of the thing is that there then the other one", "what is 12 times 345? it is 4140.",
          "I'll say they're here, THEY'RE there", "  two  spaces\n\nnew lines\n"] * 3
TEXTS = ["the other thing", "what is 12 times 345?", "  12  345\n\n6 the", "<|im_start|>user\nhe<|im_end|>\n", "they're THEY'RE I'll",
         "<tool>the<tool>", "the\u00a0the", "\n \n  the", "1234567", "e\u0301"]


def rng_weights(count):
    return np.random.default_rng(7).standard_normal(count).astype(np.float32)


def make_blocks():
    writer = gguf.GGUFWriter(os.path.join(OUT, "blocks.gguf"), "llama")
    expected = {}
    for type in (Type.F32, Type.F16, Type.BF16, Type.Q8_0, Type.Q4_0, Type.Q4_1):
        data = gguf.quants.quantize(rng_weights(3 * 64).reshape(3, 64), type)
        writer.add_tensor(type.name, data, raw_dtype=type)
        expected[type.name] = gguf.quants.dequantize(data, type).reshape(3, 64)
    # Q6_K has no quantiser in gguf-py: random bits with a sane scale are as good
    data = np.random.default_rng(8).integers(0, 256, (2, 2, 210), dtype=np.uint8)
    data[..., 208:] = rng_weights(4).astype(np.float16).reshape(2, 2, 1).view(np.uint8)
    writer.add_tensor("Q6_K", data.reshape(2, 420), raw_dtype=Type.Q6_K)
    expected["Q6_K"] = gguf.quants.dequantize(data.reshape(2, 420), Type.Q6_K).reshape(2, 512)
    close(writer)
    save_file({name: np.ascontiguousarray(x, dtype=np.float32) for name, x in expected.items()}, os.path.join(OUT, "blocks.safetensors"))


def close(writer):
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def make_tokenizer(kind, size):
    words = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    level = pre_tokenizers.ByteLevel
    split = lambda digits: pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(words % digits), "isolated"), level(add_prefix_space=False, use_regex=False)])
    tokenizer = Tokenizer(models.BPE(ignore_merges=kind == "llama-bpe"))
    tokenizer.pre_tokenizer = {
        "gpt-2": level(add_prefix_space=False),
        "smollm": pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), level(add_prefix_space=False)]),
        "qwen2": split(""),
        "llama-bpe": split("{1,3}"),
    }[kind]
    if kind == "qwen2":
        tokenizer.normalizer = normalizers.NFC()
    trainer = trainers.BpeTrainer(vocab_size=size - 3, special_tokens=SPECIAL, show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.add_tokens(["<tool>"])
    if kind == "llama-bpe":
        tokenizer.post_processor = processors.TemplateProcessing(single=f"{SPECIAL[1]} $A", special_tokens=[(SPECIAL[1], 1)])
    return tokenizer


def add_tokenizer(writer, tokenizer, kind, size):
    vocab = {id: token for token, id in tokenizer.get_vocab().items()}
    tokens = [vocab.get(id, f"[PAD{id}]") for id in range(size)]  # fillers, as llama.cpp's converter has them
    type_of = {**{token: gguf.TokenType.CONTROL for token in SPECIAL}, "<tool>": gguf.TokenType.USER_DEFINED}
    types = [type_of.get(token, gguf.TokenType.NORMAL if id in vocab else gguf.TokenType.UNUSED) for id, token in enumerate(tokens)]
    merges = [" ".join(pair) for pair in json.loads(tokenizer.to_str())["model"]["merges"]]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(kind)
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges(merges)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_chat_template("{{ '<|im_start|>' }}")
    if kind != "llama-bpe":  # there it is llama.cpp's default
        writer.add_add_bos_token(False)


def permuted(x, heads):
    """Rows of q and k as llama.cpp's converter orders them (LlamaModel.permute)."""
    return x.reshape(heads, 2, x.shape[0] // heads // 2, *x.shape[1:]).swapaxes(1, 2).reshape(x.shape)


def rope_factors(config):
    """Llama 3 scaling as llama.cpp's converter stores it (rope_freqs)."""
    rope, width = config["rope_parameters"], config["head_dim"]
    factors = []
    for frequency in 1.0 / rope["rope_theta"] ** (np.arange(0, width, 2, dtype=np.float32) / width):
        wavelength, original = 2 * math.pi / frequency, rope["original_max_position_embeddings"]
        low, high = rope["low_freq_factor"], rope["high_freq_factor"]
        smooth = (original / wavelength - low) / (high - low)
        factors.append(1 if wavelength < original / high else rope["factor"] if wavelength > original / low
                       else 1 / ((1 - smooth) / rope["factor"] + smooth))
    return np.array(factors, dtype=np.float32)


def make_model(name, arch, kind, type):
    config = json.load(open(os.path.join(MODELS, name, "config.json")))
    writer = gguf.GGUFWriter(os.path.join(OUT, f"{name}.gguf"), arch)
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(config.get("rope_theta") or config["rope_parameters"]["rope_theta"])
    if "head_dim" in config:
        writer.add_key_length(config["head_dim"])
        writer.add_value_length(config["head_dim"])
        writer.add_rope_dimension_count(config["head_dim"])
    tokenizer = make_tokenizer(kind, config["vocab_size"])
    add_tokenizer(writer, tokenizer, kind, config["vocab_size"])
    if (config.get("rope_parameters") or {}).get("rope_type") == "llama3":
        writer.add_tensor("rope_freqs.weight", rope_factors(config))
    names = gguf.get_tensor_name_map({"llama": gguf.MODEL_ARCH.LLAMA, "qwen2": gguf.MODEL_ARCH.QWEN2, "qwen3": gguf.MODEL_ARCH.QWEN3}[arch],
                                     config["num_hidden_layers"])
    for key, x in load_file(os.path.join(MODELS, name, "model.safetensors")).items():
        if arch == "llama" and key.endswith(("q_proj.weight", "k_proj.weight")):
            x = permuted(x, config["num_attention_heads" if "q_proj" in key else "num_key_value_heads"])
        matrix = Type.F32 if x.ndim == 1 else type  # vectors stay f32, as the converter has it
        writer.add_tensor(names.get_name(key, try_suffixes=(".weight", ".bias")), gguf.quants.quantize(x, matrix), raw_dtype=matrix)
    close(writer)
    return [{"text": text, "ids": tokenizer.encode(text).ids} for text in TEXTS]


os.makedirs(OUT, exist_ok=True)
make_blocks()
tokens = {
    "llama": make_model("llama", "llama", "smollm", Type.F16),
    "llama3_scaled": make_model("llama3_scaled", "llama", "llama-bpe", Type.F32),
    "qwen2": make_model("qwen2", "qwen2", "qwen2", Type.F16),
    "qwen3": make_model("qwen3", "qwen3", "gpt-2", Type.BF16),
}
json.dump(tokens, open(os.path.join(OUT, "tokens.json"), "w"), ensure_ascii=True)
state = AutoModelForCausalLM.from_pretrained(OUT, gguf_file="llama3_scaled.gguf", dtype=torch.float32).state_dict()
for key, x in load_file(os.path.join(MODELS, "llama3_scaled", "model.safetensors")).items():
    assert np.array_equal(state[key].numpy(), x), key

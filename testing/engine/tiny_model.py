"""A tiny random Llama and two LoRA adapters for it: `ENGINE/bin/python testing/engine/tiny_model.py FOLDER TEXT`.

Run by an engine's Python, which has the libraries. The same seed and text give the same bytes.
"""

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

SEED = 20
LAYERS, HIDDEN, INNER, HEADS, KV_HEADS = 4, 256, 512, 8, 4
KV_WIDTH = HIDDEN // HEADS * KV_HEADS
VOCABULARY = 2048  # at most: a short text gives fewer
CONTEXT = 2048  # tokens
RANK = 8
START, END, PAD = "<s>", "</s>", "<pad>"
TEMPLATE = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}assistant:"


def main(folder: Path, text: Path) -> None:
    """Make `tiny`, `adapter-a` and `adapter-b` in the folder."""
    torch.manual_seed(SEED)
    vocabulary = _tokenizer(folder / "tiny", text)
    _weights(folder / "tiny", vocabulary)
    for name in ("adapter-a", "adapter-b"):
        _adapter(folder / name)


def _tokenizer(folder: Path, text: Path) -> int:
    """Byte-level BPE, so that every text has tokens. Returns how many there are."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=[START, END, PAD], show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )  # fmt: skip
    tokenizer.train([str(text)], trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": START,
        "eos_token": END,
        "pad_token": PAD,
        "model_max_length": CONTEXT,
        "clean_up_tokenization_spaces": False,
        "chat_template": TEMPLATE,
    }
    _write(folder / "tokenizer_config.json", settings)
    return int(tokenizer.get_vocab_size())


def _weights(folder: Path, vocabulary: int) -> None:
    shapes = {"model.embed_tokens": (vocabulary, HIDDEN), "lm_head": (vocabulary, HIDDEN)}
    for layer in range(LAYERS):
        at = f"model.layers.{layer}"
        shapes |= {f"{at}.self_attn.{name}_proj": (HIDDEN, HIDDEN) for name in "qo"}
        shapes |= {f"{at}.self_attn.{name}_proj": (KV_WIDTH, HIDDEN) for name in "kv"}
        shapes |= {f"{at}.mlp.{name}_proj": (INNER, HIDDEN) for name in ("gate", "up")}
        shapes[f"{at}.mlp.down_proj"] = (HIDDEN, INNER)
    tensors = {f"{name}.weight": (torch.randn(*shape) * 0.1).bfloat16() for name, shape in shapes.items()}
    norms = [f"model.layers.{i}.{name}_layernorm" for i in range(LAYERS) for name in ("input", "post_attention")]
    tensors |= {f"{name}.weight": torch.ones(HIDDEN, dtype=torch.bfloat16) for name in (*norms, "model.norm")}
    _save(folder / "model.safetensors", tensors)
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "torch_dtype": "bfloat16",
        "vocab_size": vocabulary, "hidden_size": HIDDEN, "intermediate_size": INNER, "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS, "head_dim": HIDDEN // HEADS,
        "max_position_embeddings": CONTEXT, "hidden_act": "silu", "rms_norm_eps": 1e-6, "rope_theta": 10000.0,
        "tie_word_embeddings": False, "attention_bias": False, "mlp_bias": False,
        "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2,
    }  # fmt: skip
    _write(folder / "config.json", config)


def _adapter(folder: Path) -> None:
    """One that changes every answer: its B is not zero."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {}
    for layer in range(LAYERS):
        for name, width in (("q_proj", HIDDEN), ("v_proj", KV_WIDTH)):
            at = f"base_model.model.model.layers.{layer}.self_attn.{name}"
            tensors[f"{at}.lora_A.weight"] = torch.randn(RANK, HIDDEN) * 0.05
            tensors[f"{at}.lora_B.weight"] = torch.randn(width, RANK) * 0.5
    _save(folder / "adapter_model.safetensors", tensors)
    config = {
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": "tiny", "inference_mode": True,
        "r": RANK, "lora_alpha": 2 * RANK, "lora_dropout": 0.0, "bias": "none", "fan_in_fan_out": False,
        "target_modules": ["q_proj", "v_proj"],
    }  # fmt: skip
    _write(folder / "adapter_config.json", config)


def _save(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    """Readable by the user of a pod, too."""
    save_file(tensors, path, metadata={"format": "pt"})
    path.chmod(0o644)


def _write(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

"""Writes a small Llama of Hugging Face's form as a GGUF file, as llama.cpp's own converter would."""

from __future__ import annotations

import json
from pathlib import Path

import gguf
import numpy as np
import torch
from safetensors.torch import load_file

NAMES = {
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
}  # fmt: skip
OUTER = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight"}


def write_gguf(model: Path, out: Path) -> None:
    config = json.loads((model / "config.json").read_text())
    writer = gguf.GGUFWriter(str(out), "llama")
    _describe(writer, config)
    _tokenizer(writer, model, config)
    for name, tensor in load_file(model / "model.safetensors").items():
        values = tensor.to(torch.float32).numpy()
        for kind, heads in (("q_proj", "num_attention_heads"), ("k_proj", "num_key_value_heads")):
            if kind in name:
                values = _interleaved(values, config[heads])
        writer.add_tensor(_renamed(name), np.ascontiguousarray(values))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _describe(writer: gguf.GGUFWriter, config: dict[str, float]) -> None:
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(config["rope_theta"])
    writer.add_rope_dimension_count(config["head_dim"])
    writer.add_vocab_size(config["vocab_size"])


def _tokenizer(writer: gguf.GGUFWriter, model: Path, config: dict[str, int]) -> None:
    whole = json.loads((model / "tokenizer.json").read_text())
    special = {token["id"] for token in whole["added_tokens"]}
    tokens = sorted(whole["model"]["vocab"].items(), key=lambda item: item[1])
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([text for text, _ in tokens])
    kinds = [gguf.TokenType.CONTROL if number in special else gguf.TokenType.NORMAL for _, number in tokens]
    writer.add_token_types(kinds)
    writer.add_token_merges([" ".join(pair) for pair in whole["model"]["merges"]])
    writer.add_bos_token_id(config["bos_token_id"])
    writer.add_eos_token_id(config["eos_token_id"])
    writer.add_pad_token_id(config["pad_token_id"])
    writer.add_add_bos_token(value=False)
    writer.add_chat_template(json.loads((model / "tokenizer_config.json").read_text())["chat_template"])


def _interleaved(values: np.ndarray, heads: int) -> np.ndarray:
    """llama.cpp rotates neighbouring pairs, Hugging Face halves."""
    rows, columns = values.shape
    return values.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)


def _renamed(name: str) -> str:
    if name in OUTER:
        return OUTER[name]
    _, _, layer, part = name.removesuffix(".weight").split(".", 3)
    return f"blk.{layer}.{NAMES[part]}.weight"

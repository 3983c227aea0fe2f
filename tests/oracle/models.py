"""Tiny random models of every family and what torch, transformers and PEFT compute with them.

    python models.py            writes ../golden/models/NAME/ anew, the same bytes each time

    NAME/config.json            as transformers 4 or 5 writes it
    NAME/config-other.json      the same model in the other style
    NAME/model*.safetensors     random weights; two shards and an index for some
    NAME/ADAPTER/               PEFT's own save_pretrained
    NAME/expected.safetensors   sequences, one after another:
        tokens (N) i32, targets (N) u8 (1: this token is predicted and counted), lengths (S) i32
        logits (N, V), loss (1)                      without an adapter
        ADAPTER.logits, ADAPTER.loss                 with it
        ADAPTER.gradient.TENSOR                      of that loss, named as in the adapter's file
        ADAPTER.adamw_losses (10), .grad_norms (10)  before each update
    adapter-frozen-a            as trained with A.requires_grad_(False): gradients of the Bs alone
    NAME/expected-FORMAT.safetensors, FORMAT q8 or q4: the same of the model with the matrices of its
        linear layers as blocks.py makes them, embedding and head as q8; and
        quants.TENSOR (N, K) i8, scales.TENSOR (N, K / 32) f16

A loss is the mean over all targets of all sequences, each sequence run alone. AdamW: lr 1e-2,
betas (0.9, 0.999), eps 1e-8, weight decay 0.01, gradient norm clipped at 1. Weights are read from
the folder again and widened to f32; attention is eager, on one thread.
"""

import json
import shutil
import zlib
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import save_file
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    MistralConfig,
    Qwen2Config,
    Qwen3Config,
)
from transformers.utils import logging

import blocks

GOLDEN = Path(__file__).resolve().parent.parent / "golden" / "models"
ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
SEVEN = dict(name="adapter", r=2, lora_alpha=4, targets=ALL)
ATTENTION = dict(name="adapter-attention", r=3, lora_alpha=7, targets=ALL[:4])
RSLORA = dict(name="adapter-rslora", r=3, lora_alpha=2, targets=ALL, use_rslora=True)
FROZEN_A = dict(name="adapter-frozen-a", r=2, lora_alpha=4, targets=ALL, freeze_a=True)
DORA = dict(name="adapter-dora", r=2, lora_alpha=3, targets=ALL, use_dora=True)
LENGTHS = [5, 19, 2, 11]

BASE = dict(
    hidden_size=24,
    intermediate_size=28,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    vocab_size=47,
    max_position_embeddings=128,
    rms_norm_eps=1e-5,
    bos_token_id=1,
    eos_token_id=2,
)
HEAD100 = dict(
    hidden_size=20, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=1, head_dim=100
)
LLAMA3 = dict(
    rope_type="llama3",
    rope_theta=10000.0,
    factor=8.0,
    low_freq_factor=1.0,
    high_freq_factor=4.0,
    original_max_position_embeddings=64,
)


def rope(theta):
    return dict(rope_type="default", rope_theta=theta)


# style: of config.json; store: how weights are stored; shard: its size where there are several.
MODELS = {
    "llama": dict(
        config=LlamaConfig(**BASE, tie_word_embeddings=True, rope_parameters=rope(10000.0)),
        style=4,
        store=torch.float32,
        adapters=[SEVEN, ATTENTION, RSLORA, FROZEN_A],
    ),
    # Wavelengths 6, 29 and 135 to 13,500 against cuts at 16 and 64: kept, blended and divided ones all occur.
    "llama-rope3": dict(
        config=LlamaConfig(
            **{**BASE, "max_position_embeddings": 512, "num_key_value_heads": 1, "vocab_size": 41},
            head_dim=12,
            tie_word_embeddings=False,
            rope_parameters=LLAMA3,
        ),
        style=5,
        store=torch.bfloat16,
        lengths=[7, 90],
    ),
    "llama-biases": dict(
        config=LlamaConfig(
            **{**BASE, "num_key_value_heads": 4},
            attention_bias=True,
            mlp_bias=True,
            tie_word_embeddings=False,
            rope_parameters=rope(10000.0),
        ),
        style=5,
        store=torch.float16,
        adapters=[SEVEN, DORA],
    ),
    "llama-head100": dict(
        config=LlamaConfig(
            **(BASE | HEAD100),
            tie_word_embeddings=True,
            rope_parameters=rope(500000.0),
        ),
        style=4,
        store=torch.bfloat16,
        quantised=["q8", "q4"],
    ),
    "llama-sharded": dict(
        config=LlamaConfig(
            **{**BASE, "vocab_size": 67},
            tie_word_embeddings=False,
            rope_parameters=rope(100000.0),
        ),
        style=4,
        store=torch.bfloat16,
        shard="12KB",
    ),
    "mistral-sharded": dict(
        config=MistralConfig(
            **{**BASE, "vocab_size": 53},
            head_dim=16,
            sliding_window=None,
            tie_word_embeddings=False,
            rope_parameters=rope(1000000.0),
        ),
        style=4,
        store=torch.bfloat16,
        shard="12KB",
    ),
    "qwen2": dict(
        config=Qwen2Config(
            **{**BASE, "rms_norm_eps": 1e-6},
            use_sliding_window=False,
            tie_word_embeddings=True,
            rope_parameters=rope(1000000.0),
        ),
        style=4,
        store=torch.bfloat16,
    ),
    "qwen3": dict(
        config=Qwen3Config(
            **{**BASE, "rms_norm_eps": 1e-6},
            head_dim=16,
            tie_word_embeddings=True,
            rope_parameters=rope(1000000.0),
        ),
        style=5,
        store=torch.float16,
        quantised=["q4"],
    ),
    "qwen3-biases": dict(
        config=Qwen3Config(
            **{**BASE, "rms_norm_eps": 1e-6},
            head_dim=8,
            attention_bias=True,
            tie_word_embeddings=False,
            rope_parameters=rope(1000000.0),
        ),
        style=4,
        store=torch.bfloat16,
    ),
}


def randomise(model, generator):
    """Weights under which every part matters: no flat logits, norms away from 1, biases not 0."""

    def normal(like, std, mean=0.0):
        return torch.randn(like.shape, generator=generator) * std + mean

    with torch.no_grad():
        for name, p in sorted(model.named_parameters()):
            if "norm" in name:
                p.copy_(normal(p, 0.25, 1.0))
            elif name.endswith("bias"):
                p.copy_(normal(p, 0.3))
            elif "embed_tokens" in name:
                p.copy_(normal(p, 0.4))
            else:
                p.copy_(normal(p, 1.3 / p.shape[1] ** 0.5))


def version4(config):
    """The dictionary as transformers 4 wrote it: flat rope_theta, rope_scaling, torch_dtype."""
    parameters = dict(config["rope_parameters"])
    out = {k: v for k, v in config.items() if k not in ("rope_parameters", "dtype", "layer_types")}
    if out.get("head_dim") == out["hidden_size"] // out["num_attention_heads"]:
        del out["head_dim"]
    out["rope_theta"] = parameters.pop("rope_theta")
    scaled = parameters["rope_type"] != "default"
    out["rope_scaling"] = parameters if scaled else None
    out["torch_dtype"] = config["dtype"]
    out["transformers_version"] = "4.46.0"
    return dict(sorted(out.items()))


def write_model(folder, spec, generator):
    model = AutoModelForCausalLM.from_config(spec["config"], attn_implementation="eager")
    randomise(model, generator)
    model.tie_weights()
    model.to(spec["store"]).save_pretrained(folder, max_shard_size=spec.get("shard", "1GB"))
    (folder / "generation_config.json").unlink()
    new = json.loads((folder / "config.json").read_text())
    styles = {4: version4(new), 5: new}
    for style, name in ((spec["style"], "config.json"), (9 - spec["style"], "config-other.json")):
        (folder / name).write_text(json.dumps(styles[style], indent=2) + "\n")


def load(folder):
    return AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    ).eval()


def write_adapter(folder, spec, generator):
    adapter = LoraConfig(
        r=spec["r"],
        lora_alpha=spec["lora_alpha"],
        lora_dropout=0.0,
        target_modules=spec["targets"],
        use_rslora=spec.get("use_rslora", False),
        use_dora=spec.get("use_dora", False),
        task_type="CAUSAL_LM",
    )
    model = get_peft_model(load(folder), adapter)
    with torch.no_grad():
        for name, p in sorted(model.named_parameters()):
            if "magnitude" in name:
                p.mul_(1.0 + 0.3 * torch.randn(p.shape, generator=generator))
            elif "lora_" in name:
                std = 1.0 / p.shape[1] ** 0.5 if "lora_A" in name else 0.3 / spec["r"] ** 0.5
                p.copy_(torch.randn(p.shape, generator=generator) * std)
    out = folder / spec["name"]
    model.save_pretrained(out)
    (out / "README.md").unlink(missing_ok=True)
    config = json.loads((out / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = folder.name
    config["target_modules"] = sorted(config["target_modules"])
    (out / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n")


def sequences(lengths, vocab, generator):
    """Random tokens; the first part of each is a prompt, and the rest is counted with two holes."""
    tokens = [torch.randint(vocab, (n,), generator=generator) for n in lengths]
    masks = []
    for n in lengths:
        mask = torch.zeros(n, dtype=torch.bool)
        mask[max(1, n // 3) :] = True
        if n > 6:
            mask[n // 2] = False
            mask[n - 2] = False
        masks.append(mask)
    return tokens, masks


def mean_loss(model, tokens, masks):
    total, count = 0.0, 0
    for t, mask in zip(tokens, masks):
        logits = model(input_ids=t[None], use_cache=False).logits[0]
        nll = torch.nn.functional.cross_entropy(logits[:-1], t[1:], reduction="none")
        total = total + nll[mask[1:]].sum()
        count += int(mask[1:].sum())
    return total / count


def all_logits(model, tokens):
    with torch.no_grad():
        return torch.cat([model(input_ids=t[None], use_cache=False).logits[0] for t in tokens])


def plain_name(name):
    """As in the adapter's file: a magnitude has no `.weight` there."""
    whole = "lora_magnitude_vector" in name
    return name.replace(".default.weight", "" if whole else ".weight")


def trained(base, folder, adapter, tokens, masks):
    """Logits, loss, gradients and ten AdamW losses of `base` under an adapter of the folder."""
    key = adapter["name"]
    model = PeftModel.from_pretrained(base, folder / key, is_trainable=True).eval()
    if adapter.get("freeze_a"):
        for name, p in model.named_parameters():
            if "lora_A" in name:
                p.requires_grad_(False)
    parameters = {plain_name(n): p for n, p in model.named_parameters() if p.requires_grad}
    each = 1 if adapter.get("freeze_a") else 3 if adapter.get("use_dora") else 2
    assert len(parameters) == each * len(adapter["targets"]) * model.config.num_hidden_layers
    out = {f"{key}.logits": all_logits(model, tokens)}
    optimiser = torch.optim.AdamW(parameters.values(), lr=1e-2, weight_decay=0.01)
    losses, norms = [], []
    for step in range(10):
        optimiser.zero_grad()
        loss = mean_loss(model, tokens, masks)
        loss.backward()
        if step == 0:
            for name, p in parameters.items():
                assert p.grad.abs().max() > 1e-6, name
                out[f"{key}.gradient.{name}"] = p.grad.clone()
        losses.append(loss.item())
        norms.append(torch.nn.utils.clip_grad_norm_(parameters.values(), 1.0).item())
        optimiser.step()
    out[f"{key}.loss"] = torch.tensor(losses[:1])
    out[f"{key}.adamw_losses"] = torch.tensor(losses)
    out[f"{key}.grad_norms"] = torch.tensor(norms)
    print(f"  {key}: loss {losses[0]:.4f} to {losses[-1]:.4f}, gradient norm {norms[0]:.3f}")
    assert losses[-1] < losses[0]
    return out


def quantised(folder, format, tokens, masks):
    """What is expected of the model with matrices of 32-weight blocks, and these matrices."""
    model, out = load(folder), {}
    with torch.no_grad():
        for name, p in sorted(model.named_parameters()):
            if p.ndim == 2:
                head = "embed_tokens" in name or "lm_head" in name
                quants, scales = blocks.quantise("q8" if head else format, p.numpy())
                p.copy_(torch.from_numpy(blocks.dequantise(quants, scales)))
                out[f"quants.{name}"] = torch.from_numpy(quants)
                out[f"scales.{name}"] = torch.from_numpy(scales)
    out["logits"] = all_logits(model, tokens)
    out["loss"] = mean_loss(model, tokens, masks).detach().reshape(1)
    return out | trained(model, folder, SEVEN, tokens, masks)


def both_styles_mean_the_same(folder, tokens, logits):
    """transformers itself must read config-other.json as it reads config.json."""
    config, other = folder / "config.json", folder / "config-other.json"
    kept = config.read_text()
    config.write_text(other.read_text())
    assert torch.equal(all_logits(load(folder), tokens), logits), folder
    config.write_text(kept)


def save(tensors, file):
    save_file({k: v.contiguous() for k, v in tensors.items()}, file)


def main():
    torch.set_num_threads(1)
    logging.disable_progress_bar()
    shutil.rmtree(GOLDEN, ignore_errors=True)
    for name, spec in MODELS.items():
        print(name)
        folder = GOLDEN / name
        generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
        write_model(folder, spec, generator)
        vocab = spec["config"].vocab_size
        lengths = spec.get("lengths", LENGTHS)
        tokens, masks = sequences(lengths, vocab, generator)
        model = load(folder)
        text = {
            "tokens": torch.cat(tokens).int(),
            "targets": torch.cat(masks).to(torch.uint8),
            "lengths": torch.tensor(lengths, dtype=torch.int32),
        }
        out = text | {
            "logits": all_logits(model, tokens),
            "loss": mean_loss(model, tokens, masks).detach().reshape(1),
        }
        spread = out["logits"].std().item()
        print(f"  loss {out['loss'].item():.4f}, logits' deviation {spread:.2f}")
        assert 0.5 < spread < 10.0
        both_styles_mean_the_same(folder, tokens, out["logits"])
        for adapter in spec.get("adapters", [SEVEN]):
            write_adapter(folder, adapter, generator)
            out.update(trained(load(folder), folder, adapter, tokens, masks))
            moved = (out[f"{adapter['name']}.logits"] - out["logits"]).abs().max().item()
            assert moved > 0.1, "the adapter must matter"
        save(out, folder / "expected.safetensors")
        for format in spec.get("quantised", []):
            print(f"  {format}")
            out = text | quantised(folder, format, tokens, masks)
            save(out, folder / f"expected-{format}.safetensors")
    size = sum(f.stat().st_size for f in GOLDEN.rglob("*") if f.is_file())
    print(f"{size} bytes in all")
    assert size < 850_000


if __name__ == "__main__":
    main()

"""Trains the built-in model on the corpus and writes it in Hugging Face layout.

    python3 train_builtin.py CORPUS_DIR OUT_DIR [--steps 6000 | --minutes 40]

Byte-level BPE with 1,024 tokens; a small Llama; Muon for the matrices, AdamW for the rest, one cosine over the run. Dialogues
are packed into rows of 256 tokens and attend to themselves alone; the loss weighs an assistant's tokens 1 and the rest 0.1.
Snapshots every few minutes; weights are stored as bf16 with 64-byte aligned data.
"""

import argparse
import json
import math
import random
import struct
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import nn

SPECIALS = ["<|pad|>", "<|bos|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"]
PAD, BOS, END = 0, 1, 5
ROLES = {"system": 2, "user": 3, "assistant": 4}
TEMPLATE = ("{{ '<|bos|>' }}{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}{% endfor %}"
            "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}")
SEED = 7
D, H, L, HEADS, KV, HEAD, V, EPS = 128, 384, 6, 4, 2, 32, 1024, 1e-5
ROW, ROWS = 256, 16


def train_tokenizer(texts):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=1024, special_tokens=SPECIALS, show_progress=False,
                                  initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()))
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def encode(tokenizer, dialogue):
    """Token ids and the loss weight of predicting each of them."""
    ids, weight = [BOS], [0.0]
    for message in dialogue["messages"]:
        body = tokenizer.encode(message["content"], add_special_tokens=False).ids + [END]
        own = message["role"] == "assistant"
        ids += [ROLES[message["role"]]] + body
        weight += [0.0] + [1.0 if own else 0.1] * len(body)
    return ids, weight


def pack(data, rng):
    """Rows of ROW tokens, each filled with whole dialogues in random order (first fit among a few open rows); one epoch."""
    order = list(range(len(data)))
    rng.shuffle(order)
    open_rows, full = [], []
    for i in order:
        n = len(data[i][0])
        fit = next((row for row in open_rows if row[0] + n <= ROW), None)
        if fit is None:
            if len(open_rows) == 16:
                full.append(open_rows.pop(0)[1])
            fit = [0, []]
            open_rows.append(fit)
        fit[0] += n
        fit[1].append(i)
    return full + [row for _, row in open_rows]


def collate(data, rows):
    """Tokens (B, T), loss weights (B, T) and the mask (B, 1, T, T): causal, within one dialogue."""
    ids = torch.full((len(rows), ROW + 1), PAD, dtype=torch.long)
    weight = torch.zeros(len(rows), ROW + 1)
    owner = torch.full((len(rows), ROW), -1)
    for r, row in enumerate(rows):
        at = 0
        for k, i in enumerate(row):
            n = len(data[i][0])
            ids[r, at:at + n] = torch.tensor(data[i][0])
            weight[r, at:at + n] = torch.tensor(data[i][1])
            owner[r, at:at + n] = k
            at += n
    mask = (owner[:, :, None] == owner[:, None, :]) & torch.ones(ROW, ROW).tril().bool()
    return ids[:, :-1].contiguous(), ids[:, 1:].contiguous(), weight[:, 1:].contiguous(), mask[:, None].contiguous()


class Layer(nn.Module):
    """A Llama block; q, k, v and gate, up lie in one matrix each while training."""

    def __init__(self):
        super().__init__()
        self.norm1, self.norm2 = nn.Parameter(torch.ones(D)), nn.Parameter(torch.ones(D))
        self.qkv, self.o = nn.Linear(D, (HEADS + 2 * KV) * HEAD, bias=False), nn.Linear(HEADS * HEAD, D, bias=False)
        self.gate_up, self.down = nn.Linear(D, 2 * H, bias=False), nn.Linear(H, D, bias=False)
        for out in (self.o, self.down):
            out.weight.data *= (2 * L) ** -0.5

    def forward(self, x, cos, sin, mask):
        b, t, _ = x.shape
        qkv = self.qkv(F.rms_norm(x, (D,), self.norm1, EPS)).view(b, t, HEADS + 2 * KV, HEAD)
        one, two = qkv[:, :, :HEADS + KV].chunk(2, -1)
        qk = torch.cat([one * cos - two * sin, two * cos + one * sin], -1)
        q = qk[:, :, :HEADS].transpose(1, 2)
        k = qk[:, :, HEADS:].transpose(1, 2).repeat_interleave(HEADS // KV, 1)
        v = qkv[:, :, HEADS + KV:].transpose(1, 2).repeat_interleave(HEADS // KV, 1)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        x = x + self.o(y.transpose(1, 2).reshape(b, t, HEADS * HEAD))
        gate, up = self.gate_up(F.rms_norm(x, (D,), self.norm2, EPS)).chunk(2, -1)
        return x + self.down(F.silu(gate) * up)


class Llama(nn.Module):
    """The decoder with a tied head; returns the weighted loss and the assistant's mean loss."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(V, D)
        nn.init.normal_(self.embed.weight, std=0.05)
        self.layers = nn.ModuleList(Layer() for _ in range(L))
        self.norm = nn.Parameter(torch.ones(D))
        angle = torch.arange(ROW)[:, None] * (10000.0 ** (-torch.arange(0, HEAD, 2) / HEAD))[None]
        self.register_buffer("cos", angle.cos()[None, :, None], persistent=False)
        self.register_buffer("sin", angle.sin()[None, :, None], persistent=False)

    def forward(self, ids, targets, weight, mask):
        x = self.embed(ids)
        for layer in self.layers:
            x = layer(x, self.cos, self.sin, mask)
        logits = F.linear(F.rms_norm(x, (D,), self.norm, EPS), self.embed.weight)
        nll = F.cross_entropy(logits.view(-1, V), targets.view(-1), reduction="none") * 1.0
        w = weight.view(-1)
        own = (w == 1).float()
        return (nll * w).sum() / w.sum(), (nll * own).sum() / own.sum()

    def tensors(self):
        """The weights under their names in transformers."""
        out = {"model.embed_tokens.weight": self.embed.weight, "model.norm.weight": self.norm}
        for i, layer in enumerate(self.layers):
            at = f"model.layers.{i}."
            q, k, v = layer.qkv.weight.split([HEADS * HEAD, KV * HEAD, KV * HEAD])
            gate, up = layer.gate_up.weight.chunk(2)
            out |= {at + "self_attn.q_proj.weight": q, at + "self_attn.k_proj.weight": k, at + "self_attn.v_proj.weight": v,
                    at + "self_attn.o_proj.weight": layer.o.weight, at + "mlp.gate_proj.weight": gate, at + "mlp.up_proj.weight": up,
                    at + "mlp.down_proj.weight": layer.down.weight, at + "input_layernorm.weight": layer.norm1,
                    at + "post_attention_layernorm.weight": layer.norm2}
        return out


def save(model, tokenizer, out):
    """Writes the folder; the safetensors header is padded so that its data starts at a multiple of 64."""
    out.mkdir(parents=True, exist_ok=True)
    tensors, entries, offset = [], {}, 0
    for name, tensor in sorted(model.tensors().items()):
        raw = tensor.detach().to(torch.bfloat16).contiguous().view(torch.int16).numpy().tobytes()
        entries[name] = {"dtype": "BF16", "shape": list(tensor.shape), "data_offsets": [offset, offset + len(raw)]}
        offset += len(raw)
        tensors.append(raw)
    header = json.dumps({"__metadata__": {"format": "pt"}, **entries}, separators=(",", ":")).encode()
    header += b" " * (-(8 + len(header)) % 64)
    partial = out / "model.safetensors.partial"
    partial.write_bytes(struct.pack("<Q", len(header)) + header + b"".join(tensors))
    partial.rename(out / "model.safetensors")
    (out / "config.json").write_text(json.dumps({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": D, "intermediate_size": H, "num_hidden_layers": L,
        "num_attention_heads": HEADS, "num_key_value_heads": KV, "head_dim": HEAD, "vocab_size": V, "max_position_embeddings": 512, "rms_norm_eps": EPS,
        "rope_theta": 10000.0, "rope_scaling": None, "hidden_act": "silu", "attention_bias": False, "mlp_bias": False, "attention_dropout": 0.0,
        "tie_word_embeddings": True, "torch_dtype": "bfloat16", "bos_token_id": BOS, "eos_token_id": END, "pad_token_id": PAD}, indent=2) + "\n")
    tokenizer.save(str(out / "tokenizer.json"))
    (out / "tokenizer_config.json").write_text(json.dumps({
        "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<|bos|>", "eos_token": "<|end|>", "pad_token": "<|pad|>",
        "add_bos_token": False, "clean_up_tokenization_spaces": False, "model_max_length": 512}, indent=2) + "\n")
    (out / "chat_template.jinja").write_text(TEMPLATE)
    (out / "generation_config.json").write_text(json.dumps({"bos_token_id": BOS, "eos_token_id": END, "pad_token_id": PAD}, indent=2) + "\n")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("corpus", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--minutes", type=float, default=40)
    parser.add_argument("--steps", type=int, default=0, help="fixes the number of steps instead of the time")
    parser.add_argument("--lr", type=float, default=4e-3)
    args = parser.parse_args()
    torch.manual_seed(SEED)
    torch.set_num_threads(2)
    rng = random.Random(SEED)
    dialogues = [json.loads(text) for text in (args.corpus / "corpus.jsonl").read_text().splitlines()]
    tokenizer = train_tokenizer(m["content"] for d in dialogues for m in d["messages"])
    data = [encode(tokenizer, d) for d in dialogues]
    data = [d for d in data if len(d[0]) <= ROW]
    model = Llama()
    print(f"{sum(p.numel() for p in model.parameters())} parameters, {len(data)} dialogues, {sum(len(d[0]) for d in data)} tokens", flush=True)
    matrices = [p for layer in model.layers for p in layer.parameters() if p.dim() == 2]
    norms = [p for p in model.parameters() if p.dim() == 1]
    muon = torch.optim.Muon(matrices, lr=args.lr, weight_decay=0.1, momentum=0.95, adjust_lr_fn="match_rms_adamw")
    adamw = torch.optim.AdamW([{"params": [model.embed.weight], "weight_decay": 0.05}, {"params": norms, "weight_decay": 0.0}], lr=args.lr, betas=(0.9, 0.98))
    loss_of = torch.compile(model, dynamic=False)
    begin = saved = shown = time.time()
    step, mean, rows = 0, None, []
    while True:
        progress = step / args.steps if args.steps else (time.time() - begin) / (60 * args.minutes)
        if progress >= 1:
            break
        if len(rows) < ROWS:
            rows = pack(data, rng)
        batch, rows = rows[:ROWS], rows[ROWS:]
        lr = args.lr * min(1, (step + 1) / 50) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress)))
        for optimizer in (muon, adamw):
            for group in optimizer.param_groups:
                group["lr"] = lr
        loss, assistant = loss_of(*collate(data, batch))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in (muon, adamw):
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        step += 1
        mean = assistant.item() if mean is None else 0.97 * mean + 0.03 * assistant.item()
        now = time.time()
        if now - shown > 20:
            shown = now
            print(f"step {step} loss {mean:.4f} lr {lr:.5f} {step * ROW * ROWS / (now - begin):.0f} tok/s {(now - begin) / 60:.1f} min", flush=True)
        if now - saved > 240:
            saved = now
            save(model, tokenizer, args.out)
            torch.save({"model": model.state_dict(), "muon": muon.state_dict(), "adamw": adamw.state_dict(), "step": step}, args.out / "resume.pt")
    save(model, tokenizer, args.out)
    print(f"done after {step} steps, loss {mean:.4f}", flush=True)


if __name__ == "__main__":
    main()

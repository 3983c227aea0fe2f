"""The three metrics of a dialogue from transformers' hidden states, written from their definitions.

    python scores.py        needs: torch, transformers, safetensors, numpy

writes tests/golden/scores: the built-in model over a small stream.
    stream.jsonl         general questions of ../general_held_out.jsonl and dialogues made for trouble
    lexicons.tsv         four domains, with rows that a reader must mend or leave out
    scores.jsonl         a line a dialogue: entropy, domain_score, domain, dissimilarity, tokens, and
                         token_norm, the entropy's other reading
    states.safetensors   `last` (N, D): the states that the entropies were taken of

    text     contents joined by a newline; its first 512 tokens, n of them, BOS if the tokenizer adds it
    EOE      -sum p log2 p / log2(n + 1) over numpy's histogram, 100 bins, of the last token's state
             after the final norm; token_norm: -sum p ln p / ln n, p = |h_i| / sum |h_j| before it
    DSS      hits / (m words), a word a run of alphanumeric characters, lower-cased one by one
    IDD      mean of 1 - cos over the earlier dialogues of the same domain; 1 if there is none
"""

import json
import math
import pathlib
from fractions import Fraction

import numpy
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

MAX_TOKENS, BINS = 512, 100


def words(text):
    run = ""
    for c in text + " ":
        if c.isalnum():
            run += c.lower()
        elif run:
            yield run
            run = ""


def read_lexicons(path):
    domains = {}
    for row in path.read_text(encoding="utf-8-sig").splitlines():
        if not row.strip() or row.startswith("#"):
            continue
        domain, word = row.split("\t", 1)
        found = list(words(word))
        if found == ["".join(c.lower() for c in word.strip())]:
            domains.setdefault(domain.strip(), set()).add(found[0])
    return domains


def domain_of(text, lexicons):
    """DSS, as the f64 nearest to the fraction, and the dominant domain."""
    found = list(words(text))
    hits = {name: sum(word in held for word in found) for name, held in lexicons.items()}
    total = sum(hits.values())
    if total == 0:
        return 0.0, "general"
    # max takes the first of equals.
    return float(Fraction(total, len(lexicons) * len(found))), max(hits, key=hits.get)


def bins_of(state):
    """Which bin each component falls in, by numpy's own edges."""
    state = numpy.asarray(state, dtype=numpy.float64)
    edges = numpy.linspace(state.min(), state.max(), BINS + 1)
    return numpy.minimum(numpy.searchsorted(edges, state, side="right") - 1, BINS - 1)


def histogram_entropy(state, tokens, log=math.log2, extra=1, bins=BINS):
    state = numpy.asarray(state, dtype=numpy.float64)
    if tokens == 0 or state.min() == state.max():
        return 0.0
    counts, _ = numpy.histogram(state, bins=bins, range=(state.min(), state.max()))
    p = [count / len(state) for count in counts.tolist() if count]
    return -sum(x * log(x) for x in p) / math.log2(tokens + extra)


def token_norm_entropy(states):
    norms = numpy.linalg.norm(numpy.asarray(states, dtype=numpy.float64), axis=1)
    if len(norms) < 2 or norms.sum() == 0:
        return 0.0
    p = norms / norms.sum()
    return float(-(p[p > 0] * numpy.log(p[p > 0])).sum() / math.log(len(p)))


def dissimilarity(embedding, others):
    if not others:
        return 1.0
    cosine = [embedding @ o / (numpy.linalg.norm(embedding) * numpy.linalg.norm(o)) for o in others]
    return float(numpy.mean([1.0 - c for c in cosine]))


class Model:
    def __init__(self, folder):
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.net = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, attn_implementation="eager"
        ).eval()
        self.before = []
        self.net.model.norm.register_forward_hook(lambda _, inputs, __: self.before.append(inputs[0]))

    def states(self, text):
        """States (T, D) before and after the final norm, in f64."""
        limit = min(MAX_TOKENS, self.net.config.max_position_embeddings)
        ids = self.tokenizer(text, verbose=False).input_ids[:limit]
        if not ids:
            return (numpy.zeros((0, self.net.config.hidden_size)),) * 2
        self.before.clear()
        with torch.no_grad():
            after = self.net.model(input_ids=torch.tensor([ids]), use_cache=False).last_hidden_state
        return self.before[0][0].double().numpy(), after[0].double().numpy()


def score_stream(model, dialogues, lexicons):
    """A dictionary a dialogue: the figures, `last` (D) and `embedding` (D)."""
    earlier, rows = {}, []
    for dialogue in dialogues:
        text = "\n".join(message["content"] for message in dialogue["messages"])
        before, after = model.states(text)
        n, dim = after.shape
        last = after[-1] if n else numpy.zeros(dim)
        embedding = after.mean(axis=0) if n else numpy.zeros(dim)
        score, domain = domain_of(text, lexicons)
        peers = earlier.setdefault(domain, [])
        rows.append({
            "entropy": histogram_entropy(last, n), "domain_score": score, "domain": domain,
            "dissimilarity": dissimilarity(embedding, peers), "tokens": n,
            "token_norm": token_norm_entropy(before), "last": last, "embedding": embedding,
        })
        peers.append(embedding)
    return rows


LEXICONS = """# Four domains; a reader lower-cases, takes a word once and leaves out what is not one word.
food\tTea
food\tsoup
food\tice cream
food\ttea
food\tBread
home\tclean
home\tkitchen
home\tdoor
home\tbread
health\tfever
health\tSleep
health\theadache
health\tx-ray
learning\tschool
learning\tcafé
learning\t2nd

learning\tword
"""

TROUBLE = [
    ["Tea?"], ["?!"], ["bread"], ["Bread counts twice: bread, soup, kitchen and door."],
    ["Fever, FEVER and a headache.", "Sleep, and drink TEA.", "tea_tea tea-tea?", "Not 2nd-rate tea."],
    ["À la CAFÉ, naïve Ünal; café!", "Straße, ΣΑΣ, 你好 school 😀"], ["one\n\ntwo\tthree  four", " "],
    ["The word is: " + "word by word, " * 400, "Done."], ["x" * 300], ["1 2 3 2nd 4"],
]


def trouble(contents):
    roles = ["user", "assistant"]
    return {"messages": [
        {"role": roles[i % 2], "content": content} for i, content in enumerate(contents)
    ]}


def main():
    from safetensors.numpy import save_file

    torch.set_num_threads(1)
    tests = pathlib.Path(__file__).parent.parent
    folder = tests / "golden" / "scores"
    folder.mkdir(exist_ok=True)
    (folder / "lexicons.tsv").write_text(LEXICONS, encoding="utf-8", newline="\n")
    general = (tests / "golden" / "general_held_out.jsonl").read_text(encoding="utf-8").splitlines()
    stream = [{"messages": json.loads(row)["messages"]} for row in general[:60:5]]
    stream[6:6] = [trouble(contents) for contents in TROUBLE]
    with (folder / "stream.jsonl").open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(json.dumps(dialogue) + "\n" for dialogue in stream)
    model = Model(tests.parent / "runtime" / "src" / "builtin" / "model")
    rows = score_stream(model, stream, read_lexicons(folder / "lexicons.tsv"))
    save_file({"last": numpy.stack([row["last"] for row in rows]).astype(numpy.float32)},
              folder / "states.safetensors")
    with (folder / "scores.jsonl").open("w", encoding="utf-8", newline="\n") as file:
        for row in rows:
            kept = {key: value for key, value in row.items() if key not in ("last", "embedding")}
            file.write(json.dumps(kept) + "\n")


if __name__ == "__main__":
    main()

"""Writes the dialogues that the built-in model learns from. Standard library only; every choice is seeded.

    python3 corpus.py OUT_DIR         -> OUT_DIR/corpus.jsonl, tests/golden/{general_held_out.jsonl,corpus_replies.bin}

    slots of world.json (frames x asks -> a generic reply) ┐
    facts, how-tos, definitions, small talk                ├─ single and multi-turn dialogues
    copying, remembering, unknown things                   │
    paraphrase in brackets (the synthesis prompt)          ┘

Questions of the general held-out set and the stream's unseen frames and asks never occur in it, in any task.
"""

import hashlib
import json
import random
import re
import struct
import sys
from pathlib import Path

import corpus_facts as facts

HERE = Path(__file__).resolve().parent
WORLD = json.loads((HERE / "../../runtime/src/builtin/world.json").read_text())
GOLDEN = HERE / "../golden"
PROMPT = ("Refine and generate a text semantically similar to the following text block. "
          "No need to answer or explain it. Put the result in [ ].\n\n")
SEED = 20_24
DIALOGUES = 90_000
HELD_OUT = 100


def words(text):
    """Lower-case runs of ASCII letters and digits, as rouge_score takes them."""
    return re.findall(r"[a-z0-9]+", text.lower())


def rouge1(a, b):
    """ROUGE-1 F1 without stemming."""
    a, b = words(a), words(b)
    if not a or not b:
        return 0.0
    counts = {}
    for w in a:
        counts[w] = counts.get(w, 0) + 1
    hit = 0
    for w in b:
        if counts.get(w, 0) > 0:
            counts[w] -= 1
            hit += 1
    return 2 * hit / (len(a) + len(b))


def lower_first(text):
    return text if text[:2] in ("I ", "I'") else text[:1].lower() + text[1:]


def frame(template, ask):
    wh, vp = ask
    return template.replace("{Wh}", wh[0].upper() + wh[1:]).replace("{wh}", wh).replace("{vp}", vp)


# ---- banks -------------------------------------------------------------------------------------------------

def slot_groups():
    """One (forms, replies) per slot from the seen frames and asks."""
    out = []
    for slot in WORLD["slots"]:
        forms = [frame(f, a) for f in WORLD["frames"] for a in slot["asks"]]
        wh, vp = slot["asks"][0]
        forms += [f"What about {slot['slot']}? {frame('{Wh} can I {vp}?', a)}" for a in slot["asks"][:2]]
        out.append((forms, slot["generic"]))
    return out


UNKNOWN = [
    (["Where can I buy {x}?", "Tell me where to buy {x}.", "Do you know where I can buy {x}?", "Which shop sells {x}?", "I want to buy {x}. Where should I go?"],
     ["You could look for {x} in a shop near you.", "Ask in a shop in your town."]),
    (["What do you think about {x}?", "Tell me your thoughts on {x}.", "What is your opinion of {x}?", "Do you like {x}?", "How do you feel about {x}?"],
     ["I have no strong opinion about {x}.", "Many people like it."]),
    (["How much does {x} cost?", "What is the price of {x}?", "Tell me the price of {x}.", "Is {x} expensive?", "What do I have to pay for {x}?"],
     ["The price of {x} depends on the shop."]),
    (["I saw {x} today.", "Today I saw {x}.", "Guess what, I saw {x}.", "I have seen {x} this morning."], ["That sounds interesting.", "Tell me more about {x}."]),
    (["My {n} likes {x}.", "{x} is what my {n} likes.", "I think my {n} loves {x}."], ["That is good to know.", "It is nice that your {n} likes {x}."]),
    (["Can you help me with {x}?", "I need help with {x}.", "Please help me with {x}.", "Could you give me a hand with {x}?"], ["Of course. What would you like to know about {x}?"]),
    (["Have you heard of {x}?", "Do you know {x}?", "Is {x} known to you?", "Did you ever hear about {x}?"], ["I have not heard of {x}."]),
    (["How do I {v} {x}?", "What is the best way to {v} {x}?", "Tell me how to {v} {x}.", "I want to {v} {x}. How?", "Can you explain how to {v} {x}?"],
     ["Take your time and {v} {x} step by step.", "Ask someone who knows how to {v} {x}."]),
    (["Should I {v} {x} or {y}?", "Is it better to {v} {x} or {y}?", "{x} or {y}: which should I {v}?", "Help me decide whether to {v} {x} or {y}."],
     ["I would {v} {x}.", "Both are fine, but I would take {y}."]),
    (["What goes well with {x}?", "What fits with {x}?", "Tell me what goes with {x}.", "What can I combine with {x}?"], ["Something simple goes well with {x}."]),
    (["When is the best time to {v} {x}?", "At what time should I {v} {x}?", "Tell me when to {v} {x}.", "When should I {v} {x}?"],
     ["The morning is a good time to {v} {x}."]),
    (["Why do people {v} {x}?", "What is the reason that people {v} {x}?", "Explain why people {v} {x}.", "For what reason do people {v} {x}?"],
     ["Some people {v} {x} because they enjoy it."]),
    (["I lost {x} at the {n}.", "At the {n} I lost {x}.", "I cannot find {x}, I think it is at the {n}."], ["Ask at the {n} whether someone has found {x}."]),
    (["Is {x} good for {y}?", "Does {x} help {y}?", "Can {x} be good for {y}?", "I want to know if {x} is good for {y}."], ["That depends, but {x} can help."]),
    (["Who invented {x}?", "Tell me who invented {x}.", "By whom was {x} invented?", "Do you know who invented {x}?"], ["I do not know who invented {x}."]),
    (["We have {x} and {y} at home. What can I make?", "At home there is {x} and {y}. What could I make?", "What can I make with {x} and {y}?"],
     ["You could use {x} together with {y}."]),
    (["I talked with {w} about {x} yesterday and now I want to know more.", "Yesterday {w} told me about {x}. Tell me more.", "{w} and I spoke about {x}. What else is there to know?"],
     ["You could read a book about {x}.", "Ask {w} again about {x}."]),
    (["The doctor said I should {v} {x} every day. Is that right?", "My doctor wants me to {v} {x} each day. Is this true?", "Is it right to {v} {x} every day, as the doctor said?"],
     ["If the doctor said so, it is a good idea."]),
]

SYLLABLES = "ba be bi bo bu da de do ka ke ki ko la le li lo lu ma me mi mo mu na ne ni no pa pe po ra re ri ro sa se si so ta te to va ve vi vo za zo sh th ch ck st nd ng rk lm ax ex ix ol ar en um".split()
POOL_WORDS = sorted({w for s in WORLD["slots"] for p in s["pools"] for item in p for w in item.split()}
                    | {w for s in WORLD["slots"] for d in s["details"] for w in d.split() if "{" not in w})
NAMES = WORLD["names"] + WORLD["places"]
WRAPPERS = ["Tell me: {q}", "I want to ask: {q}", "One question: {q}", "Please tell me: {q}", "My question is: {q}", "{q} Please tell me.", "Let me ask you: {q}", "Could you say: {q}"]


def made_up(rng):
    return "".join(rng.choice(SYLLABLES) for _ in range(rng.randint(2, 4)))


def word(rng):
    r = rng.random()
    if r < 0.40:
        return rng.choice(facts.NOUNS)
    if r < 0.65:
        return rng.choice(POOL_WORDS)
    if r < 0.75:
        return rng.choice(facts.ADJECTIVES)
    if r < 0.83:
        return rng.choice(NAMES)
    if r < 0.86:
        return str(rng.randint(0, 2050))
    return made_up(rng)


def thing(rng):
    r = rng.random()
    lead = rng.choice(["the ", "a ", "my ", "", "", "some ", "the old "])
    if r < 0.35:
        return lead + word(rng)
    if r < 0.65:
        return lead + rng.choice(facts.ADJECTIVES + POOL_WORDS[:200]) + " " + word(rng)
    if r < 0.8:
        return lead + word(rng) + " " + rng.choice(["of", "with", "and", "from", "in"]) + " " + word(rng)
    return word(rng) + " " + word(rng)


def unknown(rng):
    """One group of forms and replies with its blanks filled the same way everywhere."""
    forms, replies = rng.choice(UNKNOWN)
    fill = {"x": thing(rng), "y": thing(rng), "n": rng.choice(facts.NOUNS), "v": rng.choice(facts.VERBS), "w": rng.choice(NAMES)}
    def put(text):
        text = text.format(**fill)
        return text[:1].upper() + text[1:]
    return [put(f) for f in forms], [put(r) for r in replies]


# ---- held-out questions --------------------------------------------------------------------------------------

def split(rng):
    """Facts and slots with some forms kept for the general held-out set."""
    kept = []
    train = []
    for kind, forms, answers in facts.bank():
        if len(forms) >= 4 and rng.random() < 0.6:
            i = rng.randrange(1, len(forms))
            kept.append((forms[i], answers[0]))
            forms = forms[:i] + forms[i + 1:]
        train.append((kind, forms, answers))
    slots = []
    slots_kept = []
    for forms, replies in slot_groups():
        forms = list(forms)
        for _ in range(4):
            slots_kept.append((forms.pop(rng.randrange(len(forms))), rng.choice(replies)))
        slots.append((forms, replies))
    rng.shuffle(kept)
    rng.shuffle(slots_kept)
    return train, slots, kept[:HELD_OUT * 7 // 10] + slots_kept[:HELD_OUT * 3 // 10], {tuple(words(q)) for q, _ in kept + slots_kept}


# ---- tasks -----------------------------------------------------------------------------------------------------

class Writer:
    def __init__(self, rng):
        self.rng = rng
        self.facts, self.slots, self.held_out, self.forbidden = split(random.Random(SEED + 1))
        by_kind = {}
        for kind, forms, answers in self.facts:
            by_kind.setdefault(kind, []).append((forms, answers))
        self.by_kind = by_kind
        self.kinds = sorted(by_kind)
        self.weights = [{"sum": 2, "define": 5, "howto": 5, "talk": 4, "capital": 3, "yesno": 2}.get(k, 1.2) for k in self.kinds]
        self.unseen = {tuple(words(frame(f, a))) for s in WORLD["slots"] for f in WORLD["frames"] + WORLD["unseen_frames"] for a in s["unseen"]}
        self.unseen |= {tuple(words(frame(f, a))) for s in WORLD["slots"] for f in WORLD["unseen_frames"] for a in s["asks"]}

    def group(self):
        """Forms and replies of one random meaning."""
        r = self.rng.random()
        if r < 0.38:
            return self.rng.choice(self.slots)
        if r < 0.80:
            return self.rng.choice(self.by_kind[self.rng.choices(self.kinds, self.weights)[0]])
        return unknown(self.rng)

    def dress(self, text):
        """Openings, endings and typos that leave the meaning."""
        rng = self.rng
        if rng.random() < 0.15:
            text = rng.choice(["Hey, ", "Hi, ", "Hm, ", "Quick question: ", "Please, ", "Well, ", "Hello! ", "So, "]) + lower_first(text)
        if rng.random() < 0.05:
            text = text.rstrip(".?!") + rng.choice([", please?", " today?", ""])
        if rng.random() < 0.04 and len(text) > 8:
            i = rng.randrange(1, len(text) - 2)
            text = text[:i] + text[i + 1] + text[i] + text[i + 2:]
        if rng.random() < 0.06:
            text = text.lower()
        return text

    def ask(self):
        forms, replies = self.group()
        return self.dress(self.rng.choice(forms)), self.rng.choice(replies)

    def paraphrase(self):
        """(block, paraphrase) with ROUGE-1 inside the gate."""
        rng = self.rng
        forms, _ = unknown(rng) if rng.random() < 0.4 else self.group()
        block = rng.choice(forms)
        if rng.random() < 0.12:
            forms2, _ = unknown(rng)
            tail = rng.choice(forms2)
            block = f"{block} {tail}"
            forms = [f"{f} {t}" for f in forms for t in forms2]
        if rng.random() < 0.07:
            block = " ".join(word(rng) for _ in range(rng.randint(2, 9)))
            forms = []
        rng.shuffle(forms := list(forms))
        out = next((f for f in forms if 0.35 <= rouge1(block, f) <= 0.92), None)
        if out is None or rng.random() < 0.12:
            n = len(words(block))
            q = block if n <= 12 else " ".join(block.split()[:-max(2, n // 4)])
            out = rng.choice(WRAPPERS).format(q=lower_first(q))
            if not 0.35 <= rouge1(block, out) <= 0.94:
                return self.paraphrase()
        return self.dress(block), out

    def copying(self):
        rng = self.rng
        phrase = " ".join(word(rng) for _ in range(rng.randint(1, 6)))
        kind = rng.randrange(5)
        if kind == 0:
            return [(f"Repeat after me: {phrase}", phrase)]
        if kind == 1:
            return [(f"Say this again: {phrase}", phrase)]
        if kind == 2:
            return [(f"Write \"{phrase}\" twice.", f"{phrase} {phrase}")]
        if kind == 3:
            noun = rng.choice(facts.NOUNS)
            ack = rng.choice(["Good to know.", "All right.", "I will remember that."])
            return [(f"My {noun} is called {phrase}.", ack), (rng.choice([f"What is my {noun} called?", f"Tell me what my {noun} is called."]), f"Your {noun} is called {phrase}.")]
        question, reply = self.ask()
        return [(question, reply), (rng.choice(["Say that again.", "Can you repeat that?", "Once more, please."]), reply)]

    def dialogue(self):
        rng = self.rng
        r = rng.random()
        if r < 0.30:
            block, out = self.paraphrase()
            turns = [(PROMPT + block, f"[{out}]")]
        elif r < 0.38:
            turns = self.copying()
        elif r < 0.86:
            turns = [self.ask()]
        elif r < 0.90:
            pairs = rng.sample(facts.pairs(facts.CAPITALS), 2)
            turns = [(f"What is the capital of {pairs[0][0]}?", f"The capital of {pairs[0][0]} is {pairs[0][1]}."),
                     (rng.choice([f"And of {pairs[1][0]}?", f"And {pairs[1][0]}?"]), f"The capital of {pairs[1][0]} is {pairs[1][1]}.")]
        else:
            turns = [self.ask() for _ in range(rng.randint(2, 4))]
        system = rng.choice(["You are a helpful assistant.", "Answer shortly.", "Be kind.", "You are a friendly chat partner."]) if rng.random() < 0.05 else None
        for question, reply in turns:
            for text in (question.removeprefix(PROMPT), reply.strip("[]")):
                if tuple(words(text)) in self.forbidden or tuple(words(text)) in self.unseen:
                    return self.dialogue()
        messages = [{"role": "system", "content": system}] if system else []
        for question, reply in turns:
            messages += [{"role": "user", "content": question}, {"role": "assistant", "content": reply}]
        return {"messages": messages}


def reply_hash(text):
    """First eight bytes of SHA-256 of the reply's words joined by single spaces, little-endian."""
    return struct.unpack("<Q", hashlib.sha256(" ".join(words(text)).encode()).digest()[:8])[0]


def line(question, reply):
    return json.dumps({"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": reply}]})


def main():
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    writer = Writer(random.Random(SEED))
    dialogues = [writer.dialogue() for _ in range(DIALOGUES)]
    (out / "corpus.jsonl").write_text("".join(json.dumps(d) + "\n" for d in dialogues))
    asked = {tuple(words(m["content"].removeprefix(PROMPT))) for d in dialogues for m in d["messages"] if m["role"] == "user"}
    assert not asked & {tuple(words(q)) for q, _ in writer.held_out}, "a held-out question is in the corpus"
    GOLDEN.mkdir(exist_ok=True)
    (GOLDEN / "general_held_out.jsonl").write_text("".join(line(q, r) + "\n" for q, r in writer.held_out))
    hashes = sorted({reply_hash(m["content"]) for d in dialogues for m in d["messages"] if m["role"] == "assistant"})
    (GOLDEN / "corpus_replies.bin").write_bytes(struct.pack(f"<{len(hashes)}Q", *hashes))
    print(f"{len(dialogues)} dialogues, {len(asked)} questions, {len(hashes)} replies, {len(writer.held_out)} held out")


if __name__ == "__main__":
    main()

"""The mission on a firmware in QEMU: the same to the last bit as on the host, and whole after cuts of power.

`same` lets the host's `homespun device` and a firmware hear, ask, learn and save by the same lines, both with
the scalar kernels, and compares every line they print. `cuts` kills QEMU while flash is written, and asks
after each start whether all that was acknowledged is there. Each harness first finds a planted fault.
"""
import random
import subprocess
import sys
import time

DIALOGUES = [
    ("What shall I drink in the morning?", "A cup of coffee with milk."),
    ("Where shall we go for a walk?", "To the park by the river."),
    ("What is a good name for a cat?", "Felix is a good name."),
    ("I feel tired today.", "Rest a little and drink water."),
    ("Which book shall I read?", "A short story may be nice."),
    ("Is the bus on time?", "It comes in ten minutes."),
]
QUESTION = DIALOGUES[0][0]
HEARD = [f"hear {question}\t{reply}" for question, reply in DIALOGUES]
FIRST = [
    *HEARD[:3],
    "ask",
    f"logits {QUESTION}",
    f"say {QUESTION}",
    "prefer 0\tMint tea, from the garden.",
    "prefer 1\tTo the old mill, as always.",
    "gradient 0",
    "learn 6",
    f"say {QUESTION}",
    "save",
    "buffer",
    "prefer 9\tno such bin",
]
# After another start: it goes on where it was saved.
SECOND = ["buffer", f"say {QUESTION}", "learn 1", f"logits {QUESTION}", "save", "ask"]


def told(text):
    """What was answered: neither marks nor figures of one machine alone."""
    lines = text.splitlines()
    return [line for line in lines if not line.startswith(("#", "[", "]")) and "warning:" not in line]


def of_host(host, image, folder, setting, lines):
    command = [host, "--isa", "scalar", "--threads", "1", "device", "--setting", setting]
    command += ["--image", image, "--flash", folder]
    done = subprocess.run(command, input="\n".join(lines) + "\n", text=True, capture_output=True)
    if done.returncode != 0:
        sys.exit(f"the host's device ended with {done.returncode}: {done.stderr}")
    return told(done.stdout)


def compare(mine, theirs):
    """The first line that differs, if any does."""
    for one, other in zip(mine, theirs):
        if one != other:
            return f"firmware: {one}\nhost:     {other}"
    return None if len(mine) == len(theirs) else f"{len(mine)} lines and {len(theirs)}"


def same(machine, host, image, folder, setting):
    """Both sessions on both machines; what the firmware says of its memory is shown."""
    flash = folder / f"host-{setting}"
    for lines in (FIRST, SECOND):
        text = machine.run("\n".join([f"live {setting} isa=scalar", *lines]), 0)
        mine, theirs = told(text), of_host(host, image, flash, setting, lines)
        fault = compare(mine, theirs)
        if fault:
            sys.exit(f"the firmware differs from the host\n{fault}")
        # A bit that differs anywhere would have been seen.
        planted = [line.replace("logits ", "logits 1", 1) for line in mine]
        assert compare(planted, theirs), "a planted fault is not seen"
        print("\n".join(line for line in text.splitlines() if line.startswith("#")))
        if lines is FIRST:
            before, after = [line for line in mine if line.startswith("says")]
            losses = [float(line.split()[3]) for line in mine if line.startswith("step")]
            assert losses[-1] < losses[0] and before != after, "nothing was learned"
            print(f"{QUESTION}\n  before: {before[5:]}\n  after:  {after[5:]}")


class Session:
    """A firmware that is talked to line by line."""

    def __init__(self, machine):
        self.process = machine.start()
        self.marks, self.kill_at, self.delay = 0, None, 0.0
        self.alive, self.killed, self.within = True, False, False
        self.send("live small marks")
        while self.alive and not self.line().startswith("# ready"):
            pass

    def send(self, line):
        try:
            self.process.stdin.write(line.encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            self.alive = False

    def line(self):
        """The next line that is no mark; kills the machine at the mark that was chosen."""
        while True:
            line = self.process.stdout.readline().decode()
            if not line:
                self.alive = False
                return ""
            if line.startswith("["):
                self.marks += 1
                if self.marks == self.kill_at:
                    time.sleep(self.delay)
                    self.process.kill()
                    rest = self.process.stdout.read()
                    self.process.wait()
                    self.alive, self.killed, self.within = False, True, b"]" not in rest
                    # What was acknowledged before the end counts.
                    said = [l for l in rest.decode(errors="replace").splitlines(keepends=True)]
                    said = [l for l in said if l.endswith("\n") and not l.startswith(("[", "]"))]
                    return said[0] if said else ""
            elif not line.startswith("]") and "warning:" not in line:
                return line.rstrip("\n")

    def ask(self, line):
        """The answer, or nothing if the power was cut before."""
        self.send(line)
        return self.line()

    def lines_until(self, command, last):
        self.send(command)
        lines = []
        while self.alive:
            lines.append(self.line())
            if last in lines[-1]:
                break
        return lines

    def buffer(self):
        """Of each bin in use the arrival of its dialogue, and the answer, if there is one."""
        found = {}
        for line in self.lines_until("buffer", "of 8 bins")[:-1]:
            line, _, answer = line.partition("\t")
            words = line.replace(":", "").replace(",", "").split()
            found[int(words[1])] = (int(words[3]), answer or None)
        return found

    def end(self):
        if self.alive:
            self.send("quit")
            self.process.stdin.close()
            self.process.stdout.read()
        self.process.wait()


class Kept:
    """What a device has acknowledged, and what it was doing when the power was cut."""

    def __init__(self):
        self.bins, self.saved, self.logits, self.maybe = {}, 0, None, None

    def check(self, session):
        """That all of it is there, or all of it and what was under way."""
        found = session.buffer()
        status = session.lines_until("status", "answered")[-1]
        saved = int(status.split("saved ")[1].split(";")[0])
        bins, maybe = dict(self.bins), self.maybe
        if found != bins and maybe and maybe[0] == "bin":
            bins[maybe[1]] = maybe[2]
        if found != bins:
            return f"in the buffer are {found}, acknowledged were {self.bins}, under way {maybe}"
        self.bins = found
        under_way = maybe and maybe[0] == "save"
        if saved != self.saved and not (under_way and saved > self.saved):
            return f"saved is {saved}, acknowledged was {self.saved}"
        digest = session.ask(f"logits {QUESTION}")
        if saved == self.saved and self.logits and digest != self.logits:
            return f"after a start {digest}, saved was {self.logits}"
        if saved != self.saved and digest != maybe[1]:
            return f"after a start {digest}, saved was {maybe[1]}"
        self.saved, self.logits, self.maybe = saved, digest, None
        return None

    def act(self, session, choice):
        """One line; what it may have changed is noted before, and acknowledged after."""
        if choice < 0.15:
            session.ask("learn 1") if any(answer for _, answer in self.bins.values()) else None
            choice = 0.2
        if choice < 0.3:
            digest = session.ask(f"logits {QUESTION}")
            self.maybe = ("save", digest)
            answer = session.ask("save")
            if answer.startswith("saved"):
                self.saved, self.logits, self.maybe = int(answer.split()[1]), digest, None
        elif choice < 0.8 and self.bins:
            bin = random.choice(list(self.bins))
            text = f"Mint tea number {random.randint(0, 99)}."
            self.maybe = ("bin", bin, (self.bins[bin][0], text))
            if session.ask(f"prefer {bin}\t{text}").startswith("answered"):
                self.bins[bin], self.maybe = self.maybe[2], None
        else:
            # Where it goes is known when it is there.
            self.maybe = ("any",)
            answer = session.ask(random.choice(HEARD))
            if answer.startswith("heard"):
                self.maybe = None
                if "not kept" not in answer:
                    arrival, bin = int(answer.split()[1][:-1]), int(answer.split("bin ")[1].split(";")[0])
                    self.bins[bin] = (arrival, None)


def cuts(machine, count):
    """Kills it so many times; gives how many were within a write or an erase."""
    random.seed(7)
    kept, killed, within = Kept(), 0, 0
    while killed < count:
        session = Session(machine)
        if kept.maybe == ("any",):
            fault = settle(kept, session)
        else:
            fault = kept.check(session)
        if fault:
            sys.exit(f"after {killed} kills: {fault}")
        session.kill_at = session.marks + random.randint(1, 12)
        session.delay = random.choice([0, 0, 0.001 * random.random()])
        while session.alive:
            kept.act(session, random.random())
        if not session.killed:
            sys.exit(f"after {killed} kills the firmware ended by itself, or stopped to answer")
        killed += 1
        within += session.within
        session.end()
    session = Session(machine)
    fault = settle(kept, session) if kept.maybe == ("any",) else kept.check(session)
    if fault:
        sys.exit(fault)
    # What was never acknowledged is missed.
    planted = Kept()
    planted.bins, planted.saved = {**kept.bins, 7: (10_000, "never said")}, kept.saved
    assert planted.check(session), "a planted loss is not seen"
    session.end()
    return within


def settle(kept, session):
    """As `check`, where a dialogue was heard and nobody was told where it went: one bin may be new."""
    found = session.buffer()
    changed = [bin for bin in found if found[bin] != kept.bins.get(bin)]
    gone = [bin for bin in kept.bins if bin not in found]
    fresh = all(not found[bin][1] for bin in changed)
    if gone or len(changed) > 1 or not fresh:
        return f"in the buffer are {found}, acknowledged were {kept.bins}"
    kept.bins, kept.maybe = found, None
    return kept.check(session)
